"""The person's session: which browser could be opened here, if any.

Over SSH a browser would open on another screen, and in a container usually on none. A
text browser would take the terminal that is being talked to and seem stuck, so none is
ever started. People differ: `BROWSER` says which one to open, wherever we are.
"""

import os
import sys
from pathlib import Path, PurePath

_TEXT_BROWSERS = frozenset(
    {"browsh", "elinks", "links", "links2", "lynx", "w3m", "www-browser"}
)

_CONTAINERS = (".dockerenv", "run/.containerenv")
"""Files that Docker and Podman put into the root of each container."""


def browsers(*, root: Path = Path("/")) -> list[str]:
    """Return the commands to try, in order; `BROWSER` as `webbrowser` reads it."""
    chosen = os.environ.get("BROWSER")
    if chosen:
        commands = [one for one in chosen.split(os.pathsep) if one.strip()]
        return [one for one in commands if not _is_text_browser(one)]
    if not _is_local(root):
        return []
    if sys.platform == "darwin":
        return ["open"]
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ["xdg-open", "x-www-browser"]
    return []


def _is_local(root: Path) -> bool:
    """Say whether the screen, if there is one, is in front of the person."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return False
    # `container` is systemd's and Podman's word for it.
    contained = any((root / name).exists() for name in _CONTAINERS)
    return not contained and not os.environ.get("container")  # noqa: SIM112 their name


def _is_text_browser(command: str) -> bool:
    return PurePath(command.split(maxsplit=1)[0]).name in _TEXT_BROWSERS


def open_browser(url: str) -> bool:
    """Open a browser at `url`; return whether there was one to try.

    `webbrowser` is not used because what it starts writes to our standard output,
    and because it may start a text browser.
    """
    # Imported here because most ways to sign in open no browser.
    import shlex  # noqa: PLC0415

    for command in browsers():
        try:
            words = shlex.split(command)
            _start([word.replace("%s", url) for word in words], url)
        except (OSError, ValueError):
            continue
        return True
    return False


def _start(words: list[str], url: str) -> None:
    import subprocess  # noqa: PLC0415 as above
    import threading  # noqa: PLC0415

    process = subprocess.Popen(  # noqa: S603 no shell, and the person's own command
        words if url in " ".join(words) else [*words, url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C here must not close it
    )
    threading.Thread(target=process.wait, daemon=True).start()
