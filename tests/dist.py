"""Builds what is released, for `make dist`: the wheel, and `ca-login.pyz`.

The second is one file for a laptop or a bastion with Python 3.11 and OpenSSH: the
client and the floor of `ca`, as import-linter's contract has it, and nothing else. It
has no dates, so the same source makes the same file.
"""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/dist"

_START = b"#!/usr/bin/env python3\n"
_MAIN = """\
\"\"\"`ca-login`, from one file.\"\"\"

import sys

if sys.version_info < (3, 11):
    sys.exit("ca-login: error: this needs Python 3.11 or newer")

from client.__main__ import main

sys.exit(main())
"""
_THEN = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file knows."""


def floor() -> Iterator[Path]:
    """Yield the modules of `ca` that the client may import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (client,) = (one for one in contracts if one["id"] == "client")
    for line in client["ignore_imports"]:
        module = re.sub(r".* -> ", "", line)
        yield ROOT / f"{module.replace('.', '/')}.py"


def write_zipapp(path: Path) -> None:
    """Write `ca-login.pyz`, which can be run."""
    ours = [*ROOT.glob("client/*.py"), *floor(), ROOT / "ca/__init__.py"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(_START)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", _MAIN.encode())
            for source in sorted(ours):
                name = str(source.relative_to(ROOT))
                _add(archive, name, source.read_bytes())
    path.chmod(0o755)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _THEN)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def main() -> None:
    """Build both into build/dist."""
    write_zipapp(FOLDER / "ca-login.pyz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "-w", FOLDER, ROOT], check=True)


if __name__ == "__main__":
    main()
