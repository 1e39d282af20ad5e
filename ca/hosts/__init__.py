"""The registry of hosts: who may say what is applied, and be certified again.

    proof       whose key signed what a host sends
    registry    hosts come in, and are forgotten
    joining     the ways in for machines that nobody can reach yet
    reports     which trust bundle a host has applied
    states      active, stale or forgotten, and what is wrong with a host

A host is an id, its names, and its host keys. Nothing here is needed for a login: a
host that is not registered lets people in all the same, but nobody knows when it has
taken a revocation.
"""

from ca.hosts.joining import join_host, make_join_token
from ca.hosts.proof import Proved, prove_host
from ca.hosts.registry import (
    NewHost,
    Vouched,
    forget_hosts,
    forget_silent,
    register_host,
    vouched,
)
from ca.hosts.reports import take_report
from ca.hosts.states import HostState, alarms_of, state_of, status_of

__all__ = [
    "HostState",
    "NewHost",
    "Proved",
    "Vouched",
    "alarms_of",
    "forget_hosts",
    "forget_silent",
    "join_host",
    "make_join_token",
    "prove_host",
    "register_host",
    "state_of",
    "status_of",
    "take_report",
    "vouched",
]
