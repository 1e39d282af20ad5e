"""The day's certificate in the person's ssh-agent, if that is wanted.

    never   it is in files alone; the default
    auto    in files, and in an agent that takes certificates, for what reads no files
    only    the key never reaches a disk: it is made in a pipe, and the agent has it

Whatever a sign-in does, what it finds of an earlier one in the agent goes: a host shuts
out who shows it certificates that have ended. What is added goes by itself when the
certificate ends, where the agent can do that.
"""

import contextlib
import os
import time
from collections.abc import Sequence

from ca import wire
from ca.certificate import Certificate, parse_line
from ca.errors import BadRequest
from client import agent, files, ppk
from client.agent import PREFIX, VARIABLE, Agent, Secret
from client.failure import Misuse, Unable
from client.keys import Attempt, KeyFiles
from client.profile import AGENT_MODES
from client.terminal import Terminal

NEVER, AUTO, ONLY = AGENT_MODES


_PATIENCE = 3.0
"""Seconds for an agent that nobody asked us to use."""


def told(*, asked: str | None, kept: str | None, own_key: bool) -> str:
    """Return what is to become of the agent; a person's own key is theirs to add.

    `asked` is from the command line, `kept` from the profile. Raises `Misuse`.
    """
    if own_key:
        if asked not in {None, NEVER}:
            raise Misuse(
                "a key of your own is yours to add to an agent",
                hint="ssh-add FILE; it finds the certificate beside it",
            )
        return NEVER
    mode = asked or kept or NEVER
    if mode not in AGENT_MODES:
        raise Misuse(
            f"the profile names a way with agents that there is not: {mode!r}",
            hint=f"the ways are {', '.join(AGENT_MODES)}",
        )
    return mode


def put_only(
    attempt: Attempt, says: Certificate, name: str, terminal: Terminal
) -> None:
    """Have the agent hold a key that is nowhere else; raise `Unable`."""
    found = agent.find()
    if found is None:
        raise Unable(
            "there is no ssh-agent to hold the key",
            hint=f"start one (eval $(ssh-agent)), so that {VARIABLE} leads to it",
        )
    _put(found, attempt, says, name, terminal, alone=True)


def put_as_well(
    attempt: Attempt, says: Certificate, name: str, terminal: Terminal
) -> None:
    """Have an agent hold the certificate too, if there is one that can."""
    found = agent.find()
    if found is None:
        terminal.detail("there is no ssh-agent")
        return
    try:
        _put(found, attempt, says, name, terminal, alone=False)
    except Unable as error:
        terminal.say(f"not in the agent: {error.detail}")


def _put(
    found: Agent,
    attempt: Attempt,
    says: Certificate,
    name: str,
    terminal: Terminal,
    *,
    alone: bool,
) -> None:
    """Add the certificate and, where it is alone, the key, which signs requests.

    The new before the old goes: a sign-in that fails here has taken nothing away.
    """
    secret = _secret(attempt, says.subject_key)
    line = files.read(attempt.certificate) or b""
    certificate = parse_line(line.decode("ascii"))
    life, comment = max(1, int(says.valid_before - time.time())), PREFIX + name
    before = _ours(found, name)
    limited = found.add(certificate, secret, name=comment, life=life)
    if alone:
        limited = found.add_key(secret, name=comment, life=life) and limited
    for blob in before:
        found.remove(blob)
    if not limited:
        terminal.say(
            f"{found} does not let go of it by itself: ca-login logout takes it out"
        )


def holds(keys: KeyFiles) -> bool:
    """Say whether the agent has the certificate whose key is nowhere else."""
    try:
        found = agent.find()
        blob = parse_line((files.read(keys.certificate) or b"").decode("ascii"))
        return found is not None and blob in {o.blob for o in found.identities()}
    except (Unable, BadRequest, UnicodeDecodeError):
        return False


def forget(names: Sequence[str], *, but: bytes | None = None) -> bool:
    """Remove what the agent holds under these names; return whether it held any.

    `but` is the blob of the subject key that stays. Raises `Unable`.
    """
    if VARIABLE not in os.environ:
        return False
    found = agent.find(seconds=_PATIENCE)
    if found is None:
        return False
    # The 32 bytes of the key itself are in its certificate, too.
    kept = None if but is None else but[-32:]
    old = [
        blob
        for name in names
        for blob in _ours(found, name)
        if kept is None or kept not in blob
    ]
    for blob in old:
        found.remove(blob)
    return bool(old)


def forget_quietly(names: Sequence[str], *, but: bytes) -> None:
    """Do as `forget` does; an agent that does not answer is no reason to fail."""
    with contextlib.suppress(Unable):
        forget(names, but=but)


def _ours(found: Agent, name: str) -> list[bytes]:
    return [one.blob for one in found.identities() if one.comment == PREFIX + name]


def _secret(attempt: Attempt, subject_key: bytes) -> Secret:
    """Return the private key, from memory or from its file."""
    content = attempt.secret or files.read(attempt.private) or b""
    reader = wire.Reader(subject_key)
    reader.string()
    return Secret(ppk.read_seed(content, public_key=subject_key), reader.string())
