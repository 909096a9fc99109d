"""Histories delivered in disorder, projected, and weighed against the same history in its true order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from licenzy.entitlements import projection
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.one_time import Pass, chain_passes
from licenzy.entitlements.projected import Projected
from licenzy.kit.clock import from_unix
from licenzy.stripe_gateway import invoices, shapes
from tests.properties.histories.catalog import SAME_PRODUCT, Catalog, Sold
from tests.properties.histories.life import Life, Names, Right
from tests.properties.histories.one_time import one_time_life
from tests.properties.histories.subscription_life import subscription_life

PRICES = ("price_pro", "price_max")
YEARLY = ("price_pro_yearly",)
GRACE_DAYS = 3


@dataclass(slots=True)
class Fact:
    """A fact as it would be stored."""

    kind: str
    source: FactSource
    source_id: str
    object_id: str
    occurred_at: Any
    data: dict[str, Any]

    @property
    def recorded_at(self) -> Any:
        return self.occurred_at


@dataclass
class History:
    """Everything that one buyer did: one subscription, one pack, or up to three passes of one product."""

    sold: dict[str, Any]
    lives: list[Life]

    @property
    def has_tie(self) -> bool:
        return any(life.has_tie for life in self.lives)


def make_history(seed: str) -> History:
    """The same for the same seed, on every machine."""
    chance = random.Random(seed)
    spread = chance.random() < 0.35
    kind = chance.choices(("subscription", "usage_pack", "time_pass"), (88, 6, 6))[0]
    count = chance.randrange(1, 4) if kind == "time_pass" else 1
    sold = as_sold(kind, PRICES[0])
    lives = []
    for n in range(count):
        quantity = chance.randrange(1, 4) if kind != "subscription" else 1
        names = Names(f"{n}", f"att_{n}", f"cs_{n}", PRICES, quantity, YEARLY)
        catalog = catalog_of(names, fixed=chance.random() < 0.3)
        lives.append(live(chance, names, sold, spread=spread, catalog=catalog))
    return History(sold, lives)


def live(
    chance: random.Random,
    names: Names,
    sold: dict[str, Any],
    *,
    spread: bool,
    catalog: Catalog | None = None,
) -> Life:
    """A life of the kind that was sold."""
    if sold["kind"] == "subscription":
        return subscription_life(chance, names, catalog or catalog_of(names, fixed=True), spread=spread)
    return one_time_life(chance, names, spread=spread, lasts=sold["duration_seconds"])


def catalog_of(names: Names, *, fixed: bool) -> Catalog:
    """A product for each price; unless `fixed`, they are edited while the history runs."""
    prices: dict[str, Sold] = {price: as_sold("subscription", price) for price in names.prices + names.yearly}
    return Catalog(prices, set(names.yearly), fixed)


def as_sold(kind: str, price: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "product_code": price.upper(),
        "stripe_price_id": price,
        "units": 500 if kind == "usage_pack" else None,
        "duration_seconds": 7 * 86_400 if kind == "time_pass" else None,
        "features": [],
        "grace_days": GRACE_DAYS,
        "version": 1,
    }


def deliveries(life: Life, chance: random.Random) -> list[dict[str, Any]]:
    """The events in disorder, some of them several times, often with an end that arrives first."""
    # NOT YET: events with the `account` of a connected one. They belong here, copied from those of the life
    # with other ids, as soon as the product reads `account` and applies none of them.
    again = [event for event in life.events if chance.random() < 0.35]
    delivered = [*life.events, *again, *(again if chance.random() < 0.2 else [])]
    chance.shuffle(delivered)
    if life.deleted is not None and chance.random() < 0.6:
        delivered.insert(0, life.deleted)
    return delivered


def received(delivered: Sequence[dict[str, Any]], history: History, life: Life) -> list[Fact]:
    """The facts of these deliveries in order of arrival; each event is one fact, however often it came."""
    facts: dict[str, Fact] = {}
    for raw in delivered:
        event = shapes.read_event(raw)
        reading = shapes.read_object(event)
        assert reading is not None, event.type
        data = _with_sold(reading.data, reading.kind, history, life, at=raw["created"])
        fact = Fact(reading.kind, FactSource.EVENT, event.id, reading.object_id, event.created, data)
        facts.setdefault(event.id, fact)
    return list(facts.values())


def in_true_order(life: Life, history: History) -> list[Fact]:
    """The facts as nobody receives them: each with an instant of its own, to the microsecond."""
    facts = received(life.events, history, life)
    return [
        replace(fact, occurred_at=fact.occurred_at + timedelta(microseconds=number), source_id=f"{number:06}")
        for number, fact in enumerate(facts, start=1)
    ]


def read_from_stripe(life: Life, history: History, chance: random.Random) -> list[Fact]:
    """Numbered snapshots: those of the middle perhaps, that of the end always."""
    facts: list[Fact] = []
    for number, (second, told, read) in enumerate(life.snapshots, start=1):
        if number < len(life.snapshots) and chance.random() < 0.5:
            continue
        # A clock behind Stripe's: the read is dated by the last event that it covers.
        behind = chance.random() < 0.5
        last = life.events[told - 1]["created"]
        at = from_unix(last) if behind else from_unix(second) + timedelta(seconds=2, microseconds=7)
        if number < len(life.snapshots):
            later = [e["created"] for e in life.events[told:]]
            at = min([at, *(from_unix(each) for each in later)])
        note = {"event": "snapshot", "snapshot": number}
        source_id = f"snapshot:{life.names.subscription}:{number}"
        said = {**shapes.subscription(read), **note}
        data = _with_sold(said, "subscription", history, life, at=second)
        bill = {**invoices.invoice(read["latest_invoice"]), **note}
        facts += [
            Fact("subscription", FactSource.SNAPSHOT, source_id, read["id"], at, data),
            Fact("invoice", FactSource.SNAPSHOT, source_id, read["latest_invoice"]["id"], at, bill),
        ]
    return facts


def weigh(of_each: Sequence[list[Fact]]) -> Any:
    """What the facts of each life give, passes laid one after the other; comparable, to the second."""
    projected = [projection.project(facts) for facts in of_each]
    passes = [
        Pass(each.stripe_checkout_session_id or "", each.paid_at, _length(each), each.canceled_at)
        for entitlements in projected
        for each in entitlements
        if each.kind == "time_pass" and each.paid_at is not None
    ]
    return [
        [_to_the_second(each) for each in sorted(entitlements, key=lambda each: each.item_key)]
        for entitlements in projected
    ], sorted((key, *(_second(at) for at in span)) for key, span in chain_passes(passes).items())


def misjudged(entitlements: Sequence[Projected], life: Life) -> list[str]:
    """Where a life's entitlements are not what its plain model says, from its end on."""
    wrong = [f"nothing was ever paid for, and there is {each}" for each in entitlements if not life.granted]
    for at in life.instants():
        # What happened within that second has happened.
        now = from_unix(at) + timedelta(milliseconds=999)
        for each in entitlements:
            right = life.rights.get(each.item_key)
            found = standing(Unused(each), now)
            if found.available is not _is_available(right, at):
                wrong.append(f"at {at} {each} has {found}, not {right}")
            elif right is not None:
                wrong += _misdescribed(each, found.reason, right)
    missing = life.rights.keys() - {each.item_key for each in entitlements}
    return [*wrong, *(f"{item} is missing: {life.rights[item]}" for item in missing)]


