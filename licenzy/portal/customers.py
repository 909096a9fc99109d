"""The merchant's customers: who they are, what they hold, and what the access check says of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import abort, request
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.checkout.queries import attempts_of
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import time_of
from licenzy.entitlements.decision import Decision, Standing, best_status, decide, remaining, standing
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import entitlements_of, held_by
from licenzy.kit.ids import has_shape
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import pages_beside, place_asked
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.stripe_events.queries import events_of_subject
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id, subjects_page
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.models import Role

_SIDE = "/projects/<project_id>/<mode:mode>"
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Holder:
    """A subject with what it holds, as of one instant."""

    subject: Subject
    held: list[tuple[Entitlement, Standing, int]]
    """Each entitlement, what it is worth, and the units left of it."""
    decision: Decision[Entitlement]
    status: str

    @property
    def product_codes(self) -> list[str]:
        return list(dict.fromkeys(entitlement.product_code for entitlement, _standing, _left in self.held))


@portal.get(f"{_SIDE}/customers")
@project_page(Role.VIEWER)
def customers(side: Side) -> ResponseReturnValue:
    """Everybody who ever opened a checkout on this side; searched by a part of the ref or address."""
    search = request.args.get("search", "").strip()
    place = place_asked(_subject_id)
    problem = ref_problem(search) if search else None
    with runtime().database.read() as db:
        now = _time(db, side)
        page = subjects_page(db, **side.scope, search="" if problem else search, place=place)
        found = [] if problem else list(page.rows)
        held = held_by(db, **side.scope, subject_ids=[subject.id for subject in found])
    holders = [_holder(subject, held[subject.id], now) for subject in found]
    return show(
        "customers/list.html",
        holders=holders,
        search=search,
        problem=problem,
        pages=pages_beside(page, place, search=search or None),
    )


@portal.get(f"{_SIDE}/customers/<subject_id>")
@project_page(Role.VIEWER)
def customer(side: Side, subject_id: str) -> ResponseReturnValue:
    """One customer: may they proceed and why, what they hold, what they tried to buy."""
    if _subject_id(subject_id) is None:
        abort(404)
    scope = {**side.scope, "subject_id": subject_id}
    with runtime().database.read() as db:
        subject = subject_by_id(db, **scope)
        if subject is None:
            abort(404)
        holder = _holder(subject, entitlements_of(db, **scope), _time(db, side))
        attempts = attempts_of(db, **scope, limit=_MOST_SHOWN)
        events = events_of_subject(db, **scope, limit=_MOST_SHOWN)
    return show(
        "customers/page.html",
        subject=subject,
        holder=holder,
        attempts=attempts,
        events=events,
        most_shown=_MOST_SHOWN,
        base_url=runtime().settings.base_url,
    )


def _holder(subject: Subject, held: list[Entitlement], now: datetime) -> Holder:
    return Holder(
        subject=subject,
        held=[(entitlement, standing(entitlement, now), remaining(entitlement)) for entitlement in held],
        decision=decide(held, now),
        status=best_status(held, now),
    )


def _time(db: Session, side: Side) -> datetime:
    """The time that the access check would decide by."""
    connection = connection_of(db, **side.scope)
    return time_of(connection, runtime().clock())


def _subject_id(word: str) -> str | None:
    return word if has_shape(word, "sbj") else None
