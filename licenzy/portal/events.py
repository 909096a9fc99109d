"""Stripe's events as received: what became of each, and what it changed."""

from __future__ import annotations

import json

from flask import abort, request
from flask.typing import ResponseReturnValue

from licenzy.kit.json_strict import NotStrictJson, parse_object
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import pages_beside, place_asked
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.queries import event_by_id, events_page, subjects_behind
from licenzy.workspace.models import Role

_SIDE = "/projects/<project_id>/<mode:mode>"


@portal.get(f"{_SIDE}/events")
@project_page(Role.VIEWER)
def events(side: Side) -> ResponseReturnValue:
    """Every signed event that arrived on this side, or those of one status or about one object."""
    status, about = _status(request.args.get("status", "")), _stripe_id(request.args.get("about", ""))
    place = place_asked(_sequence)
    with runtime().database.read() as db:
        page = events_page(db, **side.scope, status=status, object_id=about, place=place)
        ids = [event.event_id for event in page.rows]
        subjects = subjects_behind(db, **side.scope, event_ids=ids)
    return show(
        "events/list.html",
        events=page.rows,
        subjects=subjects,
        wanted=status,
        about=about,
        statuses=list(EventStatus),
        pages=pages_beside(page, place, status=status, about=about),
    )


@portal.get(f"{_SIDE}/events/<event_id>")
@project_page(Role.VIEWER)
def event(side: Side, event_id: str) -> ResponseReturnValue:
    """One event; its payload tells of people, so that it is for support and above."""
    if _stripe_id(event_id) is None:
        abort(404)
    with runtime().database.read() as db:
        found = event_by_id(db, **side.scope, event_id=event_id)
        if found is None:
            abort(404)
        subject = subjects_behind(db, **side.scope, event_ids=[event_id]).get(event_id)
    return show(
        "events/page.html",
        event=found,
        subject=subject,
        payload=_readable(found.payload) if side.may(Role.SUPPORT) else None,
    )


def _readable(payload: str) -> str:
    """The payload with its lines indented; what is no JSON is shown as it came."""
    try:
        return json.dumps(parse_object(payload.encode()), indent=2, ensure_ascii=False)
    except NotStrictJson:
        return payload


def _status(word: str) -> EventStatus | None:
    return EventStatus(word) if word in list(EventStatus) else None


def _stripe_id(word: str) -> str | None:
    """An id of Stripe's, or what the inbox names a body that is no event."""
    return word if 0 < len(word) <= 255 and word.isascii() and word.isprintable() else None


def _sequence(word: str) -> int | None:
    return int(word) if len(word) <= 18 and word.isascii() and word.isdecimal() else None
