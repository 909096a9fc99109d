"""What the go-live step shows: the checklist, the live purchase, and what of test can be copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licenzy.alignment.facts import ProjectFacts
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.catalog import queries as catalog
from licenzy.catalog.copying import price_with_same_lookup_key, prices_that_fit
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.portal.alignment.findings import both_sides
from licenzy.portal.guards import Side
from licenzy.portal.products.context import offered_prices
from licenzy.portal.setup.forms import copy_form
from licenzy.projects.scope import Scope
from licenzy.runtime import runtime
from licenzy.setup.facts import JourneyFacts
from licenzy.setup.going_live import Checklist, catalog_pairs, checklist
from licenzy.setup.journey import timeline
from licenzy.setup.queries import setup_facts
from licenzy.setup.rules import steps
from licenzy.stripe_gateway.client import PriceFacts
from licenzy.workspace.models import Role


@dataclass(frozen=True, slots=True)
class CopyOffer:
    """A price of a product that live does not have, the live prices that fit, and the one with its key."""

    product: Product
    sold: ProductPrice
    prices: Sequence[PriceFacts]
    matched_price: PriceFacts | None


def go_live_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """The checklist of the project, whichever mode the page is in; copying is for the live side."""
    project = both_sides(side)
    listed, journey = _judged(side, project)
    connection = project.live.connection
    return {
        "checklist": listed,
        "pairs": catalog_pairs(project),
        "probed_at": project.live.probed_at,
        "live_connected": connection is not None and connection.connected,
        "journey": journey,
        "timeline": timeline(journey, connection, project.now) if journey else None,
        **_copying(side, project, overrides.get("copy_form")),
        **overrides,
    }


def to_copy(side: Side) -> list[Product]:
    """The products of test whose codes live does not have, archived ones included."""
    with runtime().database.read() as db:
        tried = catalog.products(db, Scope(side.project_id, Mode.TEST))
        taken = {
            product.product_code
            for listed in (catalog.products, catalog.archived_products)
            for product in listed(db, Scope(side.project_id, Mode.LIVE))
        }
    return [product for product in tried if product.product_code not in taken]


def _judged(side: Side, project: ProjectFacts) -> tuple[Checklist, JourneyFacts | None]:
    with runtime().database.read() as db:
        facts = {
            mode: setup_facts(
                db, Scope(side.project_id, mode), base_url=runtime().settings.base_url, now=project.now
            )
            for mode in Mode
        }
    found = {mode: findings(project, mode) for mode in Mode}
    listed = checklist(
        project,
        test_steps=steps(facts[Mode.TEST], found[Mode.TEST]),
        live_steps=steps(facts[Mode.LIVE], found[Mode.LIVE]),
        found=found[Mode.LIVE],
        https=runtime().settings.base_url.startswith("https://"),
    )
    return listed, facts[Mode.LIVE].journey


def _copying(side: Side, project: ProjectFacts, form: Any) -> dict[str, Any]:
    """The offers, and the form with the prices that are matched by lookup key."""
    connection, products = project.live.connection, to_copy(side)
    free = [each for each in products if each.kind is Kind.FREE]
    nothing: dict[str, Any] = {"offers": [], "free": free, "copy_form": None, "prices_problem": None}
    if not (side.mode.livemode and side.may(Role.ADMIN) and products and connection and connection.connected):
        return nothing
    prices, problem = offered_prices(side)
    if problem is not None:
        return {**nothing, "prices_problem": problem}
    offers = [
        CopyOffer(
            each,
            price,
            prices_that_fit(each.kind, prices),
            price_with_same_lookup_key(each.kind, price, prices),
        )
        for each in products
        for price in each.selling_prices
    ]
    proposed = {offer.sold.id: offer.matched_price.id for offer in offers if offer.matched_price}
    return {**nothing, "offers": offers, "copy_form": form or copy_form(products, proposed)}
