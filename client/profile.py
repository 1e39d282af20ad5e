"""A profile: one CA by its URL and its pinned root key, under a short name.

`~/.config/daypass/NAME.json` is written by `setup` once, and afterwards only by
`ssh-config install`, which keeps the CA's `host_patterns` there; its key `flow` says
how to sign in where somebody disagrees with what suits, and `agent` whether an
ssh-agent is to have the key. What is remembered of the CA's trust bundle and ledger
changes often and is no setting, so it lives in `~/.local/state/daypass/NAME.json`, and
may be thrown away by anyone who can also change the pin.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ca.errors import Malformed
from ca.values import dataclass
from client import files
from client.failure import BadAnswer, Misuse, Unable
from client.ledger import Seen
from client.terminal import Terminal
from client.trust import Known, root_fingerprint

DEFAULT = "default"

AGENT_MODES = ("never", "auto", "only")
"""What may become of the person's ssh-agent (`client.in_agent`)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""No dot: key files are called NAME and NAME-cert.pub, and hidden ones .NAME.x."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One CA."""

    name: str
    url: str
    pin: str
    """The root key's fingerprint."""
    flow: str | None = None
    """How to sign in, of `client.flows`; None for what suits."""
    host_patterns: tuple[str, ...] = ()
    """The CA's hosts, as it named them to `ssh-config install`."""
    agent: str | None = None
    """What becomes of the person's ssh-agent, of `AGENT_MODES`; None for never."""

    @property
    def words(self) -> str:
        """What to add to a command so that it means this profile."""
        return "" if self.name == DEFAULT else f" --profile {self.name}"


def path_of(name: str) -> Path:
    """Return where the profile of that name is, or would be; raise `Misuse`."""
    if _NAME.fullmatch(name) is None:
        raise Misuse(
            f"{name!r} cannot name a profile",
            hint="use letters, digits, - and _, and begin with a letter or digit",
        )
    return files.folder("XDG_CONFIG_HOME", ".config") / f"{name}.json"


def load(name: str | None, terminal: Terminal) -> Profile:
    """Return the profile of that name, else `default`, else the only one there is."""
    terminal.step("find the profile")
    chosen = name if name is not None else _choose()
    profile = find(chosen)
    if profile is None:
        raise Misuse(
            f"there is no profile {chosen!r}",
            hint=f"ca-login setup URL{Profile(chosen, '', '').words}",
        )
    return profile


def find(name: str) -> Profile | None:
    """Return the profile of that name, if there is one; raise `Unable`."""
    path = path_of(name)
    content = files.read(path)
    if content is None:
        return None
    document = _document(content)
    url, pin, flow, agent = map(document.get, ("url", "pin", "flow", "agent"))
    patterns = document.get("host_patterns", [])
    if (
        not isinstance(url, str)
        or not isinstance(pin, str)
        or not isinstance(flow, str | None)
        or not isinstance(agent, str | None)
        or not isinstance(patterns, list)
    ):
        raise Unable(
            f"{path} is not a profile", hint=f"rm {path}, then: ca-login setup URL"
        )
    return Profile(name, url, pin, flow, tuple(map(str, patterns)), agent)


def save(profile: Profile) -> Path:
    """Write a profile to its file; return where that is."""
    path = path_of(profile.name)
    document: dict[str, object] = {"v": 1, "url": profile.url, "pin": profile.pin}
    if profile.flow is not None:
        document["flow"] = profile.flow
    if profile.agent is not None:
        document["agent"] = profile.agent
    if profile.host_patterns:
        document["host_patterns"] = profile.host_patterns
    files.write(path, json.dumps(document, indent=2).encode() + b"\n")
    return path


def recall(profile: Profile) -> Known | None:
    """Return what is remembered of the profile's CA.

    Nothing, when it was another CA then, or when what is there makes no sense: it was
    only ever a memory.
    """
    memory = _memory(profile)
    roots, version = memory.get("roots"), memory.get("current_version")
    if not isinstance(roots, str) or not isinstance(version, int):
        return None
    try:
        pinned = root_fingerprint(roots.encode()) == profile.pin
    except BadAnswer:
        return None
    digest = str(memory.get("current_sha256", ""))
    return Known(roots.encode(), version, digest) if pinned else None


def remember(profile: Profile, known: Known) -> None:
    """Keep what was learned of the profile's CA for the next time."""
    _keep(
        profile,
        roots=known.roots_document.decode(),
        current_version=known.current_version,
        current_sha256=known.current_sha256,
    )


def recall_ledger(profile: Profile) -> Seen | None:
    """Return the newest checkpoint of the CA's ledger that is remembered."""
    memory = _memory(profile)
    note, signature = memory.get("checkpoint"), memory.get("checkpoint_signature")
    if not isinstance(note, str) or not isinstance(signature, str):
        return None
    seen = Seen(note, signature)
    try:
        _ = seen.checkpoint
    except (Malformed, UnicodeEncodeError):
        return None
    return seen


def remember_ledger(profile: Profile, seen: Seen) -> None:
    """Keep a verified checkpoint of the CA's ledger for the next time."""
    _keep(profile, checkpoint=seen.note, checkpoint_signature=seen.signature)


def lock_of(profile: Profile) -> Path:
    """Return the file that who signs in holds (`client.lock`)."""
    return _state_path(profile).with_suffix(".lock")


def keep_evidence(profile: Profile, evidence: Mapping[str, bytes]) -> Path:
    """Keep files that prove something; return their folder, the same for the same."""
    digest = hashlib.sha256()
    for name, content in sorted(evidence.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    name = f"{profile.name}-{digest.hexdigest()[:12]}"
    folder = _state_path(profile).parent / "evidence" / name
    for name, content in evidence.items():
        files.write(folder / name, content)
    return folder


def _memory(profile: Profile) -> Mapping[str, object]:
    """Return what is remembered, which is nothing when it was another CA then."""
    document = _document(files.read(_state_path(profile)) or b"")
    same = (document.get("url"), document.get("pin")) == (profile.url, profile.pin)
    return document if same else {}


def _keep(profile: Profile, **learned: object) -> None:
    document = {
        **_memory(profile),
        "v": 1,
        "url": profile.url,
        "pin": profile.pin,
        **learned,
    }
    files.write(_state_path(profile), json.dumps(document).encode())


def _choose() -> str:
    folder = path_of(DEFAULT).parent
    with files.explained(f"look into {folder}"):
        stems = {path.stem for path in folder.glob("*.json")}
    names = sorted(stem for stem in stems if _NAME.fullmatch(stem))
    if DEFAULT in names or not names:
        return DEFAULT
    if len(names) == 1:
        return names[0]
    raise Misuse(
        f"there are several profiles: {', '.join(names)}",
        hint=f"add --profile {names[0]}",
    )


def _state_path(profile: Profile) -> Path:
    state = files.folder("XDG_STATE_HOME", ".local/state")
    return state / path_of(profile.name).name


def _document(content: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