def _is_available(right: Right | None, at: int) -> bool:
    return right is not None and (right.until is None or at < right.until)


def _misdescribed(each: Projected, reason: str | None, right: Right) -> list[str]:
    expected: dict[str, Any] = {"product_code": right.product_code, "quantity": right.quantity}
    if right.features is not None:
        expected["features"] = list(right.features)
    if reason is not None and right.ends_as is not None:
        expected["ends_as"] = right.ends_as
    wrong = {name for name, value in expected.items() if value is not None and getattr(each, name) != value}
    return [f"{sorted(wrong)} of {each} differ from {right}"] if wrong else []


class Unused:
    """A projected entitlement of which nothing has been used."""

    used_units = reserved_units = 0

    def __init__(self, projected: Projected) -> None:
        self._projected = projected

    def __getattr__(self, name: str) -> Any:
        return getattr(self._projected, name)


def _length(each: Projected) -> timedelta:
    assert each.duration_seconds is not None
    return timedelta(seconds=each.duration_seconds)


def _to_the_second(projected: Projected) -> dict[str, Any]:
    return {
        name: _second(value) if hasattr(value, "microsecond") else value
        for name, value in asdict(projected).items()
    }


def _second(at: Any) -> int:
    return int(at.timestamp())


def _with_sold(
    data: Mapping[str, Any], kind: str, history: History, life: Life, *, at: int
) -> dict[str, Any]:
    """A reading with what the catalog of that second makes of it."""
    if kind == "session":
        return {**data, "sold": history.sold, "quantity": life.names.quantity}
    if kind == "subscription":
        mapped, same = life.catalog.at(at), life.catalog.same_product(at)
        items = [
            {
                **item,
                "sold": mapped.get(item["price"]),
                "same_product": same if item["price"] == SAME_PRODUCT else None,
            }
            for item in data["items"]
        ]
        return {**data, "items": items}
    return dict(data)
