"""Deliveries: what was sent to which endpoint, with which result, and sending it again."""

from __future__ import annotations

import json
from typing import Any

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.deliveries.models import DeliveryStatus, EventType, OutboundEvent, WebhookEndpoint
from licenzy.deliveries.outbox import requeue
from licenzy.deliveries.queries import attempts_of, deliveries_page, delivery_with, endpoints
from licenzy.deliveries.signing import signed_headers, signing_secrets
from licenzy.kit.ids import has_shape
from licenzy.portal.blueprint import project
from licenzy.portal.deliveries.forms import ResendForm
from licenzy.portal.endpoints.views import endpoint_context, endpoint_name
from licenzy.portal.formatting import number
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.runtime import runtime
from licenzy.subjects.queries import subject_by_id
from licenzy.workspace.models import Role


@project.get("/deliveries")
@project_page(Role.VIEWER)
def deliveries(side: Side) -> ResponseReturnValue:
    """Every event on its way to an endpoint, or those of one status, type or endpoint."""
    return _list(side, ResendForm(formdata=None))


@project.post("/deliveries/requeue")
@project_page(Role.SUPPORT)
def requeue_deliveries(side: Side) -> ResponseReturnValue:
    """Send all those again that fit what was chosen."""
    form = ResendForm()
    if not form.validate():
        return _list(side, form, status=422)
    since, until = form.bounds()
    with runtime().database.write() as db:
        count = requeue(
            db,
            endpoint_context(side),
            statuses=form.statuses,
            event_type=EventType(form.event_type.data) if form.event_type.data else None,
            endpoint_id=form.endpoint.data or None,
            since=since,
            until=until,
        )
    flash(_requeue_message(count), "success" if count else "warning")
    return go(url_for("portal.project.deliveries"))


@project.get("/deliveries/<id('dlv'):delivery_id>")
@project_page(Role.VIEWER)
def delivery(side: Side, delivery_id: str) -> ResponseReturnValue:
    """One delivery with its attempts; its payload has personal data and needs the support role."""
    parts = runtime()
    with parts.database.read() as db:
        found, event, to = delivery_with(db, side.scope, delivery_id=delivery_id)
        tries = attempts_of(db, found)
        subject = subject_by_id(db, side.scope, subject_id=event.subject_id) if event.subject_id else None
    unfinished = found.status is DeliveryStatus.PENDING and to.paused_at is None and to.disabled_at is None
    return show(
        "deliveries/page.html",
        "deliveries/_state.html",
        status=200 if unfinished else 286,
        delivery=found,
        event=event,
        endpoint=to,
        attempts=tries,
        subject=subject,
        unfinished=unfinished,
        swapped=wants_fragment(),
        **_sent(event, to, side),
    )


@project.post("/deliveries/<id('dlv'):delivery_id>/requeue")
@project_page(Role.SUPPORT)
def requeue_delivery(side: Side, delivery_id: str) -> ResponseReturnValue:
    """Send one again, whatever its status."""
    with runtime().database.write() as db:
        delivery_with(db, side.scope, delivery_id=delivery_id)  # Raises where there is none.
        count = requeue(db, endpoint_context(side), delivery_id=delivery_id, statuses=DeliveryStatus)
    flash(_requeue_message(count), "success" if count else "warning")
    return go(url_for("portal.project.delivery", delivery_id=delivery_id))


def _list(side: Side, form: ResendForm, *, status: int = 200) -> ResponseReturnValue:
    wanted, event_type = _enum_argument(DeliveryStatus, "status"), _enum_argument(EventType, "type")
    to = request.args.get("to", "")
    to = to if has_shape(to, "whe") else ""
    place = requested_place("dlv")
    with runtime().database.read() as db:
        listed = endpoints(db, side.scope)
        page = deliveries_page(
            db, side.scope, status=wanted, event_type=event_type, endpoint_id=to or None, place=place
        )
    form.offer(listed)
    filters = {"status": wanted, "type": event_type, "to": to or None}
    return show(
        "deliveries/list.html",
        status=status,
        deliveries=page.rows,
        endpoints=listed,
        names={each.id: endpoint_name(each) for each in listed},
        filters=filters,
        filtered=any(filters.values()),
        statuses=list(DeliveryStatus),
        types=list(EventType),
        form=form,
        pages=adjacent_pages(page, place, **filters),
    )


def _enum_argument(words: Any, name: str) -> Any:
    word = request.args.get(name, "")
    return words(word) if word in list(words) else None


def _sent(event: OutboundEvent, to: WebhookEndpoint, side: Side) -> dict[str, Any]:
    """What is sent, readable and to copy, signed as of now; nothing for those who may not see it."""
    if not side.role.at_least(Role.SUPPORT) or not event.body:  # It is empty where the customer was erased.
        return {"payload": None, "raw": None, "headers": None}
    parts = runtime()
    now = parts.clock()
    secrets = signing_secrets(parts.secret_box, to, now=now)
    headers = {"Content-Type": "application/json; charset=utf-8"}
    headers |= signed_headers(event.id, event.body, with_secrets=secrets, now=now)
    return {
        "payload": json.dumps(json.loads(event.body), indent=2, ensure_ascii=False),
        "raw": event.body,
        "headers": "\n".join(f"{name}: {value}" for name, value in headers.items()) if secrets else None,
    }


def _requeue_message(count: int) -> str:
    if not count:
        return "No deliveries match. Nothing was resent."
    return "1 delivery will be resent." if count == 1 else f"{number(count)} deliveries will be resent."
