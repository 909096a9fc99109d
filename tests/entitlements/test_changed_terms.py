"""Terms that an operator gives to holders: what they replace, until when, and in any order of arrival."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.models import FactSource, State
from licenzy.entitlements.projection import project
from tests.entitlements.test_projection import (
    DAY,
    ONE_TIME,
    PACK,
    PASS,
    SOLD,
    Fact,
    invoice,
    one,
    session,
    sub,
)
from tests.support.clock import START

HOUR = timedelta(hours=1)


def terms(
    version: int,
    at: datetime = START + HOUR,
    *,
    code: str = "PRO",
    replaces: tuple[str, ...] = (),
    **given: Any,
) -> Fact:
    """The fact that gives a purchase a version of a product's terms."""
    data = {
        "action": "terms",
        "product_code": code,
        "version": version,
        "terms": {"features": [f"v{version}"], "grace_days": version, **given},
        "replaces": ["features", "grace_days", *replaces],
        "actor": None,
        "note": "",
    }
    return Fact("operator", data, at, f"terms:{code}:{version}:{at}", "sub_1", FactSource.OPERATOR)


def at_price(price: str, at: datetime, *, code: str = "PRO", version: int | None = 1) -> Fact:
    """A state in which the item has a price, on a version of a product's terms."""
    state = sub(at=at)
    sold = {**SOLD, "product_code": code, "features": [f"v{version}"], "version": version}
    state.data["items"][0] |= {"price": price, "sold": sold if version is not None else None}
    return state


def test_terms_replace_those_that_an_item_was_sold_on() -> None:
    facts = [at_price("price_pro", START), invoice(), terms(2)]
    found = one(facts)
    assert (found.features, found.terms_version) == (["v2"], 2)
    assert one(facts[:2]).features == ["v1"]


def test_the_latest_counts_so_that_an_act_can_be_taken_back() -> None:
    facts = [at_price("price_pro", START), invoice(), terms(2), terms(1, START + 2 * HOUR)]
    assert one(facts).terms_version == 1
    assert one([*facts, terms(2, START + 3 * HOUR)]).terms_version == 2


def test_a_renewal_keeps_them_and_another_price_does_not() -> None:
    renewed = at_price("price_pro", START + DAY)
    facts = [at_price("price_pro", START), invoice(), terms(2), renewed]
    assert one(facts).terms_version == 2
    assert one([*facts, at_price("price_yearly", START + 2 * DAY, version=3)]).terms_version == 3
    assert one([*facts, at_price("price_yearly", START + 2 * DAY, version=1)]).features == ["v1"]


def test_terms_of_another_product_change_nothing() -> None:
    assert one([at_price("price_pro", START), invoice(), terms(2, code="MAX")]).terms_version == 1


def test_terms_from_before_the_item_had_the_price_change_nothing() -> None:
    changed = at_price("price_yearly", START + 2 * DAY, version=1)
    facts = [at_price("price_pro", START), invoice(), terms(2), changed]
    assert one(facts).terms_version == 1


def test_a_price_without_a_product_keeps_them() -> None:
    unmapped = at_price("price_unknown", START + DAY, version=None)
    unmapped.data["items"][0]["same_product"] = {**SOLD, "version": 9}
    facts = [at_price("price_pro", START), invoice(), terms(2), unmapped]
    assert one(facts).terms_version == 2
    assert one([*facts, terms(3, START + 2 * DAY)]).terms_version == 3


def test_each_item_of_the_product_gets_them_and_no_other() -> None:
    state = at_price("price_pro", START)
    first = state.data["items"][0]
    state.data["items"] += [
        {**first, "id": "si_2"},
        {**first, "id": "si_3", "sold": {**first["sold"], "product_code": "MAX"}},
    ]
    versions = {each.item_key: each.terms_version for each in project([state, invoice(), terms(2)])}
    assert versions == {"si_1": 2, "si_2": 2, "si_3": 1}


def test_what_was_sold_before_terms_were_numbered_gets_them() -> None:
    assert one([sub(), invoice(), terms(2)]).features == ["v2"]


