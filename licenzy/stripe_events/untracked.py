"""What was bought past Licenzy: sessions and subscriptions that it did not open, kept to be adopted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, Select, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import mapped_prices
from licenzy.db.reads import read_rows
from licenzy.db.upsert import insert_unless_there, table_of
from licenzy.entitlements import statuses
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.projected import FactLike
from licenzy.kit.clock import from_unix
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_gateway.shapes import Reading

_ROWS = table_of(UntrackedCheckout)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """What Stripe says of a subscription that nobody here is known to have bought."""

    key: str
    data: Mapping[str, Any]
    """As `shapes.subscription` reads it."""
    state_at: datetime
    """The instant at Stripe of which that is known."""
    email: str | None = None
    event_id: str | None = None

    @property
    def is_over(self) -> bool:
        return self.data["status"] in statuses.ENDED

    @property
    def prices(self) -> set[str]:
        return {item["price"] for item in self.data["items"]}


def latest_state(key: str, facts: Iterable[FactLike]) -> SubscriptionState | None:
    """The state of a subscription that holds by its facts; None where none tells one."""
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in statuses.KNOWN]
    if not states:
        return None
    current = latest(states)
    event_id = current.source_id if current.source is FactSource.EVENT else None
    return SubscriptionState(key, current.data, current.occurred_at, event_id=event_id)


def keep_session(
    db: Session,
    scope: Scope,
    *,
    connection_id: str,
    reading: Reading,
    purchase_key: str,
    event_id: str,
    completed_at: datetime,
    now: datetime,
) -> bool:
    """Keep a completed session as an untracked checkout; False when another project sold it.

    A session that is told again only brings its payment status up to date, and one whose subscription is
    kept already joins it.
    """
    data = reading.data
    if data["status"] != "complete" or data["project"] not in {None, scope.project_id}:
        return False
    of_session = {
        "session_id": reading.object_id,
        "payment_status": data["payment_status"],
        "amount_total": data["amount_total"],
        "currency": data["currency"],
        "customer": data["customer"],
        "email": data["email"],
        "reference": data["reference"],
        "event_id": event_id,
        "completed_at": completed_at,
    }
    row = {
        **of_session,
        "id": new_id("unt"),
        "project_id": scope.project_id,
        "mode": scope.mode,
        "connection_id": connection_id,
        "purchase_key": purchase_key,
        "recurring": data["mode"] == "subscription",
        "kept_at": now,
        "sold_here": False,
        "listed": True,
    }
    if insert_unless_there(db, UntrackedCheckout, row):
        return True
    here = (
        _ROWS.c.project_id == scope.project_id,
        _ROWS.c.mode == scope.mode,
        _ROWS.c.purchase_key == purchase_key,
    )
    connection = db.connection()
    joined = {name: value for name, value in of_session.items() if value is not None}
    connection.execute(update(_ROWS).where(*here, _ROWS.c.session_id.is_(None)).values(joined))
    if data["payment_status"] != "unpaid":
        same = (*here, _ROWS.c.session_id == reading.object_id)
        connection.execute(update(_ROWS).where(*same).values(payment_status=data["payment_status"]))
    return True


def keep_subscriptions(
    db: Session, scope: Scope, states: Sequence[SubscriptionState], *, connection_id: str, now: datetime
) -> list[SubscriptionState]:
    """Keep those of subscriptions of nobody that have a product's price, and bring those kept up to date.

    What is kept waits for somebody to adopt it; those that do are returned, and have not ended. A
    subscription that is over, has not begun or names another project is kept only where it was before. What
    is kept changes with what is told of it, unless that is older than what was told last. It costs the same
    few statements for any number.
    """
    known = {row.purchase_key: row for row in _known(db, scope, keys=sorted(s.key for s in states))}
    named = set[str]().union(*(state.prices for state in states))
    mapped = {
        price_id: each.product_id
        for price_id, each in mapped_prices(db, scope, price_ids=named).items()
        if each.kind is Kind.SUBSCRIPTION
    }
    waiting, rows = list[SubscriptionState](), list[dict[str, Any]]()
    for state in sorted(states, key=lambda each: each.key):
        before = known.get(state.key)
        is_ours = state.data.get("project") in {None, scope.project_id}
        is_sold_here = is_ours and not mapped.keys().isdisjoint(state.prices)
        if before is None and not (is_sold_here and state.data["status"] in statuses.LIVE):
            continue
        is_listed = is_ours if before is not None and before.session_id is not None else is_sold_here
        columns = _of_state(state, mapped, sold_here=is_sold_here, listed=is_listed)
        if before is None or _differs(before, columns):
            rows.append(_row(scope, connection_id, state, columns, now))
        if is_sold_here and not state.is_over and (before is None or before.adopted_at is None):
            waiting.append(state)
    if rows:
        connection = db.connection()
        connection.execute(_upsert(connection.dialect.name), rows)
    return waiting


def is_kept(db: Session, scope: Scope, *, purchase_key: str) -> bool:
    """Whether a purchase is among those made past Licenzy."""
    return bool(_known(db, scope, keys=[purchase_key]))


@read_rows
def _known(scope: Scope, *, keys: Sequence[str]) -> Select[Any]:
    return select(_ROWS).where(
        _ROWS.c.project_id == scope.project_id,
        _ROWS.c.mode == scope.mode,
        _ROWS.c.purchase_key.in_(keys),
    )


_OF_STATE = ("status", "items", "ended_at", "state_at", "sold_here", "listed")
_FILLED_IN = ("customer", "email")
"""What a later telling may add to, and never takes away."""


def _of_state(
    state: SubscriptionState, mapped: Mapping[str, str], *, sold_here: bool, listed: bool
) -> dict[str, Any]:
    data = state.data
    ended = data["ended_at"] or data["canceled_at"]
    return {
        "status": data["status"],
        "items": [
            {"price": each["price"], "quantity": each["quantity"], "product": mapped.get(each["price"])}
            for each in data["items"]
        ],
        "ended_at": (from_unix(ended) if ended else state.state_at) if state.is_over else None,
        "state_at": state.state_at,
        "sold_here": sold_here,
        "listed": listed,
        "customer": data["customer"],
        "email": state.email,
    }


def _differs(before: Any, columns: Mapping[str, Any]) -> bool:
    """Whether it says anything new. That nothing has changed since is not written down."""
    replaced = any(getattr(before, name) != columns[name] for name in _OF_STATE if name != "state_at")
    return replaced or any(getattr(before, name) is None and columns[name] is not None for name in _FILLED_IN)


def _row(
    scope: Scope, connection_id: str, state: SubscriptionState, columns: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    started = state.data["started_at"]
    return {
        "id": new_id("unt"),
        "project_id": scope.project_id,
        "mode": scope.mode,
        "connection_id": connection_id,
        "purchase_key": state.key,
        "recurring": True,
        "event_id": state.event_id,
        "completed_at": from_unix(started) if started else state.state_at,
        "kept_at": now,
        **columns,
    }


def _upsert(dialect: str) -> Executable:
    """Keeps a state, unless a later one was told in the meantime."""
    insert = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(_ROWS)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[_ROWS.c.project_id, _ROWS.c.mode, _ROWS.c.purchase_key],
        set_={name: new[name] for name in _OF_STATE}
        | {name: func.coalesce(_ROWS.c[name], new[name]) for name in _FILLED_IN},
        where=or_(_ROWS.c.state_at.is_(None), _ROWS.c.state_at <= new.state_at),
    )
