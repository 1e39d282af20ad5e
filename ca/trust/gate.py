"""The gate: nothing is published that sshd would read otherwise than it was meant.

    KRL ──our reader──▶ says what was meant
        ──ssh-keygen -Q──▶ each CA key: revoked, or not
        ──stand-ins──ssh-keygen -Q──▶ sample certificates of each CA key: the same

sshd lets nobody in by any key when it cannot read its KRL, and everybody when the file
is empty. `ssh-keygen -Q` reads with sshd's own code, but wants certificates whose
signature verifies (sshkey.c, `cert_parse`), and nothing but certificates on record is
ever signed with a CA key. So in a copy of the finished bytes each CA key is replaced by
a *stand-in*, a throw-away key of the same kind and length, which signs the samples:
they open nothing anywhere. All else of the copy is what hosts get.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ca import ssh_signature, sshsig, wire
from ca.bundle import split_signed
from ca.certificate import (
    NONCE_BYTES,
    Certificate,
    CertificateType,
    complete,
    render_line,
    render_to_be_signed,
)
from ca.errors import CAError, PublicationRefused
from ca.krl import KRL, Runs, parse_krl
from ca.trust.stand_in import StandIn, stand_in_for

MOST_BYTES = 8 * 1024 * 1024
"""Of a KRL: about a million serials far apart. Hosts take no more either, and sshd
reads it four times for each login."""

MOST_BYTES_OF_TEXT = 64 * 1024
"""Of roots or *current*."""

LAST_SERIAL = (1 << 64) - 1

_SECONDS = 60
"""Far longer than it takes; reading the largest KRL is done in one."""

_VERDICTS = {"ok": False, "REVOKED": True}


@dataclass(frozen=True, slots=True)
class Sample:
    """A certificate that might be: of a CA key, with a serial."""

    ca_key: bytes
    serial: int
    revoked: bool
    """What OpenSSH has to say about it."""


def judge_krl(content: bytes, *, meant: KRL, ca_keys: Collection[bytes]) -> None:
    """Raise `PublicationRefused` unless OpenSSH reads these bytes as they were meant.

    `ca_keys` are all that anything trusts or has revoked, those of `meant` among them.
    """
    if len(content) > MOST_BYTES:
        raise _refused(f"it has {len(content)} bytes, and at most {MOST_BYTES}")
    try:
        says = parse_krl(content)
    except CAError as error:
        raise _refused(f"our own reader refuses it: {error.detail}") from error
    if says != meant:
        raise _refused("our own reader reads something else than was meant")
    keys = sorted({*ca_keys, *meant.keys, *(one.ca_key for one in meant.certificates)})
    _ask_about_keys(content, keys, revoked=meant.keys)
    ask_about_samples(content, samples_of(meant, keys))


def judge_signed(document: bytes, *, namespace: str, key: bytes) -> None:
    """Raise `PublicationRefused` unless readers will find `key`'s signature good."""
    if len(document) > MOST_BYTES_OF_TEXT:
        raise PublicationRefused(f"{namespace} has {len(document)} bytes")
    try:
        text, armour = split_signed(document)
        signature = sshsig.parse_armour(armour)
        signed = sshsig.signed_data(namespace, text)
        ssh_signature.verify(key, signature.signature, signed)
    except CAError as error:
        raise PublicationRefused(f"{namespace}: {error.detail}") from error
    if (signature.namespace, signature.public_key) != (namespace, key):
        raise PublicationRefused(f"{namespace}: the signature names another key")


def samples_of(meant: KRL, ca_keys: Iterable[bytes]) -> tuple[Sample, ...]:
    """Return samples of each CA key: live and revoked, at the edges of its runs."""
    runs = {one.ca_key: one.serials for one in meant.certificates}
    return tuple(
        Sample(key, serial, revoked=revoked or key in meant.keys)
        for key in ca_keys
        for serial, revoked in _serials(runs.get(key, ()))
    )


