"""`POST /v1/access/check`: the smallest and hottest call, a straight line from key to answer."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from licenzy import errors
from licenzy.api.caller import Caller
from licenzy.api.entitlements import summary
from licenzy.api.incoming import Arrived
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest, ApiState
from licenzy.api.routes import CallRoute
from licenzy.api.schemas import AccessCheckBody, validated
from licenzy.entitlements.decision import in_force
from licenzy.entitlements.models import OVERRIDE, Entitlement
from licenzy.entitlements.queries import facts_of
from licenzy.hotpath.snapshot import SnapshotReader, SubjectSnapshot, read_snapshot
from licenzy.kit.clock import rfc3339, to_micros
from licenzy.kit.deadline import CALL_SECONDS
from licenzy.usage.access import ANYTHING, Access, Wanted, access_of, answer, names_limit, require_known_limit
from licenzy.usage.units_left import units_left


def check(request: ApiRequest) -> Reply:
    """May this subject proceed, right now?"""
    key_hash = request.presented()
    try:
        subject_ref, wanted = _parsed(request)
    except errors.LicenzyError:
        request.authenticate()  # What is wrong with the key is said before what is wrong with the body.
        raise
    with request.runtime.database.read() as db:
        snapshot = read_snapshot(db, key_hash=key_hash, subject_ref=subject_ref)
    caller = request.admit(snapshot.key)
    query = request.incoming.query
    if wanted.units is not None:
        return _check_units(request, caller, subject_ref, wanted, explain=bool(query) and _explain(query))
    if query and _explain(query):
        return _explained(request, caller, subject_ref, wanted)
    found = _answer(snapshot, wanted, caller)
    allowed = found.allowed
    if _may_name_nothing(found):
        with request.runtime.database.read() as db:
            require_known_limit(db, caller.scope, wanted.limit or "")
    if not allowed and snapshot.has_reserved_units:
        with request.runtime.database.read() as db:
            # Reservations may be over by now.
            allowed = access_of(db, caller.scope, **_access(caller, subject_ref, wanted))[subject_ref].allowed
    return _answer_body(request, caller, subject_ref, allowed)


async def check_on_loop(
    state: ApiState, reader: SnapshotReader, incoming: Arrived, route: CallRoute
) -> Reply | None:
    """The same from one read on the event loop; none when it takes more than that, and a thread answers.

    Nothing is counted then.
    """
    request = ApiRequest(state, incoming, route)
    try:
        return await _check_on_loop(request, reader, incoming)
    except errors.LicenzyError as error:
        return request.refuse(error)
    except Exception:
        return request.refuse_unexpected()


async def _check_on_loop(request: ApiRequest, reader: SnapshotReader, incoming: Arrived) -> Reply | None:
    if incoming.query:
        return None
    key_hash = request.presented()
    problem: errors.LicenzyError | None = None
    subject_ref, wanted = _NOBODY, ANYTHING
    try:
        subject_ref, wanted = _parsed(request)
    except errors.StripePriceIdNotAllowed:
        return None  # Its hint is read from the database.
    except errors.LicenzyError as error:
        problem = error
    if wanted.units is not None:
        return None  # Windows are read for it.
    snapshot = await reader.read(key_hash, subject_ref, ends_at=incoming.arrived + CALL_SECONDS)
    if snapshot is None:
        return None
    caller = request.verify(snapshot.key)
    found = _answer(snapshot, wanted, caller)
    if not found.allowed and snapshot.has_reserved_units:
        return None
    if problem is None and _may_name_nothing(found):
        return None
    request.count(caller.key_id)
    if problem is not None:
        raise problem
    return _answer_body(request, caller, subject_ref, found.allowed)


_NOBODY = ""
"""A ref that no subject has, for reading the key alone."""


def _answer(snapshot: SubjectSnapshot, wanted: Wanted, caller: Caller) -> Access[Any]:
    return answer(snapshot.owned, wanted, to_micros(caller.now), default=snapshot.default)


def _may_name_nothing(found: Access[Any]) -> bool:
    """Whether a limit was asked for that nothing of the subject's names, and perhaps no product does."""
    return found.wanted.limit is not None and not found.allowed and not names_limit(found)


def _answer_body(request: ApiRequest, caller: Caller, subject_ref: str, allowed: bool) -> Reply:
    request.state.checks.note(caller, allowed)
    return request.answer({"subject_ref": subject_ref, "allowed": allowed})


