"""Stripe's events as received: the status of each, and what it changed."""

from __future__ import annotations

import json

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.entitlements.queries import holders_of
from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.portal.blueprint import may_be_stripe_id, project
from licenzy.portal.entitlement_changes import readable_changes
from licenzy.portal.formatting import number
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.stripe_events import replay
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.queries import event_by_id, events_page, subjects_behind
from licenzy.stripe_events.replay import REPLAYABLE
from licenzy.stripe_events.untracked_queries import untracked_of_event
from licenzy.workspace.models import Role

_PARKED = "parked"
"""Asked for like a status: failed events that are tried no longer by themselves."""


@project.get("/events")
@project_page(Role.VIEWER)
def events(side: Side) -> ResponseReturnValue:
    """Every signed event that arrived on this side, or those of one status or about one object."""
    word, object_id = request.args.get("status", ""), request.args.get("about", "")
    about = object_id if may_be_stripe_id(object_id) else None
    status, parked = _status(word), word == _PARKED
    place = requested_place("rcv")
    with runtime().database.read() as db:
        page = events_page(db, side.scope, status=status, parked=parked, object_id=about, place=place)
        ids = [event.event_id for event in page.rows]
        subjects = subjects_behind(db, side.scope, event_ids=ids)
    return show(
        "events/list.html",
        events=page.rows,
        subjects=subjects,
        wanted=status,
        parked=parked,
        about=about,
        statuses=list(EventStatus),
        pages=adjacent_pages(page, place, status=_PARKED if parked else status, about=about),
    )


@project.get("/events/<stripe_id:event_id>")
@project_page(Role.VIEWER)
def event(side: Side, event_id: str) -> ResponseReturnValue:
    """One event; its payload is about people, so that it is for support and above."""
    with runtime().database.read() as db:
        found = _event(db, side, event_id)
        changed = readable_changes(found.changes)
        ids = [each.entitlement_id for each in changed]
        holders = holders_of(db, side.scope, entitlement_ids=ids)
        untracked = untracked_of_event(db, side.scope, object_id=found.object_id)
        subject = subjects_behind(db, side.scope, event_ids=[event_id]).get(event_id)
    return show(
        "events/page.html",
        event=found,
        subject=subject,
        changed=changed,
        holders=holders,
        untracked=untracked,
        replayable=found.status in REPLAYABLE,
        payload=_readable(found.payload) if side.role.at_least(Role.SUPPORT) else None,
    )


@project.post("/events/<stripe_id:event_id>/replay")
@project_page(Role.SUPPORT)
def replay_event(side: Side, event_id: str) -> ResponseReturnValue:
    """Apply one event again, and say with which result."""
    parts = runtime()
    replayed = replay.replay_event(
        parts.database,
        side.scope,
        event_id=event_id,
        clock=parts.clock,
        actor=side.actor,
    )
    if replayed.status is EventStatus.FAILED:
        flash("Applying it failed again.", "error")
    elif replayed.changes:
        count = len(replayed.changes)
        flash(
            f"Replayed: it changed {number(count)} entitlement{'' if count == 1 else 's'} this time.",
            "success",
        )
    else:
        flash("Replayed: nothing differs, so nothing changed.", "info")
    return go(url_for("portal.project.event", event_id=event_id))


@project.post("/events/parked/replay")
@project_page(Role.SUPPORT)
def replay_parked(side: Side) -> ResponseReturnValue:
    """Have the worker try every parked event again."""
    parts = runtime()
    with parts.database.write() as db:
        count = replay.release_parked(db, side.scope, actor=side.actor, now=parts.clock())
    if count:
        events = "1 event is" if count == 1 else f"{number(count)} events are"
        flash(f"{events} tried again now, by the worker. Reload to see what became of it.", "success")
    else:
        flash("No event has failed permanently.", "info")
    return go(url_for("portal.project.events", status=EventStatus.FAILED.value))


def _event(db: Session, side: Side, event_id: str) -> StripeEvent:
    """The event with this id, of this side."""
    found = event_by_id(db, side.scope, event_id=event_id)
    if found is None:
        abort(404)
    return found


def _readable(payload: str) -> str:
    """The payload with its lines indented; what is no JSON is shown as received."""
    try:
        return json.dumps(parse_object(payload.encode()), indent=2, ensure_ascii=False)
    except NotStrictJson:
        return payload


def _status(word: str) -> EventStatus | None:
    return EventStatus(word) if word in list(EventStatus) else None
