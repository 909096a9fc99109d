"""The set-up wizard, and the first purchase as it happens."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from flask import abort, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.alignment.facts import FetchFacts
from licenzy.catalog.queries import has_trials
from licenzy.checkout.actions import open_session
from licenzy.checkout.preparation import CheckoutRequest, Seller
from licenzy.connections.event_polls import QUICK, poll_now, poll_soon
from licenzy.connections.queries import connection_facts, connection_of
from licenzy.idempotency.actions import CallKey
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.blueprint import portal, project
from licenzy.portal.formatting import ago
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import go, wants_fragment
from licenzy.portal.setup.forms import PurchaseForm
from licenzy.portal.setup.wizard import (
    awaits_first_event,
    fetch_state,
    fetching,
    keeps_looking,
    purchase_context,
    step_page,
)
from licenzy.portal.time_display import time_display
from licenzy.projects.scope import Scope
from licenzy.runtime import runtime
from licenzy.setup.facts import JourneyFacts
from licenzy.setup.journey import Timeline, timeline
from licenzy.setup.queries import journey_facts, setup_facts
from licenzy.setup.rules import StepName, current, steps
from licenzy.workspace.models import Role


@project.get("/setup")
@project_page(Role.VIEWER)
def setup(side: Side) -> ResponseReturnValue:
    """Where the set-up stands: leads to the step to go on with."""
    with runtime().database.read() as db:
        facts = setup_facts(db, side.scope, base_url=runtime().settings.base_url, now=runtime().clock())
    step = current(steps(facts, side_findings(side)))
    return go(url_for("portal.project.setup_step", step=step.name.value))


@project.get("/setup/<step>")
@project_page(Role.VIEWER)
def setup_step(side: Side, step: str) -> ResponseReturnValue:
    """One step of the wizard, with what proves it."""
    name = _step_named(step)
    if name is StepName.WEBHOOK and (fetch := fetching(side)) is not None:
        want_poll(side, fetch)
    if name is not StepName.PURCHASE:
        return step_page(side, name)
    journey, progress = followed(side, request.args.get("attempt"))
    return step_page(side, name, journey=journey, timeline=progress)


@project.get("/setup/webhook/proof")
@project_page(Role.VIEWER)
def webhook_proof(side: Side) -> ResponseReturnValue:
    """Whether events are fetched, or a signed one has arrived; asked again and again while somebody looks."""
    fetch = fetching(side)
    if fetch is None:
        waiting = awaits_first_event(side)
        is_news = not waiting
    else:
        waiting = keeps_looking()
        is_news = request.args.get("was") != fetch_state(fetch)
        want_poll(side, fetch)
    return step_page(
        side,
        StepName.WEBHOOK,
        "setup/_proof.html",
        status=200 if waiting else 286,
        swapped=wants_fragment() and is_news,
    )


@project.post("/setup/webhook/fetch")
@project_page(Role.ADMIN)
def fetch_now(side: Side) -> ResponseReturnValue:
    """Have the worker fetch events at once, also after tries that failed."""
    parts = runtime()
    with parts.database.write() as db:
        connection = connection_of(db, side.scope)
        if connection is not None:
            poll_now(db, connection_id=connection.id, now=parts.clock())
    return go(url_for("portal.project.setup_step", step=StepName.WEBHOOK.value))


def want_poll(side: Side, fetch: FetchFacts) -> None:
    """Have events fetched soon, because somebody looks at a page that shows them; written only if need be."""
    parts = runtime()
    now = parts.clock()
    if fetch.next_at is None or fetch.next_at <= now + QUICK:
        return
    with parts.database.write() as db:
        connection = connection_of(db, side.scope)
        if connection is not None:
            poll_soon(db, connection_id=connection.id, now=now)


@project.post("/setup/purchase")
@project_page(Role.ADMIN)
def start_purchase(side: Side) -> ResponseReturnValue:
    """Open a Checkout Session as the merchant's backend would, by the same verb."""
    form = PurchaseForm()
    context = purchase_context(side, {"purchase_form": form})
    if form.validate():
        with form.refusals():
            return go(_purchase_url(sell(side, form)))
    return step_page(side, StepName.PURCHASE, "setup/_purchase_form.html", status=422, **context)


@project.get("/setup/purchase/<id('att'):attempt_id>/timeline")
@project_page(Role.VIEWER)
def purchase_timeline(side: Side, attempt_id: str) -> ResponseReturnValue:
    """The purchase as far as it has come; asked again and again until there is nothing to wait for."""
    journey, progress = followed(side, attempt_id)
    assert progress is not None
    if progress.poll_again_ms and (fetch := fetching(side)) is not None:
        want_poll(side, fetch)
    return step_page(
        side,
        StepName.PURCHASE,
        "setup/_timeline.html",
        status=200 if progress.poll_again_ms else 286,
        journey=journey,
        timeline=progress,
        swapped=wants_fragment() and progress.over,
    )


@portal.app_template_filter("seen_at")
def _seen_at(at: datetime) -> str:
    """`16:05:01` for the last hours, else how long ago: a purchase is followed to the second."""
    now = runtime().clock()
    return f"{time_display().local(at):%H:%M:%S}" if now - at < timedelta(hours=12) else ago(at)


def _step_named(word: str) -> StepName:
    try:
        return StepName(word)
    except ValueError:
        abort(404)


def followed(side: Side, attempt_id: str | None) -> tuple[JourneyFacts | None, Timeline | None]:
    """The purchase with this id, else the one that proves the set-up, as a timeline."""
    now = runtime().clock()
    with runtime().database.read() as db:
        connection = connection_facts(
            db,
            side.scope,
            has_trials=has_trials(db, side.scope),
            base_url=runtime().settings.base_url,
        )
        if attempt_id is not None:
            journey: JourneyFacts | None = journey_facts(db, side.scope, attempt_id=attempt_id, now=now)
        else:
            journey = setup_facts(db, side.scope, base_url=runtime().settings.base_url, now=now).journey
    return journey, timeline(journey, connection, now) if journey else None


def sell(side: Side, form: PurchaseForm) -> str:
    """Open a Checkout Session as the merchant's backend would; the id of the attempt."""
    parts = runtime()
    seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
    checkout_request = CheckoutRequest(subject_ref=form.subject_ref.data, product_code=form.product_code.data)
    call_key = CallKey(Scope(side.project_id, side.mode), "portal/purchase", form.submission_id.data)
    body_hash = hashlib.sha256(repr(checkout_request).encode()).hexdigest()
    attempt_id: str = open_session(
        seller, request=checkout_request, call_key=call_key, body_hash=body_hash
    ).answer["attempt_id"]
    return attempt_id


def _purchase_url(attempt_id: str) -> str:
    return url_for("portal.project.setup_step", step=StepName.PURCHASE.value, attempt=attempt_id)
