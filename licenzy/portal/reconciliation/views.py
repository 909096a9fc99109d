"""Reconciliation: asking for a walk over the account in Stripe, and what the last walks found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.connections.queries import connection_of
from licenzy.db.paging import Place
from licenzy.entitlements.queries import holders_of
from licenzy.errors import StripeNotConnected
from licenzy.portal.blueprint import project
from licenzy.portal.entitlement_changes import EntitlementChange, readable_changes
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.reconciliation.models import FinishedWalk
from licenzy.reconciliation.queries import WalkState, last_walk, reconciliation_of, walk_state, walks_page
from licenzy.reconciliation.requests import request_walk
from licenzy.runtime import runtime
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of

_WALKS_SHOWN = 10
_MOST_CHANGES = 100


@dataclass(frozen=True, slots=True)
class WalkSummary:
    """A finished walk as its page shows it."""

    walk: FinishedWalk
    changed: list[EntitlementChange]
    left_out: int
    """How many differences are not shown."""

    @property
    def counted(self) -> list[tuple[str, int]]:
        """What it read, by name; lists that it left out are not counted."""
        return [(words, count) for name, words in _COUNTED if (count := self.walk.report.get(name, 0))]

    @property
    def missed(self) -> int:
        """Events that had never arrived."""
        return int(self.walk.report.get("events_missed", 0))

    @property
    def problems(self) -> list[dict[str, str]]:
        """Objects that could not be compared, with the reason."""
        return list(self.walk.report.get("problems", []))

    @property
    def problems_found(self) -> int:
        """How many there were; the first ones are kept."""
        return int(self.walk.report.get("problems_found", len(self.problems)))


_COUNTED = (
    ("events_seen", "events"),
    ("subscriptions_seen", "subscriptions"),
    ("sessions_seen", "unfinished checkouts"),
    ("refunds_seen", "refunds"),
    ("disputes_seen", "disputes"),
)


@project.get("/reconciliation")
@project_page(Role.VIEWER)
def reconciliation(side: Side) -> ResponseReturnValue:
    """Whether this side equals Stripe: the walk that was asked for, and the last ones."""
    return _page(side, None, 200)


@project.get("/reconciliation/progress")
@project_page(Role.VIEWER)
def reconciliation_progress(side: Side) -> ResponseReturnValue:
    """The page's live part; asked again and again until the walk has ended."""
    return _page(side, "reconciliation/_now.html", 286)


@project.post("/reconciliation/walks")
@project_page(Role.SUPPORT)
def request_reconciliation(side: Side) -> ResponseReturnValue:
    """Have the worker walk the account now."""
    parts = runtime()
    try:
        with parts.database.write() as db:
            request_walk(db, side.scope, actor=side.actor, now=parts.clock())
    except StripeNotConnected as refused:
        flash(f"{refused.message} {refused.hint}", "error")
    return go(url_for("portal.project.reconciliation"))


def _page(side: Side, fragment: str | None, when_over: int) -> ResponseReturnValue:
    place = requested_place("wlk")
    with runtime().database.read() as db:
        live = _live(db, side)
        listed = _summaries(db, side, place)
    over = live["state"] is WalkState.RESTING
    return show(
        "reconciliation/page.html",
        fragment,
        status=when_over if over else 200,
        over=over,
        swapped=fragment is not None and wants_fragment(),
        **live,
        **listed,
    )


def _live(db: Session, side: Side) -> dict[str, Any]:
    connection = connection_of(db, side.scope)
    row = reconciliation_of(db, connection_id=connection.id) if connection is not None else None
    last = last_walk(db, side.scope)
    return {
        "connected": connection is not None and connection.key_sealed is not None,
        "state": walk_state(row, last, runtime().clock()),
        "requested_at": row.requested_at if row is not None else None,
        "step": row.step if row is not None else None,
        "last": last,
    }


def _summaries(db: Session, side: Side, place: Place) -> dict[str, Any]:
    page = walks_page(db, side.scope, place=place, size=_WALKS_SHOWN)
    summaries = [
        WalkSummary(
            walk, readable_changes(shown), walk.report.get("differences_found", len(kept)) - len(shown)
        )
        for walk in page.rows
        for kept in [walk.report.get("differences", [])]
        for shown in [kept[:_MOST_CHANGES]]
    ]
    ids = list({each.entitlement_id for walk in summaries for each in walk.changed})
    return {
        "walks": summaries,
        "holders": holders_of(db, side.scope, entitlement_ids=ids),
        "names": names_of(
            db, user_ids={each.walk.requested_by for each in summaries if each.walk.requested_by}
        ),
        "pages": adjacent_pages(page, place),
    }
