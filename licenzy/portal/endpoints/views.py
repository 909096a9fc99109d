"""Webhook endpoints: made, changed, paused, tested, their secrets rotated, deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from flask import flash, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.deliveries import actions
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.models import DeliveryStatus, EventType, WebhookEndpoint
from licenzy.deliveries.outbox import send_test
from licenzy.deliveries.queries import deliveries_page, endpoint, endpoints, waiting_counts
from licenzy.kit.resources import resource_dir
from licenzy.portal.blueprint import project
from licenzy.portal.endpoints.forms import EndpointForm, ExampleForm, RotationForm
from licenzy.portal.forms import TypedForm, typed_word
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.one_time_secrets import put_secret, take_secret
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.workspace.models import Role

_ONE = "/webhooks/<id('whe'):endpoint_id>"
_SNIPPETS = (("Python", "py"), ("Node", "mjs"), ("Go", "go"), ("PHP", "php"), ("Ruby", "rb"))
_MOST_SHOWN = 5


@project.get("/webhooks")
@project_page(Role.VIEWER)
def webhooks(side: Side) -> ResponseReturnValue:
    """The endpoints of this side, how they do, and the form of a new one."""
    return show("endpoints/list.html", **_listed(side, EndpointForm(formdata=None)))


@project.post("/webhooks")
@project_page(Role.ADMIN)
@fresh
def create_endpoint(side: Side) -> ResponseReturnValue:
    """Make an endpoint and show its secret, this once."""
    form, parts = EndpointForm(), runtime()
    if form.validate():
        with form.refusals():
            with parts.database.write() as db:
                made, secret = actions.create_endpoint(
                    db,
                    parts.secret_box,
                    endpoint_context(side),
                    url=form.url.data or "",
                    types=form.types.data or [],
                    description=form.description.data or "",
                    private_allowed=parts.settings.allow_private_webhooks,
                )
            return _show_secret(side, made, secret)
    return show("endpoints/list.html", "endpoints/_new_form.html", status=422, **_listed(side, form))


@project.get(_ONE)
@project_page(Role.VIEWER)
def webhook(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """One endpoint: how it does, which events it gets, and how to verify what it gets."""
    secret = take_secret(side, of=endpoint_id)
    return show("endpoints/page.html", **_context(side, _found(side, endpoint_id), secret=secret))


@project.post(_ONE)
@project_page(Role.ADMIN)
@fresh
def change_endpoint(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Give it another address or other events."""
    form, parts = EndpointForm(), runtime()
    if form.validate():
        with form.refusals():
            with parts.database.write() as db:
                actions.change_endpoint(
                    db,
                    endpoint_context(side),
                    endpoint_id=endpoint_id,
                    url=form.url.data or "",
                    types=form.types.data or [],
                    description=form.description.data or "",
                    private_allowed=parts.settings.allow_private_webhooks,
                )
            flash("Endpoint saved.", "success")
            return go(url_for("portal.project.webhook", endpoint_id=endpoint_id))
    context = _context(side, _found(side, endpoint_id), form=form)
    return show("endpoints/page.html", "endpoints/_change_form.html", status=422, **context)


