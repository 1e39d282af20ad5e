"""Keep the memory of this process to itself: the CA keys are in it."""

import ctypes
import os
import resource
import sys

from ca.errors import Misconfigured

_PR_SET_DUMPABLE = 4


def keep_memory() -> None:
    """Let no crash write this process to a disk, and no neighbour read or trace it.

    What is forked later inherits both. Root still may, and whoever may trace any
    process. A limit alone is not enough: it does not hold for cores that the system
    pipes to a program (core(5)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            why = os.strerror(ctypes.get_errno())
            raise Misconfigured(f"other processes could read our memory: {why}")
