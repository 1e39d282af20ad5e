"""What a KRL of 100,000 entries costs: to write, to hold, and at each login.

    python -m tests.bench_krl

prints as JSON what `tests.bench` puts into its table. Logins are by somebody who is not
revoked, at a real sshd, with the long list and an empty one by turns.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ca import wire
from ca.krl import KRL, RevokedCertificates, render_krl
from tests.certificates import ThrowawayCA, certificate, write_certificate
from tests.sshd import Sshd, make_key

ENTRIES, ONE_IN = 100_000, 100
RENDERINGS = 9
LOGINS = 21


def measure(folder: Path) -> dict[str, float]:
    """Return the figures; `folder` is for sshd's files."""
    ca = ThrowawayCA()
    serials = range(ONE_IN, ENTRIES * ONE_IN + 1, ONE_IN)
    revoked = RevokedCertificates(ca.key, tuple((serial, serial) for serial in serials))
    krl = KRL(1, int(time.time()), certificates=(revoked,))
    seconds = [_seconds(lambda: render_krl(krl)) for _ in range(RENDERINGS)]
    return {
        "krl_100k_bytes": len(render_krl(krl)),
        "krl_100k_ms": round(statistics.median(seconds) * 1000, 1),
        "krl_login_ratio": _login_ratio(folder, ca, render_krl(krl)),
    }


def _login_ratio(folder: Path, ca: ThrowawayCA, long: bytes) -> float:
    host = folder / "sshd"
    host.mkdir()
    (host / "ca.pub").write_text(ca.line)
    (host / "names").write_text("ada\n")
    make_key(host / "key")
    shown = certificate(
        subject_key=wire.decode_base64((host / "key.pub").read_text().split()[1]),
        valid_after=int(time.time()) - 60,
        valid_before=int(time.time()) + 3600,
    )
    file = write_certificate(host / "key-cert.pub", ca.certify(shown))
    settings = (
        f"TrustedUserCAKeys {host}/ca.pub",
        f"AuthorizedPrincipalsFile {host}/names",
        f"RevokedKeys {host}/krl",
    )
    with Sshd(host, settings) as sshd:

        def login() -> None:
            if sshd.login(host / "key", file).returncode:
                raise SystemExit(f"the login failed: {sshd.said}")

        ratios = []
        for _ in range(LOGINS):
            (host / "krl").write_bytes(long)
            with_long = _seconds(login)
            (host / "krl").write_bytes(render_krl(KRL(1, 1)))
            ratios.append(with_long / _seconds(login))
    return round(statistics.median(ratios), 2)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as somewhere:
        print(json.dumps(measure(Path(somewhere)), indent=2))