@project.post(f"{_ONE}/pause")
@project_page(Role.ADMIN)
def pause_endpoint(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Let events wait."""
    return _do(side, endpoint_id, actions.pause_endpoint, "Endpoint paused. Events wait until you resume it.")


@project.post(f"{_ONE}/resumption")
@project_page(Role.ADMIN)
def resume_endpoint(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Send again, after a pause or after it was disabled."""
    return _do(side, endpoint_id, actions.resume_endpoint, "Endpoint resumed. Waiting events are sent first.")


@project.post(f"{_ONE}/secret")
@project_page(Role.ADMIN)
@fresh
def rotate_endpoint_secret(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Make a new secret and show it, this once."""
    form, parts = RotationForm(), runtime()
    if not form.validate():
        return show("endpoints/page.html", status=422, **_context(side, _found(side, endpoint_id)))
    with parts.database.write() as db:
        found, secret = actions.rotate_secret(
            db, parts.secret_box, endpoint_context(side), endpoint_id=endpoint_id, overlap=form.hours
        )
    return _show_secret(side, found, secret)


@project.post(f"{_ONE}/test")
@project_page(Role.ADMIN)
def test_endpoint(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Send an example, by the same way as everything; its delivery's page shows the result."""
    form, found = ExampleForm(), _found(side, endpoint_id)
    form.offer(found.types)
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                delivery_id = send_test(
                    db,
                    endpoint_context(side),
                    endpoint_id=endpoint_id,
                    event_type=EventType(form.event_type.data),
                )
            return go(url_for("portal.project.delivery", delivery_id=delivery_id))
    return show("endpoints/page.html", status=422, **_context(side, found, example_form=form))


@project.post(f"{_ONE}/removal")
@project_page(Role.ADMIN)
@fresh
def delete_endpoint(side: Side, endpoint_id: str) -> ResponseReturnValue:
    """Forget it and its secret; in live its host must be typed."""
    found = _found(side, endpoint_id)
    problem = TypedForm().problem(side.mode, host_of(found), "the endpoint’s host")
    if problem is not None:
        return show("endpoints/page.html", status=422, **_context(side, found, typed_error=problem))
    with runtime().database.write() as db:
        actions.delete_endpoint(db, endpoint_context(side), endpoint_id=endpoint_id)
    flash("Endpoint deleted.", "success")
    return go(url_for("portal.project.webhooks"))


def endpoint_context(side: Side) -> EndpointContext:
    """Who acts on this side, and when."""
    return EndpointContext(side.scope, side.actor, runtime().clock())


def host_of(of: WebhookEndpoint) -> str:
    """What must be typed before an endpoint is deleted in live."""
    return urlsplit(of.url).hostname or of.url


def endpoint_name(endpoint: WebhookEndpoint) -> str:
    """What distinguishes endpoints in titles and lists: the host and the path."""
    return endpoint.url.partition("://")[2] or endpoint.url


def _show_secret(side: Side, endpoint: WebhookEndpoint, secret: str) -> ResponseReturnValue:
    put_secret(side, secret, of=endpoint.id)
    return go(url_for("portal.project.webhook", endpoint_id=endpoint.id))


def _do(side: Side, endpoint_id: str, verb: Callable[..., Any], done: str) -> ResponseReturnValue:
    with runtime().database.write() as db:
        verb(db, endpoint_context(side), endpoint_id=endpoint_id)
    flash(done, "success")
    return go(url_for("portal.project.webhook", endpoint_id=endpoint_id))


def _found(side: Side, endpoint_id: str) -> WebhookEndpoint:
    with runtime().database.read() as db:
        return endpoint(db, side.scope, endpoint_id=endpoint_id)


def _listed(side: Side, form: EndpointForm) -> dict[str, Any]:
    with runtime().database.read() as db:
        found = endpoints(db, side.scope)
        waiting = {each.id: _waiting(db, side, each) for each in found}
    return {"endpoints": found, "waiting": waiting, "form": form}


def _waiting(db: Session, side: Side, of: WebhookEndpoint) -> dict[str, int]:
    counted = waiting_counts(db, side.scope, endpoint_id=of.id)
    return {status.value: counted.get(status, 0) for status in DeliveryStatus}


def _context(side: Side, found: WebhookEndpoint, **overrides: Any) -> dict[str, Any]:
    example = ExampleForm(formdata=None)
    example.offer(found.types)
    with runtime().database.read() as db:
        last = deliveries_page(db, side.scope, endpoint_id=found.id).rows[:_MOST_SHOWN]
        waiting = _waiting(db, side, found)
    return {
        "endpoint": found,
        "name": endpoint_name(found),
        "waiting": waiting,
        "deliveries": last,
        "secret": None,
        "now": runtime().clock(),
        "form": EndpointForm(
            formdata=None, data={"url": found.url, "description": found.description, "types": found.types}
        ),
        "rotation_form": RotationForm(formdata=None),
        "example_form": example,
        "typed_error": None,
        "typed_word": typed_word(side.mode, host_of(found)),
        "snippets": _snippets(),
        **overrides,
    }


@cache
def _snippets() -> list[tuple[str, str]]:
    """How to verify a delivery, by language: the very files that the guide shows and the tests run."""
    folder = resource_dir("docs") / "verify"
    return [(name, (folder / f"verify.{end}").read_text(encoding="utf-8")) for name, end in _SNIPPETS]
