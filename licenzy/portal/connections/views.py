"""The Stripe connection of one side: the key, the webhook secret, the endpoint in Stripe."""

from __future__ import annotations

from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.catalog.queries import has_trials
from licenzy.connections import actions, rules
from licenzy.connections.sandbox_customers import add_existing_customers
from licenzy.errors import NotFound
from licenzy.portal.blueprint import project
from licenzy.portal.connections.context import connection_context
from licenzy.portal.connections.forms import (
    EXISTING_CUSTOMERS,
    SandboxForm,
    StripeEndpointForm,
    StripeKeyForm,
    WebhookSecretForm,
)
from licenzy.portal.forms import PortalForm, TypedForm
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.respond import flashed_refusals, go, show
from licenzy.portal.setup.wizard import finished_url, is_in_wizard, next_url, step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role


@project.get("/connection")
@project_page(Role.VIEWER)
def connection(side: Side) -> ResponseReturnValue:
    """What is connected, and every way to change it."""
    return _page(side)


@project.post("/connection/key")
@project_page(Role.ADMIN)
@fresh
def save_key(side: Side) -> ResponseReturnValue:
    """Try a key in Stripe and save it."""
    form = StripeKeyForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
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
            flash(f"Stripe accepted the key: {saved.account_name or saved.account_id or 'saved'}.", "success")
            return go(next_url(form, "portal.project.connection", StepName.CONNECT))
    return _errors(side, form, StepName.CONNECT, "connections/_key_form.html", "key_form")


@project.post("/connection/key/verdict")
@project_page(Role.ADMIN)
def key_verdict(side: Side) -> ResponseReturnValue:
    """What the key in the field is, while it is being typed. Nothing is stored, and Stripe is not asked."""
    typed = StripeKeyForm().stripe_key.data or ""
    return _page(side, "connections/_key_verdict.html", key_verdict=rules.key_verdict(typed[:400], side.mode))


@project.post("/connection/sandbox")
@project_page(Role.ADMIN)
@fresh
def connect_sandbox(side: Side) -> ResponseReturnValue:
    """Connect test mode to the built-in sandbox, with its webhook."""
    if side.mode.livemode:
        raise NotFound
    form = SandboxForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
            connected = actions.connect_sandbox(
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
            flash("Connected to the built-in sandbox. It comes with sample prices.", "success")
            if form.existing_customers.data:
                with flashed_refusals(and_then="Connect again to complete the existing subscriptions."):
                    add_existing_customers(
                        parts.secret_box, parts.settings, connected, count=EXISTING_CUSTOMERS
                    )
                    flash(f"Its account has {EXISTING_CUSTOMERS} existing subscriptions.", "success")
            with flashed_refusals(and_then="The sandbox is connected; set up its webhook next."):
                # The sandbox always reaches this server: there is nothing to decide about its webhook.
                actions.register_endpoint(
                    parts.database,
                    parts.gateway,
                    parts.secret_box,
                    side.scope,
                    base_url=parts.settings.base_url,
                    rotate=False,
                    has_trials=has_trials,
                    actor=side.actor,
                    now=parts.clock(),
                )
            return go(finished_url(form, "portal.project.connection"))
    return _errors(side, form, StepName.CONNECT, "connections/_sandbox_form.html", "sandbox_form")


@project.post("/connection/webhook-secret")
@project_page(Role.ADMIN)
@fresh
def save_webhook_secret(side: Side) -> ResponseReturnValue:
    """Save a signing secret that was set up by hand."""
    form = WebhookSecretForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
            actions.paste_webhook_secret(
                parts.database,
                parts.secret_box,
                side.scope,
                pasted=form.webhook_secret.data or "",
                actor=side.actor,
                now=parts.clock(),
            )
            flash("The signing secret is saved. The next signed event verifies it.", "success")
            return go(next_url(form, "portal.project.connection", StepName.WEBHOOK))
    return _errors(side, form, StepName.WEBHOOK, "connections/_secret_form.html", "secret_form")


@project.post("/connection/endpoint")
@project_page(Role.ADMIN)
@fresh
def register_endpoint(side: Side) -> ResponseReturnValue:
    """Set the webhook endpoint up in Stripe, or with `rotate` give it a new secret."""
    form = StripeEndpointForm()
    parts = runtime()
    with form.refusals():
        actions.register_endpoint(
            parts.database,
            parts.gateway,
            parts.secret_box,
            side.scope,
            base_url=parts.settings.base_url,
            rotate=bool(form.rotate.data),
            has_trials=has_trials,
            actor=side.actor,
            now=parts.clock(),
        )
        flash("The webhook endpoint is set up in Stripe.", "success")
        return go(next_url(form, "portal.project.connection", StepName.WEBHOOK))
    return _errors(side, form, StepName.WEBHOOK, "connections/_endpoint_form.html", "endpoint_form")


@project.post("/connection/webhook-secret/overlap-end")
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
    return go(url_for("portal.project.connection"))


@project.post("/connection/removal")
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
    return go(url_for("portal.project.connection"))


def _page(
    side: Side, fragment: str | None = None, *, status: int = 200, **overrides: Any
) -> ResponseReturnValue:
    context = connection_context(side, {"back": "", "removal_error": None, **overrides})
    return show("connections/page.html", fragment, status=status, **context)


def _errors(side: Side, form: PortalForm, step: StepName, fragment: str, name: str) -> ResponseReturnValue:
    """The form with what is wrong, on the page or in the step where it stands."""
    if is_in_wizard(form):
        return step_page(side, step, fragment, status=422, **{name: form})
    return _page(side, fragment, status=422, **{name: form})
