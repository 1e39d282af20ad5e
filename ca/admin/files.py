"""Files that a command writes: new ones, or into place in one moment."""

import os
import secrets
from pathlib import Path

from ca.errors import Misconfigured


def create_file(file: Path, content: bytes) -> None:
    """Write a file for its owner alone, synced, where there is none.

    Raises `OSError`. Whatever the umask, the mode is 0600.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def replace_file(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file as a whole, synced; raise `Misconfigured` where that fails."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        draft.replace(file)
    except OSError as error:
        raise Misconfigured(f"cannot write {file}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
