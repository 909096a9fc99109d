from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from licenzy.alignment.facts import ConnectionFacts, KeyFacts, ProductFacts, ProjectFacts, SideFacts
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.checkout.models import AttemptStatus
from licenzy.setup.facts import EventFacts, JourneyFacts, SetupFacts
from licenzy.setup.going_live import Checklist, catalog_pairs, checklist
from licenzy.setup.rules import StepState, steps
from licenzy.stripe_events.models import EventStatus
from tests.support.clock import START
from tests.support.product_facts import changed, product_facts

CONNECTION = ConnectionFacts(
    id="con_1",
    provider="stripe",
    key_masked="sk_test_…4242",
    key_saved_at=START,
    account_id="acct_1",
    account_name="Tea",
    charges_enabled=True,
    account_seen_at=START,
    secret_masked="whsec_…9f3c",
    secret_saved_at=START,
    endpoint_id="we_1",
    proven_at=START,
    last_event_id="evt_1",
)
LIVE_CONNECTION = replace(CONNECTION, id="con_2", key_masked="sk_live_…4242")
PRODUCT = product_facts()
LIVE_PRODUCT = changed(PRODUCT, id="prd_2", stripe_price_id="price_2", livemode=True)
KEY = KeyFacts("key_1", "backend", "lz_live_…a1B2", START, START)
BOUGHT = JourneyFacts(
    attempt_id="att_1",
    subject_ref="user_1",
    product_code="PRO",
    status=AttemptStatus.PAID,
    reason=None,
    created_at=START,
    session_id="cs_1",
    checkout_url=None,
    expires_at=None,
    event=EventFacts("evt_1", "checkout.session.completed", EventStatus.APPLIED, None, START),
    entitlement_id="ent_1",
    granted_at=START,
    allowed=True,
    refusal=None,
    last_event_at=START,
)
TEST = SideFacts(Mode.TEST, CONNECTION, (PRODUCT,), (replace(KEY, masked="lz_test_…a1B2"),), probed_at=START)
LIVE = SideFacts(Mode.LIVE, LIVE_CONNECTION, (LIVE_PRODUCT,), (KEY,), probed_at=START)
EMPTY = SideFacts(Mode.LIVE)


def judged(
    live: SideFacts = LIVE,
    test: SideFacts = TEST,
    *,
    bought: tuple[JourneyFacts | None, JourneyFacts | None] = (BOUGHT, BOUGHT),
    later: timedelta = timedelta(),
    https: bool = True,
) -> Checklist:
    project = ProjectFacts(START + later, test, live)
    found = {mode: findings(project, mode) for mode in Mode}
    facts = {
        side.mode: SetupFacts(
            side.mode, project.now, side.connection, side.products, side.usable_keys, journey, True
        )
        for side, journey in ((test, bought[0]), (live, bought[1]))
    }
    return checklist(
        project,
        test_steps=steps(facts[Mode.TEST], found[Mode.TEST]),
        live_steps=steps(facts[Mode.LIVE], found[Mode.LIVE]),
        found=found[Mode.LIVE],
        https=https,
    )


def states(listed: Checklist) -> dict[str, StepState]:
    return {item.code: item.state for item in listed.items}


def test_when_everything_holds_every_line_is_done_with_evidence_and_time() -> None:
    listed = judged()
    assert set(states(listed).values()) == {StepState.DONE}
    assert all(item.evidence and item.at is not None for item in listed.items)
    assert listed.proven
    assert listed.ready
    same = next(item for item in listed.items if item.code == "same_catalog")
    assert same.evidence == "1 product, the same in both modes"


def test_an_empty_live_side_needs_all_of_it_and_says_where() -> None:
    listed = judged(EMPTY, bought=(BOUGHT, None))
    assert [item.code for item in listed.lacking] == [
        "live_connect",
        "live_webhook",
        "live_products",
        "live_api-key",
    ]
    assert all(item.step is not None for item in listed.lacking)
    assert not listed.ready
    assert not any(item.state is StepState.DRIFTED for item in listed.items)


def test_what_only_the_first_live_purchase_can_prove_does_not_hold_it_up() -> None:
    fresh = replace(
        LIVE,
        connection=replace(LIVE_CONNECTION, proven_at=None, last_event_id=None),
        keys=(replace(KEY, last_used_at=None),),
    )
    listed = judged(fresh, bought=(BOUGHT, None))
    assert states(listed)["live_webhook"] is StepState.WAITING
    assert states(listed)["live_api-key"] is StepState.WAITING
    assert listed.ready
    assert not listed.proven