def _serials(runs: Runs) -> Iterable[tuple[int, bool]]:
    """Yield serials, and whether these runs revoke them."""
    if not runs:
        return [(1, False)]
    some = [runs[0], runs[len(runs) // 2], runs[-1]]
    revoked = {serial for run in some for serial in run}
    # The serials beside a run are in no other: runs lie apart.
    beside = {serial for first, last in some for serial in (first - 1, last + 1)}
    live = {serial for serial in beside if 0 < serial <= LAST_SERIAL}
    return [(one, True) for one in revoked] + [(one, False) for one in live]


def _ask_about_keys(
    content: bytes, keys: Sequence[bytes], *, revoked: Collection[bytes]
) -> None:
    verdicts = _ask(content, [render_line(key, "key") for key in keys])
    for key, verdict in zip(keys, verdicts, strict=True):
        if verdict is not (key in revoked):
            raise _refused(f"a CA key is {_said(verdict)} to OpenSSH")


def ask_about_samples(content: bytes, samples: Sequence[Sample]) -> None:
    """Raise `PublicationRefused` unless OpenSSH says of all samples what it has to."""
    try:
        stand_ins = {one.ca_key: stand_in_for(one.ca_key) for one in samples}
    except CAError as error:
        raise _refused(f"a CA key cannot be tried: {error.detail}") from error
    for key, stand_in in stand_ins.items():
        content = content.replace(key, stand_in.blob)
    lines = [_certify(one.serial, stand_ins[one.ca_key]) for one in samples]
    for sample, verdict in zip(samples, _ask(content, lines), strict=True):
        if verdict is not sample.revoked:
            raise _refused(
                f"a certificate with serial {sample.serial} is {_said(verdict)} to"
                " OpenSSH"
            )


def _said(verdict: bool) -> str:  # noqa: FBT001 a verdict, and nothing else
    return "revoked" if verdict else "not revoked"


def _certify(serial: int, stand_in: StandIn) -> str:
    """Return the line of a certificate that was good for one second of 1970."""
    body = render_to_be_signed(
        Certificate(
            type=CertificateType.USER,
            subject_key=_SUBJECT_KEY,
            ca_key=stand_in.blob,
            nonce=bytes(NONCE_BYTES),
            serial=serial,
            key_id="sample",
            principals=("nobody",),
            valid_after=1,
            valid_before=2,
            critical_options={"force-command": "false"},
            extensions=(),
        )
    )
    return render_line(complete(body, stand_in.sign(body)), "sample")


_SUBJECT_KEY = wire.text("ssh-ed25519") + wire.string(bytes(32))
"""Of the samples: nobody has the private part."""


def _ask(krl: bytes, lines: Sequence[str]) -> list[bool]:
    """Return what `ssh-keygen -Q` says of each key or certificate: is it revoked?"""
    names = [f"{number}.pub" for number in range(len(lines))]
    try:
        with tempfile.TemporaryDirectory(prefix="daypass-gate-") as folder:
            Path(folder, "krl").write_bytes(krl)
            for name, line in zip(names, lines, strict=True):
                Path(folder, name).write_text(line)
            done = _run_ssh_keygen(["-Q", "-f", "krl", *names], folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refused("ssh-keygen cannot be asked about it") from error
    return _verdicts(done, names)


def _run_ssh_keygen(
    arguments: Sequence[str], folder: str
) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise PublicationRefused(
            "ssh-keygen is not installed, and without it no KRL is published",
            hint="install OpenSSH's client programs",
        )
    return subprocess.run(  # noqa: S603 no shell; names of our own
        [program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_SECONDS,
    )


def _verdicts(
    done: subprocess.CompletedProcess[bytes], names: Sequence[str]
) -> list[bool]:
    said: Mapping[str, bool | None] = {
        line.split(" ")[0]: _VERDICTS.get(line.rpartition(": ")[2])
        for line in done.stdout.decode("ascii", "replace").splitlines()
    }
    verdicts = [said.get(name) for name in names]
    found = [verdict for verdict in verdicts if verdict is not None]
    # It exits with 1 where something is revoked, with 255 where it cannot read.
    if len(found) != len(names) or done.returncode != int(any(found)):
        why = done.stderr.decode("ascii", "replace").strip()
        raise _refused(f"ssh-keygen -Q cannot read it: {why or done.returncode}")
    return found


def _refused(why: str) -> PublicationRefused:
    return PublicationRefused(f"the KRL does not pass the gate: {why}")
