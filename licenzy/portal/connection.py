"""The Stripe connection of one side: the key, the webhook secret, the endpoint at Stripe."""

from __future__ import annotations

from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.connections import actions, rules
from licenzy.errors import LicenzyError, NotFound
from licenzy.portal.blueprint import portal
from licenzy.portal.forms.connection import (
    EndpointForm,
    SandboxForm,
    StripeKeyForm,
    WebhookSecretForm,
)
from licenzy.portal.forms.portal_form import PortalForm
from licenzy.portal.forms.typed import TypedForm
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.panels import connection_panel, stands_in_wizard, step_page, way_on
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role

_SIDE = "/projects/<project_id>/<mode:mode>"


@portal.get(f"{_SIDE}/connection")
@project_page(Role.VIEWER)
def connection(side: Side) -> ResponseReturnValue:
    """What is connected, and every way to change it."""
    return _page(side)


@portal.post(f"{_SIDE}/connection/key")
@project_page(Role.ADMIN)
@fresh
def save_key(side: Side) -> ResponseReturnValue:
    """Try a key at Stripe and save it."""
    form = StripeKeyForm()
    parts = runtime()
    if form.validate():
        try:
            saved = actions.save_stripe_key(
                parts.database,
                parts.gateway,
                parts.secret_box,
                side.scope,
                pasted=form.stripe_key.data or "",
                confirmed=form.confirmed.data,
                actor=side.actor,
                now=parts.clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
        else:
            flash(f"Stripe accepted the key: {saved.account_name or saved.account_id or 'saved'}.", "success")
            return go(way_on(form, "portal.connection", StepName.CONNECT))
    return _errors(side, form, StepName.CONNECT, "connections/_key_form.html", "key_form")


@portal.post(f"{_SIDE}/connection/key/verdict")
@project_page(Role.ADMIN)
def key_verdict(side: Side) -> ResponseReturnValue:
    """What the key in the field is, while it is being typed. Nothing is stored, and Stripe is not asked."""
    typed = StripeKeyForm().stripe_key.data or ""
    return _page(side, "connections/_key_verdict.html", key_verdict=rules.key_verdict(typed[:400], side.mode))


@portal.post(f"{_SIDE}/connection/sandbox")
@project_page(Role.ADMIN)
@fresh
def connect_sandbox(side: Side) -> ResponseReturnValue:
    """Connect the test side to the built-in sandbox."""
    if side.mode.livemode:
        raise NotFound
    form = SandboxForm()
    parts = runtime()
    if form.validate():
        try:
            actions.connect_sandbox(
                parts.database,
                parts.gateway,
                parts.secret_box,
                parts.settings,
                project_id=side.project_id,
                project_name=side.project.name,
                confirmed=form.confirmed.data,
                actor=side.actor,
                now=parts.clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
        else:
            flash("Connected to the built-in sandbox. It comes with sample prices.", "success")
            return go(way_on(form, "portal.connection", StepName.CONNECT))
    return _errors(side, form, StepName.CONNECT, "connections/_sandbox_form.html", "sandbox_form")


@portal.post(f"{_SIDE}/connection/webhook-secret")
@project_page(Role.ADMIN)
@fresh
def save_webhook_secret(side: Side) -> ResponseReturnValue:
    """Save a signing secret that was set up by hand."""
    form = WebhookSecretForm()
    parts = runtime()
    if form.validate():
        try:
            actions.paste_webhook_secret(
                parts.database,
                parts.secret_box,
                side.scope,
                pasted=form.webhook_secret.data or "",
                actor=side.actor,
                now=parts.clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
        else:
            flash("The signing secret is saved. The next signed event proves it.", "success")
            return go(way_on(form, "portal.connection", StepName.WEBHOOK))
    return _errors(side, form, StepName.WEBHOOK, "connections/_secret_form.html", "secret_form")


@portal.post(f"{_SIDE}/connection/endpoint")
@project_page(Role.ADMIN)
@fresh
def register_endpoint(side: Side) -> ResponseReturnValue:
    """Set the webhook endpoint up at Stripe, or with `rotate` give it a new secret."""
    form = EndpointForm()
    parts = runtime()
    try:
        actions.register_endpoint(
            parts.database,
            parts.gateway,
            parts.secret_box,
            side.scope,
            base_url=parts.settings.base_url,
            rotate=bool(form.rotate.data),
            actor=side.actor,
            now=parts.clock(),
        )
    except LicenzyError as error:
        form.refuse(error)
        return _errors(side, form, StepName.WEBHOOK, "connections/_endpoint_form.html", "endpoint_form")
    flash("The webhook endpoint is set up at Stripe.", "success")
    return go(way_on(form, "portal.connection", StepName.WEBHOOK))


@portal.post(f"{_SIDE}/connection/webhook-secret/overlap-end")
@project_page(Role.ADMIN)
@fresh
def end_secret_overlap(side: Side) -> ResponseReturnValue:
    """Let the replaced signing secret verify no more; in live the project's name must be typed."""
    problem = TypedForm().problem(side.mode, side.project.name, "the project’s name")
    if problem is not None:
        return _page(side, status=422, overlap_error=problem)
    with runtime().database.write() as db:
        actions.end_secret_overlap(db, side.scope, actor=side.actor, now=runtime().clock())
    flash("Only the present signing secret verifies from now on.", "success")
    return go(url_for("portal.connection"))


@portal.post(f"{_SIDE}/connection/removal")
@project_page(Role.ADMIN)
@fresh
def disconnect(side: Side) -> ResponseReturnValue:
    """Forget the key and the secrets; in live the project's name must be typed."""
    problem = TypedForm().problem(side.mode, side.project.name, "the project’s name")
    if problem is not None:
        return _page(side, status=422, removal_error=problem)
    with runtime().database.write() as db:
        actions.disconnect(db, side.scope, actor=side.actor, now=runtime().clock())
    flash("The Stripe connection of this mode is removed.", "success")
    return go(url_for("portal.connection"))


def _page(side: Side, fragment: str | None = None, *, status: int = 200, **given: Any) -> ResponseReturnValue:
    panel = connection_panel(side, {"back": "", "removal_error": None, **given})
    return show("connections/page.html", fragment, status=status, **panel)


def _errors(side: Side, form: PortalForm, step: StepName, fragment: str, name: str) -> ResponseReturnValue:
    """The form with what is wrong, on the page or in the step where it stands."""
    if stands_in_wizard(form):
        return step_page(side, step, fragment, status=422, **{name: form})
    return _page(side, fragment, status=422, **{name: form})
