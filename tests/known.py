"""Facts of a host that there is not, right for a plan but for what a test changes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploy.facts import Account, Facts, File

NOW = 1767268800
MAIN = "/etc/ssh/sshd_config"
FOLDER = "/etc/ssh/sshd_config.d"
INCLUDE = f"Include {FOLDER}/*.conf\n"


def text(content: str, mode: str = "-rw-r--r--") -> File:
    """Return a file of root's with that content."""
    return File(mode, "0", "0", f"1-{len(content)}", content)


def facts(
    main: str = INCLUDE, files: Mapping[str, File] | None = None, **changes: Any
) -> Facts:
    """Return a host with that main file, with these files and fields besides."""
    effective = {"pubkeyauthentication": ("yes",), "usepam": ("no",)}
    folder = File("drwxr-xr-x", "0", "0", "-")
    ordinary = Facts(
        is_root=True,
        connection=("192.0.2.1", "50000", "192.0.2.7", "22"),
        clock=NOW,
        os="Linux debian 12",
        manager="none",
        selinux="none",
        space_kb=1 << 20,
        is_served=True,
        listener="99",
        unit=None,
        sshd="/usr/sbin/sshd",
        config=MAIN,
        version=(9, 2),
        tools=frozenset({"ssh-keygen"}),
        effective={"": effective, "deploy": effective},
        accounts={"deploy": Account("open", "1000", "/home/deploy", "/bin/sh")},
        files={MAIN: text(main), FOLDER: folder, **(files or {})},
    )
    return replace(ordinary, **changes)
