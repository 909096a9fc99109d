"""`POST /v1/access/check`: the smallest and hottest call, a straight line from key to answer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from sqlalchemy import and_, bindparam
from sqlmodel import Session

from licenzy import errors
from licenzy.api.caller import Caller
from licenzy.api.entitlements import summary
from licenzy.api.exchange import Exchange, key_statement
from licenzy.api.reply import Reply
from licenzy.api.schemas import AccessCheckBody, validated
from licenzy.api_keys.models import ApiKey
from licenzy.db.prepared import PreparedRead
from licenzy.entitlements.decision import decide
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import facts_of
from licenzy.kit.clock import to_micros
from licenzy.subjects.models import Subject
from licenzy.usage.access import Access, access_of

_keys: Any = ApiKey.__table__  # type: ignore[attr-defined]
_subjects: Any = Subject.__table__  # type: ignore[attr-defined]
_held: Any = Entitlement.__table__  # type: ignore[attr-defined]


class Line(NamedTuple):
    """One entitlement as the statement below tells it: a `decision.Held`."""

    product_code: str
    kind: str
    state: str
    reason: str | None
    starts_at: int
    """Instants are microseconds here, as stored."""
    ends_at: int | None
    ends_as: str | None
    granted_units: int
    used_units: int
    reserved_units: int
    voided_at: int | None
    features: Any
    """JSON as stored, except where a feature is asked for."""


STATEMENT = (
    key_statement(
        _held.c.product_code,
        _held.c.kind,
        _held.c.state,
        _held.c.reason,
        _held.c.starts_at,
        _held.c.ends_at,
        _held.c.ends_as,
        _held.c.granted_units,
        _held.c.used_units,
        _held.c.reserved_units,
        _held.c.voided_at,
        _held.c.features,
    )
    .outerjoin(
        _subjects,
        and_(
            _subjects.c.project_id == _keys.c.project_id,
            _subjects.c.mode == _keys.c.mode,
            _subjects.c.subject_ref == bindparam("subject_ref"),
        ),
    )
    .outerjoin(
        _held,
        and_(
            _held.c.subject_id == _subjects.c.id,
            _held.c.project_id == _keys.c.project_id,
            _held.c.mode == _keys.c.mode,
        ),
    )
)
"""Key, mode and everything the subject holds, in one statement."""


def check(exchange: Exchange, *, read: PreparedRead) -> Reply:
    """May this subject proceed, right now? `read` is `STATEMENT`, prepared."""
    key_hash = exchange.presented()
    try:
        wanted = _wanted(exchange)
    except errors.LicenzyError:
        exchange.authenticate()  # What is wrong with the key is said before what is wrong with the body.
        raise
    rows = read.rows(key_hash=key_hash, subject_ref=wanted.subject_ref)
    caller = exchange.admit(rows)
    query = exchange.environ.get("QUERY_STRING")
    if query and _explain(query):
        return _explained(exchange, caller, wanted)
    held = [Line(*row[_CODE:]) for row in rows if row[_CODE] is not None]
    if wanted.feature is not None:
        held = [line._replace(features=orjson.loads(line.features)) for line in held]
    decision = decide(held, to_micros(caller.now), product_code=wanted.product_code, feature=wanted.feature)
    allowed = decision.allowed
    if not allowed and any(line.reserved_units for line in held):
        with exchange.runtime.database.read() as db:
            allowed = _access(db, caller, wanted).allowed  # Reservations may be over by now.
    exchange.desk.checked.note(caller, allowed)
    return exchange.answer({"subject_ref": wanted.subject_ref, "allowed": allowed})


class Wanted(NamedTuple):
    """Whom a check asks about, and what for: the fields of `AccessCheckBody`."""

    subject_ref: str
    product_code: str | None = None
    feature: str | None = None


_USUAL = re.compile(rb'\{"subject_ref": ?"([!#-\[\]-~]{1,200})"\}')
"""The body that nearly every call has: one plain ref, with nothing that JSON would have to unescape.

Such a ref is good as it stands. Every other body is parsed and validated, to the same end.
"""


def _wanted(exchange: Exchange) -> Wanted | AccessCheckBody:
    raw = exchange.raw()
    usual = _USUAL.fullmatch(raw)
    if usual is None or exchange.environ.get("CONTENT_TYPE") != "application/json":
        return validated(AccessCheckBody, exchange.json(raw))
    return Wanted(usual[1].decode("ascii"))


def _explain(query: str) -> bool:
    """Whether the query asks for the reason. Raises InvalidRequest for a word that is none."""
    words = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "explain"]
    if words and words not in (["true"], ["false"]):
        raise errors.InvalidRequest(fields={"explain": "must be `true` or `false`, once"})
    return words == ["true"]


def _explained(exchange: Exchange, caller: Caller, wanted: Wanted | AccessCheckBody) -> Reply:
    """The same answer with its reason, off the hot path."""
    facts: list[str] = []
    with exchange.runtime.database.read() as db:
        found = _access(db, caller, wanted)
        held = found.deciding
        if held is not None:
            known = facts_of(
                db, project_id=caller.project_id, mode=caller.mode, purchase_key=held.purchase_key
            )
            facts = [fact.id for fact in known]
    told: dict[str, Any] = {
        "reason": found.reason,
        "entitlement": summary(held, caller.now) if held is not None else None,
        "facts": facts,
    }
    hint = exchange.desk.watch.hint_for_nothing_held(caller) if found.reason == "no_entitlement" else None
    if hint is not None:
        told["hint"] = hint
    exchange.desk.checked.note(caller, found.allowed)
    return exchange.answer({"subject_ref": wanted.subject_ref, "allowed": found.allowed, "explain": told})


def _access(db: Session, caller: Caller, wanted: Wanted | AccessCheckBody) -> Access:
    return access_of(
        db,
        project_id=caller.project_id,
        mode=caller.mode,
        subject_refs=[wanted.subject_ref],
        now=caller.now,
        asked_at=caller.asked_at,
        product_code=wanted.product_code,
        feature=wanted.feature,
    )[wanted.subject_ref]


_CODE = len(key_statement().selected_columns)
"""Where the columns of an entitlement begin; its code is none when the subject holds nothing."""
