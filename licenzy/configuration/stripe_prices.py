"""The prices that a file names: found in Stripe, or created there where the file and the mode allow it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from licenzy.alignment.modes import Mode
from licenzy.catalog.included import Renewing, step_problems
from licenzy.catalog.new_prices import NewPrice, price_idempotency_key, price_text
from licenzy.catalog.prices import read_price, refuse, refuse_unfit
from licenzy.catalog.rules import price_taken
from licenzy.configuration.differences import Differences, PriceAct, PriceChange, ProductChange
from licenzy.configuration.entries import (
    Configuration,
    Installed,
    PriceEntry,
    ProductEntry,
)
from licenzy.configuration.toml_text import value_as_toml
from licenzy.connections.models import Provider
from licenzy.connections.queries import connection_of
from licenzy.connections.rate_limit import paced_access
from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, StripeNotConnected
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeAccess, StripeGateway


@dataclass(frozen=True, slots=True)
class FoundPrices:
    """What the prices of a file are in Stripe."""

    ids: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """Product code and label -> the price's ID; None for one that is to be created."""
    facts: dict[str, PriceFacts] = field(default_factory=dict)
    """By ID, those that were read: all but the ones that are sold at already and named by their IDs."""


@dataclass(frozen=True, slots=True)
class CreatedPrice:
    """A price that was created in Stripe."""

    product_code: str
    label: str
    lookup_key: str
    stripe_price_id: str


class StripeSide:
    """What is needed to read and create prices of one project and mode."""

    def __init__(
        self, database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope
    ) -> None:
        self.parts, self.scope = (database, gateway, secret_box), scope
        with database.read() as db:
            self.connection = connection_of(db, scope)

    @property
    def gateway(self) -> StripeGateway:
        return self.parts[1]

    @property
    def is_sandbox(self) -> bool:
        return self.connection is not None and self.connection.provider is Provider.SANDBOX

    def access(self) -> StripeAccess:
        """Access in the account's pace: a file may name many prices. Raises StripeNotConnected."""
        if self.connection is None:
            raise StripeNotConnected
        return paced_access(*self.parts, self.connection)


def find_prices(
    side: StripeSide, configuration: Configuration, installed: Installed, *, create_prices: bool
) -> FoundPrices:
    """Read the prices of a file from Stripe.

    Raises ConfigurationRefused for one that is not there and is not to be created, StripeNotConnected, and
    Stripe's errors.
    """
    found = FoundPrices()
    entries = [(product, price) for product in configuration.products for price in product.prices]
    by_key = _by_lookup_key(side, [price.lookup_key for _, price in entries if price.lookup_key is not None])
    sold_as = {
        (product.draft.product_code, price.label): price.stripe_price_id
        for product in installed.products
        for price in product.selling
    }
    for product, price in entries:
        where, place = (product.code, price.label), product.place_of(price)
        if price.stripe_price is not None and price.stripe_price == sold_as.get(where):
            found.ids[where] = price.stripe_price
            continue
        if price.lookup_key is not None:
            facts = by_key.get(price.lookup_key)
        else:
            facts = _price_by_id(side, configuration, place, price)
        if facts is None:
            _check_may_be_created(side, configuration, place, price, create_prices)
            found.ids[where] = None
        else:
            _refuse_other_terms(configuration, place, price, facts)
            found.ids[where], found.facts[facts.id] = facts.id, facts
    return found


def check_new_mappings(
    configuration: Configuration,
    scope: Scope,
    planned: Differences,
    installed: Installed,
    facts: dict[str, PriceFacts],
) -> None:
    """Refuse what the verbs of the catalog would refuse. Raises ConfigurationRefused."""
    owners = installed.owners()
    own = {(each.draft.product_code, price_id) for each in installed.products for price_id in each.retired}
    for product, change in _added(planned):
        if change.entry is None or change.stripe_price_id is None:
            continue
        place = product.place_of(change.entry)
        with configuration.naming(place):
            refuse_unfit(product.draft.kind, facts[change.stripe_price_id], scope.mode)
        owner = owners.setdefault(change.stripe_price_id, product.code)
        # A price that two products share since earlier versions is sold at again by either of them.
        if owner != product.code and (product.code, change.stripe_price_id) not in own:
            raise configuration.refusal(place, price_taken(owner))
    for changed in planned.products:
        if changed.entry is not None and changed.entry.draft.included:
            with configuration.naming(changed.entry.place):
                refuse(step_problems(changed.entry.draft.included, _sold_at(changed, installed, facts)))


