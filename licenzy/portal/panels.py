"""What the wizard and the pages of their own show alike: the parts of a project's set-up as context.

A form of the set-up stands in two places: in its step of the wizard and on its own page. Its hidden
field `back` says in which, so that errors and what follows appear where the person is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Response, request, url_for

from licenzy.alignment.findings import Part, Severity
from licenzy.api_keys import queries as api_keys
from licenzy.catalog import queries as catalog
from licenzy.catalog import rules as catalog_rules
from licenzy.catalog.actions import prices_at_stripe
from licenzy.catalog.models import Product
from licenzy.connections import rules as connection_rules
from licenzy.connections.models import Provider
from licenzy.connections.queries import connection_of
from licenzy.errors import LicenzyError
from licenzy.portal.alignment import side_facts, side_findings
from licenzy.portal.forms.api_key import ApiKeyForm
from licenzy.portal.forms.connection import EndpointForm, SandboxForm, StripeKeyForm, WebhookSecretForm
from licenzy.portal.forms.portal_form import PortalForm
from licenzy.portal.forms.product import ProductForm
from licenzy.portal.forms.purchase import PurchaseForm
from licenzy.portal.forms.trying import TryForm
from licenzy.portal.guards import Side
from licenzy.portal.live_panel import go_live_panel
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.setup.facts import SetupFacts
from licenzy.setup.queries import setup_facts
from licenzy.setup.rules import StepName, StepState, findings_of, steps
from licenzy.setup.webhook_wait import silence

WIZARD = "setup"
"""The value of `back` in the forms that stand in the wizard."""


def step_page(
    side: Side, name: StepName, fragment: str | None = None, *, status: int = 200, **given: Any
) -> Response:
    """A step of the wizard; `given` replaces what its panel would make, such as a form with errors."""
    with runtime().database.read() as db:
        facts = setup_facts(db, side.scope, now=runtime().clock())
    found = side_findings(side)
    listed = steps(facts, found)
    step = listed[name.number - 1]
    begun = step.state is not StepState.NEEDS_ACTION or step.at is not None
    shown = [each for each in findings_of(name, found) if begun and each.severity is not Severity.NOTES]
    panel = _PANELS[name](side, facts, given)
    return show(
        f"setup/{name.value.replace('-', '_')}.html",
        fragment,
        status=status,
        **{"steps": listed, "step": step, "facts": facts, "back": WIZARD, "step_findings": shown, **panel},
    )


def stands_in_wizard(form: PortalForm) -> bool:
    """Whether the form was sent from a step of the wizard."""
    return bool(form.back.data == WIZARD)


def way_on(form: PortalForm, page: str, step: StepName) -> str:
    """Where a form leads once it has worked: back to its step of the wizard, or to its page."""
    if stands_in_wizard(form):
        return url_for("portal.setup_step", step=step.value)
    return url_for(page)


def connection_panel(side: Side, given: dict[str, Any]) -> dict[str, Any]:
    """The connection without its secrets, its forms, and how events can reach it."""
    settings = runtime().settings
    with runtime().database.read() as db:
        connection = connection_of(db, side.scope)
    address = problem = forwarding = None
    if connection is not None:
        address = connection_rules.endpoint_address(settings.base_url, connection.id)
        problem = connection_rules.registration_problem(connection.provider, side.mode, settings.base_url)
        forwarding = connection_rules.forwarding_command(address) if problem else None
    return {
        "connection": connection,
        "is_sandbox": connection is not None and connection.provider is Provider.SANDBOX,
        "sandbox_offered": settings.sandbox and not side.mode.livemode,
        "webhook_address": address,
        "registration_problem": problem,
        "forwarding_command": forwarding,
        "overlap_until": connection_rules.overlap_until(connection, runtime().clock()),
        "overlap_error": None,
        "findings": side_findings(side, Part.CONNECTION, Part.ACCOUNT, Part.SECRET, Part.ENDPOINT),
        "required_events": connection_rules.REQUIRED_EVENTS,
        "key_form": StripeKeyForm(formdata=None),
        "key_verdict": None,
        "sandbox_form": SandboxForm(formdata=None),
        "secret_form": WebhookSecretForm(formdata=None),
        "endpoint_form": EndpointForm(formdata=None),
        **given,
    }


def products_panel(side: Side, given: dict[str, Any]) -> dict[str, Any]:
    """The products of this side, and which of them share a price."""
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
        archived = catalog.archived_products(db, side.scope)
    return {
        "products": listed,
        "archived": archived,
        "shared_prices": catalog_rules.shared_prices(listed),
        "findings": side_findings(side, Part.PRODUCTS, Part.PRICES),
        **given,
    }


def product_form_panel(side: Side, form: ProductForm, *, kept: Product | None = None) -> dict[str, Any]:
    """The form of a product with the prices that Stripe lists now, or why there are none."""
    prices, problem = [], None
    parts = runtime()
    try:
        prices = prices_at_stripe(parts.database, parts.gateway, parts.secret_box, side.scope)
    except LicenzyError as error:
        problem = error
    form.offer(prices, kept=kept)
    picked = next((price for price in prices if price.id == form.price_id.data), None)
    if form.kind.data is None and picked is not None:
        form.kind.data = catalog_rules.proposed_kind(recurring=picked.recurring).value
    return {"form": form, "prices": prices, "picked": picked, "prices_problem": problem, "product": kept}


def keys_panel(side: Side, given: dict[str, Any]) -> dict[str, Any]:
    """The API keys of this side, and what a first call needs."""
    with runtime().database.read() as db:
        keys = api_keys.keys(db, side.scope)
    return {
        "keys": keys,
        "now": runtime().clock(),
        "key_form": ApiKeyForm(formdata=None),
        "try_form": TryForm(formdata=None),
        "ran": None,
        "created": None,
        "token": None,
        "base_url": runtime().settings.base_url,
        "findings": side_findings(side, Part.API_KEY),
        **given,
    }


def purchase_panel(side: Side, given: dict[str, Any]) -> dict[str, Any]:
    """What can be bought, by whom, and the purchase being watched."""
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
    form = given.get("purchase_form") or PurchaseForm(formdata=None, subject_ref="user_demo_1")
    form.offer([product.product_code for product in listed])
    return {
        "products": listed,
        "purchase_form": form,
        "try_form": TryForm(formdata=None, subject_ref=form.subject_ref.data),
        "ran": None,
        "token": None,
        "journey": None,
        "timeline": None,
        "base_url": runtime().settings.base_url,
        **given,
    }


def still_listening(side: Side) -> bool:
    """Whether the first signed event is awaited, and nothing is known yet that keeps it away."""
    here = side_facts(side)
    waiting = here.connection is not None and here.connection.secret_saved_at is not None
    return waiting and not (here.connection and here.connection.proven) and _silence(side)["cause"] is None


def _silence(side: Side) -> dict[str, Any]:
    """Since when this page listens, which its address tells, and what keeps the first event away."""
    now = runtime().clock()
    asked = request.args.get("since", type=int)
    began = int(now.timestamp()) if asked is None else max(0, min(asked, int(now.timestamp())))
    since = datetime.fromtimestamp(began, UTC)
    cause = silence(side_facts(side).connection, side_findings(side), waiting_since=since, now=now)
    return {"cause": cause, "listening_since": began}


def _connect(side: Side, _facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    return connection_panel(side, given)


def _webhook(side: Side, _facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    return connection_panel(side, {**_silence(side), **given})


def _products(side: Side, facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    connected = facts.connection is not None and facts.connection.connected
    if "form" not in given and connected and not facts.products and side.may("admin"):
        form = ProductForm(formdata=None)
        given = {**product_form_panel(side, form), **given}
    return {"form": None, "prices_problem": None, **products_panel(side, given)}


def _api_key(side: Side, _facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    return keys_panel(side, given)


def _purchase(side: Side, _facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    return purchase_panel(side, given)


def _go_live(side: Side, _facts: SetupFacts, given: dict[str, Any]) -> dict[str, Any]:
    return go_live_panel(side, given)


_PANELS = {
    StepName.CONNECT: _connect,
    StepName.WEBHOOK: _webhook,
    StepName.PRODUCTS: _products,
    StepName.API_KEY: _api_key,
    StepName.PURCHASE: _purchase,
    StepName.GO_LIVE: _go_live,
}