@pytest.mark.parametrize(
    ("changes", "code", "state"),
    [
        ({"connection": replace(LIVE_CONNECTION, charges_enabled=False)}, "live_connect", StepState.DRIFTED),
        ({"products": (changed(LIVE_PRODUCT, sellable=False),)}, "live_products", StepState.DRIFTED),
        ({"products": (changed(LIVE_PRODUCT, unit_amount=900),)}, "same_catalog", StepState.NEEDS_ACTION),
        (
            {"products": (LIVE_PRODUCT, changed(LIVE_PRODUCT, product_code="B", stripe_price_id="p3"))},
            "same_catalog",
            StepState.NEEDS_ACTION,  # It was never tried in test.
        ),
        ({"products": (changed(LIVE_PRODUCT, sellable=False),)}, "same_catalog", StepState.NEEDS_ACTION),
        ({"products": (changed(LIVE_PRODUCT, sellable=False),)}, "nothing_at_risk", StepState.NEEDS_ACTION),
        (
            {"products": (LIVE_PRODUCT, changed(LIVE_PRODUCT, product_code="B"))},
            "nothing_at_risk",
            StepState.NEEDS_ACTION,
        ),
        ({"keys": (replace(KEY, revoked_at=START),)}, "live_api-key", StepState.NEEDS_ACTION),
        ({"connection": replace(LIVE_CONNECTION, shares_secret=True)}, "live_webhook", StepState.DRIFTED),
    ],
)
def test_green_turns_to_drifted_when_the_facts_do(
    changes: dict[str, Any], code: str, state: StepState
) -> None:
    listed = judged(replace(LIVE, **changes))
    assert states(listed)[code] is state
    item = next(item for item in listed.items if item.code == code)
    assert listed.proven is not any(each.blocking and not each.done for each in listed.items)
    assert not (item.blocking and listed.proven)
    assert item.evidence


def test_what_nobody_looked_at_for_hours_is_not_watched() -> None:
    assert states(judged(later=timedelta(hours=2)))["watched"] is StepState.DONE
    assert states(judged(later=timedelta(hours=3)))["watched"] is StepState.DRIFTED
    assert states(judged(replace(LIVE, probed_at=None)))["watched"] is StepState.WAITING
    assert states(judged(https=False))["https"] is StepState.NEEDS_ACTION


def test_without_a_test_purchase_live_is_not_ready() -> None:
    assert [item.code for item in judged(bought=(None, None)).lacking] == ["test_works"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, []),
        ({"kind": "time_pass"}, ["kind"]),
        ({"units": 5}, ["units"]),
        ({"duration_seconds": 60}, ["duration"]),
        ({"unit_amount": 900}, ["price"]),
        ({"currency": "eur"}, ["price"]),
        ({"interval": "year"}, ["interval"]),
        ({"interval_count": 3}, ["interval"]),
        ({"sellable": False}, ["in Stripe"]),
        ({"unit_amount": 900, "sellable": False}, ["price", "in Stripe"]),
    ],
)
def test_what_differs_between_the_catalogs_is_named(changes: dict[str, Any], what: list[str]) -> None:
    live = replace(LIVE, products=(changed(LIVE_PRODUCT, **changes),))
    (pair,) = catalog_pairs(ProjectFacts(START, TEST, live))
    assert [name for name, _there, _here in pair.differing] == what
    assert pair.same is (not what)


def test_products_of_one_mode_alone_are_shown_beside_nothing() -> None:
    live = replace(LIVE, products=(changed(LIVE_PRODUCT, product_code="LIVE_ONLY"),))
    pairs = catalog_pairs(ProjectFacts(START, TEST, live))
    assert [(pair.product_code, pair.test is None, pair.live is None) for pair in pairs] == [
        ("LIVE_ONLY", True, False),
        ("PRO", False, True),
    ]
    assert not any(pair.same for pair in pairs)


def labelled(product: ProductFacts, **amounts: int) -> ProductFacts:
    """The product at monthly prices of these amounts by their labels, and at one that was retired."""
    (price,) = product.prices
    sold = (replace(price, label=label, unit_amount=amount) for label, amount in amounts.items())
    return replace(product, prices=(*sold, replace(price, label="old", selling=False, unit_amount=1)))


@pytest.mark.parametrize(
    ("test", "live", "differing"),
    [
        ({"default": 1200, "year": 9900}, {"default": 1200, "year": 9900}, []),
        ({"default": 1200, "year": 9900}, {"year": 9900, "default": 1200}, []),
        (
            {"default": 1200, "year": 9900},
            {"default": 1200, "year": 9800},
            [("price year", "$99.00", "$98.00")],
        ),
        (
            {"default": 1200, "year": 9900},
            {"default": 1200},
            [("price year", "$99.00", "none"), ("interval year", "every month", "none")],
        ),
        (
            {"default": 1200},
            {"month": 1200},
            [
                ("price", "$12.00", "none"),
                ("interval", "every month", "none"),
                ("price month", "none", "$12.00"),
                ("interval month", "none", "every month"),
            ],
        ),
    ],
)
def test_prices_are_compared_label_by_label(
    test: dict[str, int], live: dict[str, int], differing: list[tuple[str, str, str]]
) -> None:
    facts = ProjectFacts(
        START,
        replace(TEST, products=(labelled(PRODUCT, **test),)),
        replace(LIVE, products=(labelled(LIVE_PRODUCT, **live),)),
    )
    (pair,) = catalog_pairs(facts)
    assert list(pair.differing) == differing