def _sold_at(
    planned: ProductChange, installed: Installed, facts: dict[str, PriceFacts]
) -> Iterable[Renewing]:
    """The prices that a product is sold at once what was planned is done."""
    ended = {each.retires for each in planned.prices}
    ended |= {each.stripe_price_id for each in planned.prices if each.act is PriceAct.RETIRE}
    for product in installed.products:
        if product.id == planned.product_id:
            yield from (price for price in product.selling if price.stripe_price_id not in ended)
    for change in planned.prices:
        if change.act is PriceAct.ADD and change.stripe_price_id is not None:
            yield facts[change.stripe_price_id]
        elif change.act is PriceAct.CREATE and change.entry is not None and change.entry.create is not None:
            yield change.entry.create


def create_price(
    side: StripeSide,
    product: ProductEntry,
    price: PriceEntry,
    *,
    stripe_product_id: str | None,
) -> PriceFacts:
    """Create the price that an entry describes, and read it again by its lookup key.

    The idempotency key is made of what is created, so a repeat after a crash creates no second one.
    Without `stripe_product_id` a product of Stripe's is created too, named after the code. Raises Stripe's
    errors, and InvalidRequest when the answer is that of an earlier call and the key is free again.
    """
    new, lookup_key = price.create, price.lookup_key
    assert new is not None
    assert lookup_key is not None
    params = new.params(stripe_product_id=stripe_product_id, name=product.code) | {"lookup_key": lookup_key}
    key = price_idempotency_key(side.scope, params)
    access = side.access()
    made = side.gateway.create_price(access, params, idempotency_key=key)
    there = [each for each in side.gateway.prices_by_lookup_key(access, [lookup_key]) if each.id == made.id]
    if not there:
        raise InvalidRequest(
            f"Stripe created {made.id} for this entry within the last day, and it no longer has the lookup "
            f"key {_shown_key(price)}. Give it back in Stripe, or use another lookup key."
        )
    return there[0]


def _by_lookup_key(side: StripeSide, keys: Iterable[str]) -> dict[str, PriceFacts]:
    wanted = sorted(set(keys))
    read = side.gateway.prices_by_lookup_key(side.access(), wanted) if wanted else []
    return {price.lookup_key: price for price in read if price.lookup_key is not None}


def _price_by_id(side: StripeSide, configuration: Configuration, place: str, price: PriceEntry) -> PriceFacts:
    with configuration.naming(place):
        return read_price(*side.parts, side.scope, price_id=price.stripe_price or "", paced=side.access())


def _shown_key(price: PriceEntry) -> str:
    """The lookup key as a terminal may show it: what is invisible is escaped."""
    return value_as_toml(price.lookup_key or "")[1:-1]


def _check_may_be_created(
    side: StripeSide, configuration: Configuration, place: str, price: PriceEntry, create_prices: bool
) -> None:
    missing = f"Stripe has no price with the lookup key {_shown_key(price)} in {side.scope.mode.value} mode."
    if price.create is None:
        fix = "Create it in Stripe, or describe it with create."
    elif side.scope.mode is Mode.LIVE:
        fix = "Prices are never created in live mode. Create it in Stripe, then apply the file again."
    elif not side.is_sandbox and not create_prices:
        fix = "Add --create-prices to create it, or create it in Stripe."
    else:
        return
    raise configuration.refusal(place, f"{missing} {fix}")


def _refuse_other_terms(
    configuration: Configuration, place: str, price: PriceEntry, facts: PriceFacts
) -> None:
    """A file must not say another amount than the one that is charged."""
    if price.create is None:
        return
    there = NewPrice(facts.unit_amount or 0, facts.currency, facts.interval, facts.interval_count or 1)
    if facts.unit_amount is None or there != price.create:
        amount = (
            f"{price_text(there)} in Stripe" if facts.unit_amount is not None else "no fixed amount in Stripe"
        )
        raise configuration.refusal(
            place,
            f"The price with the lookup key {_shown_key(price)} has {amount}, and create says "
            f"{price_text(price.create)}. Correct create, or move the lookup key to another price.",
        )


def _added(planned: Differences) -> Iterable[tuple[ProductEntry, PriceChange]]:
    for product in planned.products:
        for change in product.prices:
            if change.act is PriceAct.ADD and product.entry is not None:
                yield product.entry, change
