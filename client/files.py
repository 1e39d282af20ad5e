"""Files that are never seen half-written and never open to others.

Modes are given when a file or folder is made, not afterwards, so that no umask and
no moment in between leaves it readable.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.failure import Unable

_OTHERS = 0o077


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the system refuses into `Unable`, saying what was tried."""
    try:
        yield
    except OSError as error:
        raise Unable(
            f"cannot {doing}: {error.strerror}",
            hint="look at the folder's owner, mode and free space, then try again",
        ) from error


def home() -> Path:
    """Return the home folder; raise `Unable` where there is none."""
    # NOTE: it stays `~` where the system knows no home; `Path.home` would raise.
    path = Path(os.path.expanduser("~"))  # noqa: PTH111
    if not path.is_absolute():
        raise Unable("cannot tell where the home folder is", hint="set HOME")
    return path


def folder(variable: str, default: str) -> Path:
    """Return our folder under an XDG base directory, made or not.

    The XDG specification has relative values ignored.
    """
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else home() / default) / "daypass"


def make_folder(path: Path) -> None:
    """Make sure that a folder exists; one that is made is for its owner alone."""
    with explained(f"make the folder {path}"):
        for missing in reversed((path, *path.parents)):
            if not missing.exists():
                # exist_ok: two sign-ins may both be the first.
                missing.mkdir(mode=0o700, exist_ok=True)


def make_private(path: Path) -> None:
    """Make sure that a folder of ours exists and is for its owner alone."""
    make_folder(path)
    with explained(f"make the folder {path}"):
        if path.stat().st_mode & _OTHERS:
            path.chmod(0o700)


def make_beside(path: Path) -> Path:
    """Make a private folder for one attempt to replace `path`; return it."""
    attempt = aside(path)
    with explained(f"make the folder {attempt}"):
        attempt.mkdir(mode=0o700)
    return attempt


def aside(path: Path) -> Path:
    """Return a fresh name in the same folder, hidden and nobody else's."""
    return path.with_name(f".{path.name.lstrip('.')}.{os.urandom(6).hex()}")


def read(path: Path, limit: int = 1 << 20) -> bytes | None:
    """Return what a file holds, None where there is none; raise `Unable`."""
    with explained(f"read {path}"):
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(content) > limit:
        raise Unable(f"cannot read {path}: it is far too large")
    return content


def write(path: Path, content: bytes) -> None:
    """Put a file in its place whole: written aside, synced, then renamed."""
    make_private(path.parent)
    replace(path, content)


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Do as `write` does, in a folder that need not be ours."""
    new = aside(path)
    with explained(f"write {path}"):
        try:
            create(new, content, mode=mode)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a private folder for what a moment needs; nothing of it is left after."""
    path = Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp")  # noqa: S108 a folder of random name in it, which must not exist
    path /= f"daypass-{os.urandom(8).hex()}"
    with explained(f"make the folder {path}"):
        path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        discard(path)


def discard(path: Path) -> None:
    """Remove a file, a link, or a folder of files, as far as the system lets us."""
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for inside in path.iterdir():
            discard(inside)
        path.rmdir()
    except OSError:
        return


def create(
    path: Path, content: bytes, *, mode: int = 0o600, durable: bool = True
) -> None:
    """Write a file that must not exist, down to the disk where it is to last."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(opened, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
