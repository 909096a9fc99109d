"""The pages of the set-up wizard, with what each step shows.

A form of the set-up stands in two places: in its step of the wizard and on its own page. Its hidden
field `back` says in which, so that errors and what follows appear where the person is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Response, request, url_for

from licenzy.alignment.facts import ConnectionFacts, FetchFacts
from licenzy.alignment.findings import Severity
from licenzy.catalog import queries as catalog
from licenzy.portal.alignment.findings import side_facts, side_findings
from licenzy.portal.api_keys.context import api_keys_context
from licenzy.portal.connections.context import connection_context
from licenzy.portal.forms import PortalForm
from licenzy.portal.guards import Side
from licenzy.portal.products.context import product_form_context, products_context
from licenzy.portal.products.forms import ProductForm
from licenzy.portal.respond import show
from licenzy.portal.setup.forms import PurchaseForm, TryForm
from licenzy.portal.setup.go_live_context import go_live_context
from licenzy.runtime import runtime
from licenzy.setup.facts import SetupFacts
from licenzy.setup.journey import WATCHED
from licenzy.setup.queries import setup_facts
from licenzy.setup.rules import StepName, StepState, findings_of, steps
from licenzy.setup.webhook_wait import silence

WIZARD = "setup"
"""The value of `back` in the forms that stand in the wizard."""


def step_page(
    side: Side, name: StepName, fragment: str | None = None, *, status: int = 200, **overrides: Any
) -> Response:
    """A step of the wizard; `overrides` replaces what its context would make, such as a form with errors."""
    with runtime().database.read() as db:
        facts = setup_facts(db, side.scope, base_url=runtime().settings.base_url, now=runtime().clock())
    found = side_findings(side)
    listed = steps(facts, found)
    step = listed[name.number - 1]
    begun = step.state is not StepState.NEEDS_ACTION or step.at is not None
    shown = [each for each in findings_of(name, found) if begun and each.severity is not Severity.NOTES]
    context = _STEP_CONTEXTS[name](side, facts, overrides)
    return show(
        f"setup/{name.value.replace('-', '_')}.html",
        fragment,
        status=status,
        **{"steps": listed, "step": step, "facts": facts, "back": WIZARD, "step_findings": shown, **context},
    )


def is_in_wizard(form: PortalForm) -> bool:
    """Whether the form was sent from a step of the wizard."""
    return bool(form.back.data == WIZARD)


def next_url(form: PortalForm, page: str, step: StepName) -> str:
    """Where a form leads once it has worked: back to its step of the wizard, or to its page."""
    if is_in_wizard(form):
        return url_for("portal.project.setup_step", step=step.value)
    return url_for(page)


def finished_url(form: PortalForm, page: str) -> str:
    """Where a form leads that finishes its step: on to the next step of the wizard, or to its page."""
    return url_for("portal.project.setup" if is_in_wizard(form) else page)


def purchase_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """What can be bought, by whom, and the purchase being watched."""
    with runtime().database.read() as db:
        listed = catalog.products(db, side.scope)
    form = overrides.get("purchase_form") or PurchaseForm(formdata=None, subject_ref="user_demo_1")
    form.offer([product.product_code for product in listed if product.main_price is not None])
    return {
        "products": listed,
        "purchase_form": form,
        "try_form": TryForm(formdata=None, subject_ref=form.subject_ref.data),
        "sample_response": None,
        "token": None,
        "journey": None,
        "timeline": None,
        "base_url": runtime().settings.base_url,
        **overrides,
    }


def awaits_first_event(side: Side) -> bool:
    """Whether the first signed event is awaited, and nothing is known yet that keeps it away."""
    connection = side_facts(side).connection
    if connection is None or connection.secret_saved_at is None or connection.proven:
        return False
    return _webhook_wait(side, connection)["cause"] is None


def fetching(side: Side) -> FetchFacts | None:
    """How fetching this side's events goes, where they are fetched and none was delivered."""
    return _fetching(side_facts(side).connection)


def _fetching(connection: ConnectionFacts | None) -> FetchFacts | None:
    return connection.fetch if connection is not None and not connection.proven else None


def fetch_state(fetch: FetchFacts | None) -> str | None:
    """A word for what a page says of fetching, so that it notices when it has to say something else."""
    if fetch is None:
        return None
    return "failed" if fetch.problem else "fetched" if fetch.fetched_at else "waiting"


def keeps_looking() -> bool:
    """Whether a page that follows something since the instant in its address looks again by itself."""
    now = runtime().clock()
    return now - _waiting_since(now) < WATCHED


def _waiting_since(now: datetime) -> datetime:
    since = request.args.get("since", type=int)
    latest = int(now.timestamp())
    return datetime.fromtimestamp(latest if since is None else max(0, min(since, latest)), UTC)


def _webhook_wait(side: Side, connection: ConnectionFacts | None) -> dict[str, Any]:
    """Since when this page waits, by its address, and what keeps the first event away.

    `connection` is what the step itself is judged by: read anew, it may have been polled meanwhile.
    """
    now = runtime().clock()
    since, fetch = _waiting_since(now), _fetching(connection)
    cause = silence(side_facts(side).connection, side_findings(side), waiting_since=since, now=now)
    return {
        "cause": cause,
        "listening_since": int(since.timestamp()),
        "fetch": fetch,
        "fetch_state": fetch_state(fetch),
        "keeps_looking": keeps_looking(),
    }


def _connect(side: Side, _facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    return connection_context(side, overrides)


def _webhook(side: Side, facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    return connection_context(side, {**_webhook_wait(side, facts.connection), **overrides})


def _products(side: Side, facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    connected = facts.connection is not None and facts.connection.connected
    if "form" not in overrides and connected and not facts.products and side.may("admin"):
        form = ProductForm(formdata=None)
        overrides = {**product_form_context(side, form), **overrides}
    return {"form": None, "prices_problem": None, **products_context(side, overrides)}


def _api_key(side: Side, _facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    return api_keys_context(side, overrides)


def _purchase(side: Side, _facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    return purchase_context(side, overrides)


def _go_live(side: Side, _facts: SetupFacts, overrides: dict[str, Any]) -> dict[str, Any]:
    return go_live_context(side, overrides)


_STEP_CONTEXTS = {
    StepName.CONNECT: _connect,
    StepName.WEBHOOK: _webhook,
    StepName.PRODUCTS: _products,
    StepName.API_KEY: _api_key,
    StepName.PURCHASE: _purchase,
    StepName.GO_LIVE: _go_live,
}
