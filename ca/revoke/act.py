"""Revoke, block, lift a block: each one entry of the ledger, and one commit."""

import getpass
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from ca import administration, wire
from ca.administration import (
    BlockRequest,
    LiftRequest,
    RevocationRequest,
    RevocationResponse,
)
from ca.authority import Authority
from ca.errors import BadRequest, NotFound
from ca.issue import Caller
from ca.krl import runs_of
from ca.ledger import EntryKind, place_of
from ca.policy import Role, require_role
from ca.revoke.aim import Aim, aim_at, describe, fingerprint_of, target_of
from ca.revoke.scan import Found, Scan, on_record
from ca.signed_request import SignedBy
from ca.store import Act, Block, Draft, StoredCertificate, Target

By = Mapping[str, object]
"""Who does it, as it goes on record."""


def operator() -> By:
    """Return who runs a command on the signer's machine."""
    return {"operator": getpass.getuser()}


def admin(authority: Authority, signed_by: SignedBy, caller: Caller, *, to: str) -> By:
    """Return who signed a request; raise `Denied` unless that is an admin."""
    identity = signed_by.identity
    require_role(authority.policy, identity, Role.ADMIN, to=to)
    return {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "email": identity.email,
        "serial": str(signed_by.serial),
        "address": str(caller.address),
        "request_id": caller.request_id,
    }


def revoke_for(
    authority: Authority,
    request: RevocationRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> RevocationResponse:
    """Revoke for who signed the request; raise what `revoke` does, and `Denied`."""
    by = admin(authority, signed_by, caller, to="revoke certificates")
    return revoke(authority, request, by, now=now)


def revoke(
    authority: Authority, request: RevocationRequest, by: By, *, now: datetime
) -> RevocationResponse:
    """Revoke what is requested, and block with it whom or what that means.

    Raises `BadRequest`, `NotFound` where nothing would come of it, or `Unavailable`.
    """
    aim, store = aim_at(authority, request, now=now), authority.store
    tail_from = store.log_head().next_index
    scan = Scan(authority, aim.means, now)
    scan.look(on_record(store, serial=aim.serial, now=now))
    chosen = scan.chosen()
    before = store.revoked_among(chosen)
    if request.dry_run:
        # Nobody is stopped by it, so what came meanwhile does not matter.
        return _answer(chosen, before, aim, now=now)

    def decide(tail: Sequence[StoredCertificate]) -> Act:
        nonlocal chosen
        scan.look(tail)
        chosen = scan.chosen()
        return _revocation(request, aim, chosen, by, now=now)

    proved = authority.ledger.act(decide, tail_from=tail_from)
    return _answer(chosen, before, aim, now=now, index=proved.proof.index)


def _revocation(
    request: RevocationRequest,
    aim: Aim,
    chosen: Mapping[int, Found],
    by: By,
    *,
    now: datetime,
) -> Act:
    _refuse_nothing(chosen, aim)
    targets = dict.fromkeys(aim.targets)
    if aim.email:
        subjects = (found.subject for found in chosen.values())
        targets |= dict.fromkeys(one for one in subjects if one is not None)
    runs = runs_of((serial, serial) for serial in chosen)
    record = {
        "v": 1,
        "asked": describe(request),
        "reason": request.reason,
        "by": by,
        "serials": [str(a) if a == b else f"{a}-{b}" for a, b in runs],
        "ca_keys": [wire.fingerprint(key) for key in aim.ca_keys],
        "blocks": list(targets),
    }
    return Act(
        draft=_draft(EntryKind.REVOCATION, record, now=now),
        # What a revoked CA key signed is revoked by that key.
        serials=()
        if aim.ca_keys
        else tuple(found.revoked for found in chosen.values()),
        ca_keys=aim.ca_keys,
        blocks=tuple(targets),
    )


def _refuse_nothing(chosen: Mapping[int, Found], aim: Aim) -> None:
    if not chosen and not aim.targets and not aim.ca_keys:
        raise NotFound(
            "no certificate on record that may still be good is meant by it",
            hint="ca-admin certificates list --live",
        )


def _answer(
    chosen: Mapping[int, Found],
    before: Collection[int],
    aim: Aim,
    *,
    now: datetime,
    index: int | None = None,
) -> RevocationResponse:
    if index is None:
        _refuse_nothing(chosen, aim)
    live = [
        found
        for serial, found in chosen.items()
        if serial not in before and now.timestamp() < found.ends
    ]
    people = {found.subject for found in live if not found.is_host}
    return RevocationResponse(
        certificates=len(live),
        people=len(people - {None}),
        ends=max((found.ends for found in live), default=None),
        index=index,
    )


def block_for(
    authority: Authority,
    request: BlockRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> administration.Recorded:
    """Block for who signed the request; raise what `block` does, and `Denied`."""
    by = admin(authority, signed_by, caller, to="block people and keys")
    return block(authority, request, by, now=now)


def block(
    authority: Authority, request: BlockRequest, by: By, *, now: datetime
) -> administration.Recorded:
    """Keep a person or a key out; what they have stays good.

    Raises `BadRequest` or `Unavailable`.
    """
    if (request.person is None) == (request.key is None):
        raise BadRequest("say whom or what to block, by either person or key")
    target = (
        target_of(authority, request.person)
        if request.person is not None
        else Target.key(fingerprint_of(request.key or ""))
    )
    record = {"v": 1, "reason": request.reason, "by": by, "blocks": [target]}
    act = Act(draft=_draft(EntryKind.BLOCK, record, now=now), blocks=(target,))
    return _done(authority, act)


def lift_for(
    authority: Authority,
    id_: int,
    request: LiftRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> administration.Recorded:
    """Lift for who signed the request; raise what `lift` does, and `Denied`."""
    by = admin(authority, signed_by, caller, to="lift blocks")
    return lift(authority, id_, request.reason, by, now=now)


def lift(
    authority: Authority, id_: int, reason: str, by: By, *, now: datetime
) -> administration.Recorded:
    """Lift a block. Nothing that was revoked with it becomes good again.

    Raises `NotFound` or `Unavailable`.
    """
    record = {"v": 1, "reason": reason, "by": by, "lifts": id_}
    return _done(
        authority, Act(draft=_draft(EntryKind.BLOCK, record, now=now), lifts=id_)
    )


def blocks_for(authority: Authority, signed_by: SignedBy) -> administration.Blocks:
    """Return all blocks to an admin; raise `Denied`."""
    identity = signed_by.identity
    require_role(authority.policy, identity, Role.ADMIN, to="see blocks")
    return blocks(authority.store.blocks())


def blocks(stored: Sequence[Block]) -> administration.Blocks:
    """Return blocks with who made them, why and when."""
    return administration.Blocks(tuple(map(_block, stored)))


def _block(stored: Block) -> administration.Block:
    record: dict[str, Any] = json.loads(stored.record or b"{}")
    return administration.Block(
        id=stored.id,
        kind=stored.target.kind,
        name=stored.target.name,
        issuer=stored.target.issuer,
        lifted=stored.lifted_index is not None,
        index=stored.entry_index,
        time=stored.time,
        reason=record.get("reason"),
        by=record.get("by"),
    )


def _done(authority: Authority, act: Act) -> administration.Recorded:
    proved = authority.ledger.act(lambda _tail: act, tail_from=_NO_TAIL)
    return administration.Recorded(proved.proof.index)


_NO_TAIL = 1 << 62
"""An index that no entry has: who needs no certificates reads none."""


def _draft(kind: EntryKind, record: Mapping[str, object], *, now: datetime) -> Draft:
    return Draft(place_of(None, kind=kind, record=record, now=now))
