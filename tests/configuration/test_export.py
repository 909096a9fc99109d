"""What is exported is what would be applied: any catalog, byte for byte the same each time."""

from __future__ import annotations

import json
import random
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from licenzy.alignment.modes import Mode
from licenzy.catalog import actions, prices, queries
from licenzy.catalog.included import Every, IncludedUnits, Rollover
from licenzy.catalog.models import Kind, TrialCard, TrialEnd
from licenzy.catalog.rules import Draft, trimmed_to_kind
from licenzy.configuration.entries import Configuration, EndpointEntry, PriceEntry, ProductEntry, in_order
from licenzy.configuration.parsing import parse
from licenzy.configuration.toml_text import as_toml, value_as_toml
from licenzy.deliveries import actions as deliveries
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.models import EventType
from licenzy.entitlements.queries import was_granted
from tests.configuration.conftest import Shop
from tests.configuration.test_apply import HOOKS, PACK, PRO

anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
visible = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
codes = st.from_regex(r"[A-Z][A-Z0-9_.-]{0,20}", fullmatch=True)
labels = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)
units = st.from_regex(r"[a-z0-9_]{1,32}", fullmatch=True)
numbers = st.integers(0, 10**9)
included = st.builds(
    IncludedUnits,
    units,
    numbers,
    st.sampled_from(Every),
    st.none() | st.builds(Rollover, st.none() | numbers),
    trial_units=st.none() | numbers,
    low_units=st.none() | numbers,
)
of_calendar = st.builds(
    IncludedUnits,
    units,
    numbers,
    st.sampled_from([Every.DAY, Every.WEEK, Every.MONTH]),
    low_units=st.none() | numbers,
)
"""What a free product may include: it has no billing periods, no trial, and carries nothing over."""


@st.composite
def products(draw: st.DrawFn) -> ProductEntry:
    kind = draw(st.sampled_from(Kind))
    lines = of_calendar if kind is Kind.FREE else included
    draft = Draft(
        product_code=draw(codes),
        kind=kind,
        price_id="",
        unit=draw(units),
        units=draw(st.integers(1, 10**9)),
        usage_low_units=draw(st.none() | st.integers(0, 10**9)),
        duration_seconds=draw(st.integers(60, 10**9) | st.integers(1, 100).map(lambda days: days * 86_400)),
        features=tuple(draw(st.lists(codes, max_size=20, unique=True))),
        included=tuple(draw(st.lists(lines, max_size=3, unique_by=lambda line: line.unit))),
        grace_days=draw(st.integers(0, 60)),
        trial_days=draw(st.none() | st.integers(1, 730)),
        trial_card=draw(st.sampled_from(TrialCard)),
        trial_end_without_card=draw(st.sampled_from(TrialEnd)),
        trial_once=draw(st.booleans()),
        trial_group=draw(st.just("") | st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)),
        allow_promotion_codes=draw(st.booleans()),
        automatic_tax=draw(st.booleans()),
        adjustable_quantity=draw(st.booleans()),
        limits=(limits := draw(st.dictionaries(codes, st.none() | st.integers(0, 2**53 - 1), max_size=9))),
        adds=bool(limits) and draw(st.booleans()),
    )
    entries = []
    for label in sorted(draw(st.sets(labels, max_size=4))) if draft.is_sold else ():
        by_key = st.builds(PriceEntry, st.just(label), lookup_key=anything)
        by_id = st.builds(PriceEntry, st.just(label), stripe_price=visible.filter(bool))
        entries.append(draw(by_key | by_id))
    return ProductEntry(trimmed_to_kind(draft), tuple(entries))


endpoints = st.builds(
    EndpointEntry,
    st.from_regex(r"https://[a-z]{1,9}\.example/[a-zA-Z0-9\"'?=&%]{0,30}", fullmatch=True),
    st.sets(st.sampled_from(EventType), min_size=1).map(in_order),
    visible,
)