@pytest.mark.parametrize("days", [0, 1, 7])
def test_one_in_grace_gets_the_new_grace_days_from_the_failure_on(days: int) -> None:
    renewal = START + 30 * DAY
    facts = [sub(), invoice(), sub("past_due", renewal), invoice(False, renewal, "in_2")]
    assert one(facts).ends_at == renewal + 3 * DAY
    given_now = terms(2, renewal + HOUR, grace_days=days)
    found = one([*facts, given_now])
    assert (found.state, found.ends_at) == (State.PAST_DUE, renewal + days * DAY)
    assert one([*facts, given_now, terms(1, renewal + 2 * HOUR, grace_days=3)]).ends_at == renewal + 3 * DAY


def test_one_that_did_not_pay_for_a_change_has_the_terms_of_what_was_paid() -> None:
    changed = at_price("price_max", START + DAY, code="MAX")
    changed.data |= {"status": "past_due", "latest_invoice": "in_2", "anchor": None}
    first = at_price("price_pro", START)
    first.data |= {"anchor": None, "latest_invoice": "in_1"}
    paid = invoice()
    paid.data["lines"] = [
        {
            "item": "si_1",
            "price": "price_pro",
            "quantity": 1,
            "recurring": True,
            "proration": False,
            "amount": 1200,
            "start": int(START.timestamp()),
            "end": int((START + 30 * DAY).timestamp()),
        }
    ]
    facts = [first, paid, changed, invoice(False, START + DAY, "in_2")]
    assert (one(facts).product_code, one(facts).features) == ("PRO", ["v1"])
    assert one([*facts, terms(2, START + 2 * DAY)]).features == ["v2"]


def test_packs_and_passes_keep_what_was_bought_once() -> None:
    for code, sold in (("CREDITS", PACK), ("DAY", PASS)):
        before = one([session(sold={**sold, "version": 1}, **ONE_TIME)])
        after = one([session(sold={**sold, "version": 1}, **ONE_TIME), terms(2, code=code)])
        assert (after.features, after.terms_version) == (["v2"], 2)
        for name in ("granted_units", "unit", "duration_seconds", "starts_at", "valid_until", "ends_at"):
            assert getattr(after, name) == getattr(before, name)


def test_a_line_and_a_manual_grant_get_them_too() -> None:
    paid = session(sold={**PASS, "version": 1}, **ONE_TIME)
    paid.data["lines"] = [{"price": "price_credits", "quantity": 1, "sold": {**PACK, "version": 1}}]
    found = {each.item_key: each for each in project([paid, terms(2, code="CREDITS")])}
    assert [found[key].terms_version for key in ("", "price_credits")] == [1, 2]
    granted = {
        "action": "grant",
        "product_code": "CREDITS",
        "kind": "usage_pack",
        "version": 1,
        "features": [],
        "units": 5,
        "until": None,
    }
    grant = Fact("operator", granted, source=FactSource.OPERATOR, object_id="user_123")
    by_hand = one([grant, terms(2, code="CREDITS")])
    assert (by_hand.features, by_hand.granted_units) == (["v2"], 5)


def test_a_term_that_a_version_lacks_is_gone() -> None:
    """A version of before there were limits, given back, has none: limits are among what it replaces."""
    first = at_price("price_pro", START)
    first.data["items"][0]["sold"]["limits"] = {"projects": 3}
    given_back = terms(1, replaces=("limits",))
    assert "limits" not in ChangedTerms([given_back]).over(first.data["items"][0]["sold"])


# --- any order ---------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("price"), st.sampled_from(("a", "b", "c")), st.integers(1, 4)),
        st.tuples(st.just("terms"), st.sampled_from(("PRO", "MAX")), st.integers(1, 4)),
    ),
    max_size=9,
)
PRODUCT = {"a": "PRO", "b": "PRO", "c": "MAX"}


@given(STEPS, st.data())
def test_any_order_gives_what_the_true_order_gives(
    steps: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    """Terms and changes of price at random: the last of them decides, as a plain walk through them has it."""
    facts = [at_price("a", START), invoice()]
    price, version = "a", 1
    for hour, (what, name, number) in enumerate(steps, start=1):
        at = START + hour * HOUR
        if what == "terms":
            facts.append(terms(number, at, code=name))
            version = number if PRODUCT[price] == name else version
        else:
            facts.append(at_price(name, at, code=PRODUCT[name], version=number))
            # One that keeps its price keeps its terms, whatever the catalog says by then.
            version = version if name == price else number
            price = name
    expected = project(facts)
    assert [(each.product_code, each.terms_version) for each in expected] == [(PRODUCT[price], version)]
    again = data.draw(st.lists(st.sampled_from(facts), max_size=4))
    assert project(data.draw(st.permutations(facts + again))) == expected
