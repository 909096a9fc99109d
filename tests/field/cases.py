"""What a file of `cases/` says: what was sold, what Stripe sent, and what the product must answer then.

A file is read with the ids that Stripe chose in it. `with_ids` puts those of a running
product in their place.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "cases"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A verb of the catalog that an operator does right after the event of this number, or after the last."""

    after_event: int | str
    verb: str
    product_code: str
    price: str | None = None
    unit_amount: int = 1200


@dataclass(frozen=True, slots=True)
class Expected:
    """What is right for one attempt's customer after an event, after the last, or after the steps."""

    after_event: int | str
    attempt: str
    product_code: str | None
    answers: Mapping[str, Any]
    """By name: allowed, reason, and where the file has them status, quantity, attempt_status, event_status
    and finding."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file: everything that happened to one merchant's customers."""

    name: str
    now: datetime
    prices: Mapping[str, str | None]
    """The product code of each price; None where no product is mapped to it."""
    grace_days: Mapping[str, int]
    attempts: tuple[str, ...]
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    events: tuple[Json, ...]

    def with_ids(self, ids: Mapping[str, str]) -> Case:
        """The same case with other ids, wherever an event, a step or an expectation names them."""
        events = json.dumps(self.events)
        for old, new in ids.items():
            events = events.replace(old, new)
        return replace(
            self,
            prices={ids.get(price, price): code for price, code in self.prices.items()},
            attempts=tuple(ids.get(each, each) for each in self.attempts),
            steps=tuple(replace(s, price=s.price and ids.get(s.price, s.price)) for s in self.steps),
            expected=tuple(replace(e, attempt=ids.get(e.attempt, e.attempt)) for e in self.expected),
            events=tuple(json.loads(events)),
        )

    def objects(self, kind: str) -> list[Json]:
        """Every state of the objects of this kind, in the order sent."""
        found = (event["data"]["object"] for event in self.events)
        return [each for each in found if each["object"] == kind]

    def first_price(self, attempt: str) -> str | None:
        """The price that an attempt's subscription began with; None where it was a one-time payment."""
        of_it = (each for each in self.objects("subscription") if attempt_of(each) == attempt)
        first = next(of_it, None)
        return first["items"]["data"][0]["price"]["id"] if first else None

    def session_id(self, attempt: str) -> str:
        """The Checkout Session that was opened for an attempt; Stripe opens recovered ones by itself."""
        own = (each for each in self.objects("checkout.session") if attempt_of(each) == attempt)
        return str(next(each["id"] for each in own if not each["recovered_from"]))

    def events_of(self, attempt: str) -> list[int]:
        """The numbers of the events that concern an attempt: they share an object with it, at last."""
        named = [set(_OF_ONE_PURCHASE.findall(json.dumps(event))) for event in self.events]
        known, numbers = {attempt}, set[int]()
        while more := {n for n, ids in enumerate(named) if n not in numbers and ids & known}:
            numbers |= more
            known.update(*(named[n] for n in more))
        return sorted(numbers)

    def holds_at_the_end(self, expected: Expected) -> bool:
        """Whether it is the last word on its attempt, so that it is right in any order of delivery."""
        if isinstance(expected.after_event, str):
            return expected.after_event == "last"
        return expected.after_event == self.events_of(expected.attempt)[-1]

    def interval(self, price: str) -> str:
        """How often a price bills, `month` or `year`, as an event shows it."""
        items = (item for each in self.objects("subscription") for item in each["items"]["data"])
        return str(
            next(item["price"]["recurring"]["interval"] for item in items if item["price"]["id"] == price)
        )


_OF_ONE_PURCHASE = re.compile(r"\b(?:att|cs|sub|in|pi|ch)_\w+")


def attempt_of(obj: Json) -> str | None:
    """The attempt that an object names in its metadata."""
    named: str | None = (obj.get("metadata") or {}).get("licenzy_attempt")
    return named


@dataclass(frozen=True, slots=True)
class DeliveryOrder:
    """An order in which the events are delivered, by their numbers."""

    name: str
    numbers: tuple[int, ...]
    as_sent: bool
    """Whether nothing is delivered before what Stripe sent earlier: then each event's expectations hold."""


def orders(case: Case, *, shuffles: int) -> Iterator[DeliveryOrder]:
    """As sent, each event twice, reversed, and shuffled by a seed that is the case's own."""
    numbers = tuple(range(len(case.events)))
    yield DeliveryOrder("as sent", numbers, as_sent=True)
    yield DeliveryOrder("each event twice", tuple(n for n in numbers for _ in range(2)), as_sent=True)
    yield DeliveryOrder("reversed", numbers[::-1], as_sent=False)
    for seed in range(shuffles):
        chance = random.Random(f"{case.name} {seed}")
        yield DeliveryOrder(f"shuffle {seed}", tuple(chance.sample(numbers, len(numbers))), as_sent=False)


def case_names() -> list[str]:
    return sorted(path.stem for path in CASES.glob("*.json"))


def load_case(name: str) -> Case:
    """The case of a file. All of its expectations are of one instant."""
    read: Json = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    (now,) = {each["now"] for each in read["expect"]}
    return Case(
        name=read["case"],
        now=datetime.fromisoformat(now),
        prices=read["products"]["prices"],
        grace_days=read["products"]["grace_days"],
        attempts=tuple(read["attempts"]),
        steps=tuple(Step(**each) for each in read["steps"]),
        expected=tuple(map(_expected, read["expect"])),
        events=tuple(read["events"]),
    )


def _expected(read: Json) -> Expected:
    where = {name: read[name] for name in ("after_event", "attempt", "product_code")}
    answers = {name: value for name, value in read.items() if name not in where and name != "now"}
    return Expected(**where, answers=answers)