@settings(database=None, deadline=None, max_examples=200)
@given(st.lists(products(), max_size=5, unique_by=lambda each: each.code), st.lists(endpoints, max_size=4))
def test_what_is_written_is_read_again(sold: list[ProductEntry], sent_to: list[EndpointEntry]) -> None:
    keys = [price.lookup_key for each in sold for price in each.prices if price.lookup_key is not None]
    assume(len(keys) == len(set(keys)))
    sold = sorted(sold, key=lambda each: each.code)
    sent_to = sorted(sent_to, key=lambda each: (each.url, each.types, each.description))
    written = as_toml(Configuration("", tuple(sold), tuple(sent_to)))
    read = parse(written.encode(), source="f", mode=Mode.TEST, private_allowed=False)
    assert read == Configuration("", tuple(sold), tuple(sent_to))
    shuffled = Configuration("", tuple(reversed(sold)), tuple(reversed(sent_to)))
    assert as_toml(shuffled) == written == as_toml(read)


@settings(database=None, deadline=None, max_examples=300)
@given(st.recursive(anything | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_is_read_again(value: Any) -> None:
    assert tomllib.loads(f"a = {value_as_toml(value)}") == {"a": value}


def test_an_export_is_written_as_a_person_would(shop: Shop) -> None:
    many = ", ".join(f'"feature_number_{n}"' for n in range(6))
    shop.applied(HOOKS + PACK + PRO.replace('["export"]', f"[{many}]").replace("grace_days = 3", ""))
    assert (
        shop.exported()
        == """\
[[product]]
code = "CREDITS"
kind = "usage_pack"
units = 1000

  [[product.price]]
  label = "default"
  lookup_key = "licenzy_demo_credits_1000"

[[product]]
code = "PRO"
kind = "subscription"
features = [
  "feature_number_0",
  "feature_number_1",
  "feature_number_2",
  "feature_number_3",
  "feature_number_4",
  "feature_number_5",
]

  [[product.price]]
  label = "month"
  lookup_key = "licenzy_demo_pro_monthly"

  [[product.price]]
  label = "year"
  lookup_key = "licenzy_demo_pro_yearly"

[[endpoint]]
url = "https://example.com/hooks"
types = ["entitlement.updated"]
"""
    )


def test_an_export_goes_to_a_file_or_to_a_program(shop: Shop) -> None:
    shop.applied(PACK + HOOKS)
    path = shop.folder / "out.toml"
    assert shop.exported("--output", str(path)) == ""
    assert path.read_text(encoding="utf-8") == shop.exported()
    assert json.loads(shop.exported("--json")) == tomllib.loads(shop.exported())
    missing = shop.run(
        "export", "--project", shop.side.project_id, "--output", str(Path("/dev/null/no/such/folder"))
    )
    assert missing.exit_code == 1
    assert missing.stderr.endswith("The file cannot be written: Not a directory.\n")
    both = shop.run("export", "--project", shop.side.project_id, "--json", "--output", str(path))
    assert both.exit_code == 2


def test_an_export_is_applied_from_standard_input(shop: Shop) -> None:
    shop.applied(PRO + HOOKS)
    side = ("--project", shop.side.project_id)
    result = shop.run("apply", "-", *side, "--dry-run", stdin=shop.exported())
    assert (result.exit_code, result.stderr) == (0, "")
    broken = shop.run("apply", "-", *side, stdin="x")
    assert broken.stderr.startswith("Error: standard input: line 1: ")


def test_a_price_without_a_lookup_key_of_its_own_is_named_by_its_id(shop: Shop) -> None:
    shop.applied(PRO)
    month = shop.selling("PRO")["month"]
    moved = shop.stripe(
        "/prices",
        **{
            "unit_amount": "1500",
            "currency": "usd",
            "recurring[interval]": "month",
            "product_data[name]": "Pro",
            "lookup_key": "licenzy_demo_pro_monthly",
            "transfer_lookup_key": "true",
        },
    )
    both = PRO + f'  [[product.price]]\n  label = "old"\n  stripe_price = "{month}"\n'
    shop.applied(both)
    assert shop.selling("PRO")["month"] == moved["id"]
    assert f'label = "old"\n  stripe_price = "{month}"' in shop.exported()
    assert not shop.differs(shop.exported())


def sold_at_random(shop: Shop, chance: random.Random) -> None:
    """Products and endpoints, made and changed by the verbs that the portal calls."""
    db_parts = shop.parts
    recurring = [new_price(shop, chance, "month") for _ in range(8)]
    once = [new_price(shop, chance, None) for _ in range(8)]
    for n in range(chance.randint(1, 5)):
        kind = chance.choice(list(Kind))
        pool = recurring if kind is Kind.SUBSCRIPTION else once
        if len(pool) < 3:
            continue
        draft = Draft(
            product_code=f"P{n}{chance.choice(['', '.x', '-Y', '_z'])}",
            kind=kind,
            price_id="" if kind is Kind.FREE else pool.pop(),
            unit=chance.choice(["units", "images"]),
            units=chance.randint(1, 10**6),
            usage_low_units=chance.choice([None, 0, 5]),
            duration_seconds=chance.choice([60, 61, 86_400, 30 * 86_400, 365 * 86_400]),
            features=tuple(chance.choices(["a", "b", "c"], k=chance.randint(0, 3))),
            grace_days=chance.randint(0, 3),
            trial_days=chance.choice([None, 7]),
            trial_once=chance.random() < 0.5,
            trial_group=chance.choice(["", "main"]),
            automatic_tax=chance.random() < 0.5,
            price_label=chance.choice(["default", "x"]),
            limits=chance.choice([{"a": 1}, {"a.b": 0, "c": None}]),
            adds=chance.random() < 0.5,
            is_default=n == 0,
            grants_access=n == 0,
        )
        product = actions.create_product(
            *db_parts, shop.side, draft=draft, actor=shop.actor, now=shop.clock()
        )
        here: dict[str, Any] = {"product_id": product.id, "actor": shop.actor, "now": shop.clock()}
        if chance.random() < 0.6 and kind is not Kind.FREE:
            prices.add_price(
                *db_parts, shop.side, price_id=pool.pop(), label=chance.choice(["x", "y"]), **here
            )
        if chance.random() < 0.4 and product.prices:
            with shop.runtime.database.write() as db:
                price = chance.choice(queries.product(db, shop.side, product_id=product.id).prices)
                prices.retire_price(db, shop.side, price_id=price.id, **here)
        if chance.random() < 0.3:
            with shop.runtime.database.write() as db:
                actions.archive_product(db, shop.side, **here)
        elif chance.random() < 0.4 and (product.main_price is not None or kind is Kind.FREE):
            price_id = product.main_price.stripe_price_id if product.main_price is not None else ""
            again = replace(draft, price_id=price_id, features=("z",))
            actions.edit_product(*db_parts, shop.side, draft=again, was_granted=was_granted, **here)
    context = EndpointContext(shop.side, shop.actor, shop.clock())
    for _ in range(chance.randint(0, 3)):
        with shop.runtime.database.write() as db:
            made, _secret = deliveries.create_endpoint(
                db,
                shop.runtime.secret_box,
                context,
                url=f"https://example.com/{chance.choice('ab')}",
                types=chance.sample([each.value for each in EventType], k=chance.randint(1, 3)),
                description=chance.choice(["", 'Say "hi" \\o/', "Grüße 🎉"]),
                private_allowed=False,
            )
            verb = chance.choice([None, deliveries.pause_endpoint, deliveries.disable_endpoint])
            if verb is not None:
                verb(db, context, endpoint_id=made.id)


def new_price(shop: Shop, chance: random.Random, interval: str | None) -> str:
    recurring = {"recurring[interval]": interval} if interval else {}
    key = chance.choice(['pro "x" \\', "größe", "plain", "nbsp\u00a0", None])
    keyed = {"lookup_key": f"{key}{chance.random()}"} if key else {}
    price = {"unit_amount": "100", "currency": "usd", "product_data[name]": "P", **recurring, **keyed}
    return str(shop.stripe("/prices", **price)["id"])


@pytest.mark.parametrize("seed", range(8))
def test_after_an_export_there_is_never_a_difference(shop: Shop, seed: int) -> None:
    sold_at_random(shop, random.Random(seed))
    written = shop.exported()
    result = shop.apply(written, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    shop.applied(written)
    assert shop.exported() == written
    assert shop.apply(written, "--dry-run", "--prune").exit_code == (0 if written else 1)
