"""What has to be done, from plain values: no database, no Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from licenzy.catalog.models import Kind, TrialCard
from licenzy.catalog.new_prices import NewPrice
from licenzy.catalog.rules import Draft
from licenzy.configuration.differences import (
    Act,
    Differences,
    EndpointChange,
    KeyChange,
    PriceAct,
    PriceChange,
    WantedState,
    differences,
    label_order,
)
from licenzy.configuration.entries import (
    Configuration,
    ConfigurationRefused,
    EndpointEntry,
    Installed,
    InstalledEndpoint,
    InstalledPrice,
    InstalledProduct,
    PriceEntry,
    ProductEntry,
)

DRAFT = Draft("PRO", Kind.SUBSCRIPTION, "", features=("a",))


def product(labels: Mapping[str, str | None], draft: Draft = DRAFT) -> tuple[ProductEntry, dict[Any, Any]]:
    """An entry that is sold under these labels, and what its prices were found to be."""
    entries = tuple(PriceEntry(label, lookup_key=label) for label in labels)
    ids = {(draft.product_code, label): price_id for label, price_id in labels.items()}
    return ProductEntry(draft, entries), ids


def there(selling: Mapping[str, str], draft: Draft = DRAFT, **more: Any) -> InstalledProduct:
    prices = tuple(InstalledPrice(label, price_id) for label, price_id in selling.items())
    return InstalledProduct("prd_1", draft, prices, **more)


def compared(
    labels: Mapping[str, str | None],
    selling: Mapping[str, str],
    draft: Draft = DRAFT,
    *,
    prune: bool = False,
) -> Differences:
    entry, ids = product(labels, draft)
    wanted = WantedState(Configuration("f", (entry,)), ids, prune=prune)
    return differences(wanted, Installed((there(selling),)))


def steps(found: Differences) -> list[tuple[str, str, str | None]]:
    return [(each.act.value, each.label, each.stripe_price_id) for each in found.products[0].prices]


@pytest.mark.parametrize(
    ("labels", "selling", "expected"),
    [
        ({"m": "p1"}, {"m": "p1"}, []),
        ({"m": "p1", "y": "p2"}, {"m": "p1"}, [("add", "y", "p2")]),
        ({"m": None}, {"m": "p1"}, [("create", "m", None)]),
        ({"m": "p2"}, {"m": "p1"}, [("add", "m", "p2")]),
        ({"x": "p1"}, {"m": "p1"}, [("label", "x", "p1")]),
        ({}, {"m": "p1"}, []),
        ({"y": "p1"}, {"m": "p1", "y": "p2"}, [("label", "y", "p1"), ("retire", "y", "p2")]),
        ({"m": "p2", "y": "p1"}, {"m": "p1", "y": "p2"}, [("label", "m", "p2"), ("label", "y", "p1")]),
        (
            {"m": "p3", "y": "p1"},
            {"m": "p1", "y": "p2"},
            [("add", "m", "p3"), ("label", "y", "p1"), ("retire", "y", "p2")],
        ),
    ],
)
def test_prices(
    labels: Mapping[str, str | None],
    selling: Mapping[str, str],
    expected: list[tuple[str, str, str | None]],
) -> None:
    found = compared(labels, selling)
    assert steps(found) == expected
    assert bool(found) is bool(expected)


def test_a_price_that_is_not_named_is_retired_by_pruning() -> None:
    assert steps(compared({}, {"m": "p1"}, prune=True)) == [("retire", "m", "p1")]
    assert steps(compared({"m": "p2"}, {"m": "p1"}, prune=True)) == [("add", "m", "p2")]


def test_the_price_that_a_new_one_retires_is_named() -> None:
    (change,) = compared({"m": "p2"}, {"m": "p1"}).products[0].prices
    assert (change.act, change.retires) == (PriceAct.ADD, "p1")


def test_fields_have_the_values_of_the_file() -> None:
    after = replace(DRAFT, features=(), grace_days=2, trial_days=7)
    (change,) = compared({"m": "p1"}, {"m": "p1"}, after).products
    assert (change.act, change.fields) == (
        Act.CHANGE,
        (
            KeyChange("features", ["a"], None),
            KeyChange("grace_days", None, 2),
            KeyChange("trial", None, {"days": 7}),
        ),
    )


def test_of_a_trial_what_differs_from_the_defaults_is_written() -> None:
    before = replace(DRAFT, trial_days=7, trial_once=False, trial_group="main")
    after = replace(DRAFT, trial_days=7, trial_card=TrialCard.IF_REQUIRED)
    wanted = WantedState(Configuration("f", (product({"m": "p1"}, after)[0],)), product({"m": "p1"})[1])
    (change,) = differences(wanted, Installed((there({"m": "p1"}, before),))).products
    assert change.fields == (
        KeyChange(
            "trial", {"days": 7, "once": False, "group": "main"}, {"days": 7, "card": TrialCard.IF_REQUIRED}
        ),
    )


def test_a_price_under_two_labels_is_refused() -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        compared({"m": "p1", "y": "p1"}, {"m": "p1"})
    assert refused.value.message == (
        "f: product PRO: The prices m and y are the same one in Stripe. Remove one of them."
    )


def test_a_new_product_needs_a_price() -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        differences(WantedState(Configuration("f", (ProductEntry(DRAFT),)), {}), Installed())
    assert refused.value.message == (
        "f: product PRO: A new product needs a price. Add one with [[product.price]]."
    )


def test_prices_to_create_are_listed_in_order() -> None:
    new = PriceEntry("m", lookup_key="k", create=NewPrice(100, "usd", "month"))
    wanted = WantedState(Configuration("f", (ProductEntry(DRAFT, (new,)),)), {("PRO", "m"): None})
    assert [price for _, price in differences(wanted, Installed()).to_create()] == [new]


@pytest.mark.parametrize("prune", [False, True])
def test_what_is_archived_or_disabled_already_is_not_ended_again(prune: bool) -> None:
    installed = Installed(
        (there({"m": "p1"}, archived=True),),
        (InstalledEndpoint("whe_1", "https://a.example/", ("usage.low",), disabled=True),),
    )
    assert differences(WantedState(Configuration("f"), {}, prune=prune), installed) == Differences()


def test_endpoints_with_one_address_belong_to_the_entries_that_are_like_them() -> None:
    url, low, consumed = "https://a.example/", ("usage.low",), ("usage.consumed",)
    installed = Installed(
        endpoints=(
            InstalledEndpoint("whe_1", url, low, disabled=True),
            InstalledEndpoint("whe_2", url, consumed),
            InstalledEndpoint("whe_3", url, low),
        )
    )
    entries = (EndpointEntry(url, low), EndpointEntry(url, consumed))
    wanted = WantedState(Configuration("f", endpoints=entries), {}, prune=True)
    assert not differences(wanted, installed)
    third = WantedState(Configuration("f", endpoints=(*entries, EndpointEntry(url, low))), {})
    acts = {each.endpoint_id: each.act for each in differences(third, installed).endpoints}
    assert acts == {"whe_1": Act.RESTORE, "whe_2": Act.UNCHANGED, "whe_3": Act.UNCHANGED}


def test_a_secret_is_replaced_where_it_differs_or_cannot_be_read() -> None:
    entry = EndpointEntry("https://a.example/", ("usage.low",), secret_env="S")
    wanted = WantedState(Configuration("f", endpoints=(entry,)), {}, {"S": "new"})
    for secret, replaced in (("new", False), ("old", True), (None, True)):
        one = InstalledEndpoint("whe_1", entry.url, entry.types, secret=secret)
        (change,) = differences(wanted, Installed(endpoints=(one,))).endpoints
        assert isinstance(change, EndpointChange)
        assert change.new_secret is replaced
    assert "new" not in repr(wanted)


@pytest.mark.parametrize("labels", list(permutations("abcd")))
def test_labels_are_given_in_an_order_in_which_each_is_free(labels: tuple[str, ...]) -> None:
    selling = {f"p{n}": label for n, label in enumerate("abcd")}
    changes = [
        PriceChange(PriceAct.LABEL, label, f"p{n}", former_label=selling[f"p{n}"])
        for n, label in enumerate(labels)
        if selling[f"p{n}"] != label
    ]
    order, circle = label_order(changes, selling)
    now = {price_id: label for price_id, label in selling.items() if price_id not in circle}
    wanted = {str(each.stripe_price_id): each.label for each in changes}
    for price_id in order:
        assert wanted[price_id] not in now.values()
        now[price_id] = wanted[price_id]
    for price_id in circle:
        assert wanted[price_id] not in now.values()
        now[price_id] = wanted[price_id]
    assert now == {f"p{n}": label for n, label in enumerate(labels)}