_USUAL = re.compile(rb'\{"subject_ref": ?"([!#-\[\]-~]{1,200})"\}')
"""The body that nearly every call has: one plain ref, with nothing that JSON would have to unescape.

Such a ref is good as it stands. Every other body is parsed and validated, to the same end.
"""


def _parsed(request: ApiRequest) -> tuple[str, Wanted]:
    """Whom the check asks about, and what for. Raises the 415 and 400s."""
    raw = request.incoming.body
    usual = _USUAL.fullmatch(raw)
    if usual is not None and request.incoming.header("content-type") == "application/json":
        return usual[1].decode("ascii"), ANYTHING
    body = validated(AccessCheckBody, request.json(raw))
    return body.subject_ref, body.wanted


def _explain(query: str) -> bool:
    """Whether the query asks for the reason. Raises InvalidRequest for a word that is none."""
    words = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "explain"]
    if words and words not in (["true"], ["false"]):
        raise errors.InvalidRequest(fields={"explain": "must be `true` or `false`, once"})
    return words == ["true"]


def _explained(request: ApiRequest, caller: Caller, subject_ref: str, wanted: Wanted) -> Reply:
    """The same answer with its reason, off the hot path."""
    facts: list[str] = []
    with request.runtime.database.read() as db:
        found: Access[Entitlement] = access_of(db, caller.scope, **_access(caller, subject_ref, wanted))[
            subject_ref
        ]
        if _may_name_nothing(found):
            require_known_limit(db, caller.scope, wanted.limit or "")
        owned = found.evidence
        if owned is not None:
            known = facts_of(db, caller.scope, purchase_key=owned.purchase_key)
            facts = [fact.id for fact in known]
    is_override = owned is not None and owned.source == OVERRIDE
    default = in_force(found.owned, caller.now, found.default).default
    answer_body: dict[str, Any] = {
        "reason": found.reason,
        **({"override": _override(owned)} if owned is not None and is_override else {}),
        "entitlement": summary(owned, caller.now) if owned is not None and not is_override else None,
        **({"default_product": default.product_code} if default is not None else {}),
        **({"limit": {"code": wanted.limit, "value": found.limit.value}} if found.limit is not None else {}),
        "facts": facts,
    }
    hint = request.state.misuse.hint_for_nothing_owned(caller) if found.reason == "no_entitlement" else None
    if hint is not None:
        answer_body["hint"] = hint
    request.state.checks.note(caller, found.allowed)
    return request.answer({"subject_ref": subject_ref, "allowed": found.allowed, "explain": answer_body})


def _check_units(
    request: ApiRequest, caller: Caller, subject_ref: str, wanted: Wanted, *, explain: bool
) -> Reply:
    """Whether so many units are left. They are not set aside: the next call may find them gone."""
    assert wanted.units is not None
    facts: list[str] = []
    with request.runtime.database.read() as db:
        found = units_left(
            db,
            caller.scope,
            subject_ref=subject_ref,
            product_code=wanted.product_code,
            wanted=wanted.units,
            now=caller.now,
        )
        if explain and found.evidence is not None:
            known = facts_of(db, caller.scope, purchase_key=found.evidence.purchase_key)
            facts = [fact.id for fact in known]
    if not explain:
        return _answer_body(request, caller, subject_ref, found.allowed)
    request.state.checks.note(caller, found.allowed)
    explained = {
        "reason": found.reason,
        "entitlement": summary(found.evidence, caller.now) if found.evidence is not None else None,
        **({"default_product": found.default_product} if found.default_product is not None else {}),
        "units": {"unit": found.unit, "remaining": found.remaining},
        "facts": facts,
    }
    return request.answer({"subject_ref": subject_ref, "allowed": found.allowed, "explain": explained})


def _override(row: Entitlement) -> dict[str, Any]:
    limit = next(iter(row.limits), None)
    return {
        "feature": row.features[0] if limit is None else None,
        "limit": limit,
        "value": row.limits[limit] if limit is not None else None,
        "valid_until": rfc3339(row.valid_until) if row.valid_until is not None else None,
    }


def _access(caller: Caller, subject_ref: str, wanted: Wanted) -> dict[str, Any]:
    return {
        "subject_refs": [subject_ref],
        "now": caller.now,
        "asked_at": caller.asked_at,
        "wanted": wanted,
    }
