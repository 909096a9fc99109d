"""Every rule by itself: an aligned project, one thing changed, and the findings that it must give."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from licenzy.alignment.facts import (
    ConnectionFacts,
    EndpointSeen,
    EventSeen,
    FetchFacts,
    IncludedFacts,
    KeyFacts,
    NewSubjects,
    OutboundFacts,
    ProductFacts,
    ProjectFacts,
    Seen,
    SideFacts,
    SightingFacts,
    SubscriptionsOutside,
    TrafficFacts,
    UnmappedPrice,
    UntrackedFacts,
)
from licenzy.alignment.findings import Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import RULES, findings
from tests.support.clock import START
from tests.support.product_facts import changed, product_facts

LATER = START + timedelta(minutes=5)
ENDPOINT = EndpointSeen(
    "we_1", "https://l.example/v1/webhooks/stripe/con_1", True, "2026-10-28", frozenset({"a", "b"})
)


def connection(mode: Mode, **changes: Any) -> ConnectionFacts:
    facts = ConnectionFacts(
        id=f"con_{mode}",
        provider="stripe",
        key_masked=f"sk_{mode}_…4242",
        key_saved_at=START,
        account_id="acct_1",
        account_name="Tea",
        charges_enabled=True,
        secret_masked="whsec_…9f3c",
        secret_saved_at=START,
        endpoint_id="we_1",
        proven_at=START + timedelta(minutes=1),
        last_event_id="evt_1",
        account_seen_at=START,
        wanted_events=frozenset({"a", "b"}),
        wanted_version="2026-10-28",
        key_accepted=Seen(True, START),
        missing_permissions=Seen((), START),
        endpoints=Seen((ENDPOINT,), START),
    )
    return replace(facts, **changes)


def fetching(**fetch: Any) -> dict[str, Any]:
    """Test mode without a webhook, on a machine that Stripe cannot reach."""
    nothing = {"secret_masked": None, "secret_saved_at": None, "proven_at": None, "endpoints": None}
    return con(**nothing, fetch=FetchFacts(**fetch))


def product(mode: Mode, **changes: Any) -> ProductFacts:
    facts = product_facts(
        id=f"prd_{mode}",
        stripe_price_id=f"price_{mode}",
        livemode=mode.livemode,
        missing=Seen(False, START),
    )
    return changed(facts, **changes)


def free(mode: Mode, **changes: Any) -> ProductFacts:
    plan = ProductFacts(f"prd_free_{mode}", "FREE", "free", START, limits={"a": 1}, is_default=True)
    return replace(plan, **changes)


def key(mode: Mode, **changes: Any) -> KeyFacts:
    return replace(KeyFacts(f"key_{mode}", "backend", f"lz_{mode}_…a1B2", START, START), **changes)


def side(mode: Mode, **changes: Any) -> SideFacts:
    facts = SideFacts(mode, connection(mode), (product(mode),), (key(mode),), probed_at=START)
    return replace(facts, **changes)


NOTHING_LIVE = SideFacts(Mode.LIVE)
TEST, LIVE = Mode.TEST, Mode.LIVE


def traffic(mode: Mode, **seen: Any) -> dict[str, Any]:
    return {"traffic": TrafficFacts(**seen)}


def codes(facts: ProjectFacts, mode: Mode) -> list[str]:
    return [finding.code for finding in findings(facts, mode)]


def sighted(about: str, at: Any = LATER, detail: str = "") -> tuple[SightingFacts, ...]:
    return (SightingFacts(about, 3, at, detail),)


def new_subjects(count: int, gone: int) -> dict[str, Any]:
    """A side whose default product brought so many, and so many of them are gone."""
    some = NewSubjects(count, gone, ("9f1c", "a" * 50), LATER)
    return {"products": (product(TEST), free(TEST)), **traffic(TEST, new_subjects=some)}


def con(**changes: Any) -> dict[str, Any]:
    return {"connection": connection(TEST, **changes)}


def prod(**changes: Any) -> dict[str, Any]:
    return {"products": (product(TEST, **changes),)}


UNTRACKED = UntrackedFacts(1, 2, LATER)
EVENT = (EventSeen("evt_9", LATER, "Something of note."),)
ALSO_BOUGHT = (EventSeen("evt_9", LATER, "Also bought, without a product: price_new."),)
LEGACY_PLAN = (EventSeen("evt_9", LATER, "Also bought, without a product: gold21323."),)
UNMAPPED = (UnmappedPrice("price_new", "prod_new", 2, LATER),)
IMAGES, PAGES = IncludedFacts("images", "1,000 each month"), IncludedFacts("pages", "20 each period")
PACK: dict[str, Any] = {"kind": "usage_pack", "units": 5, "interval": None}
TWIN = replace(ENDPOINT, id="we_2")

ONE_SIDE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("aligned", {}, []),
    ("nothing at all", {"connection": None, "products": (), "keys": ()}, ["connection_missing"]),
    ("no connection", {"connection": None}, ["connection_missing"]),
    ("secret only", con(key_masked=None, key_saved_at=None), ["connection_missing"]),
    (
        "a publishable key was pasted",
        {
            "connection": None,
            **traffic(TEST, credentials_refused=sighted("publishable_key_as_key", detail="stripe_key")),
        },
        ["connection_missing", "credential_refused"],
    ),
    (
        "a paste that was made good",
        traffic(TEST, credentials_refused=sighted("publishable_key_as_key", detail="stripe_key")),
        [],
    ),
    (
        "a key pasted as secret",
        {
            **con(secret_masked=None, secret_saved_at=None, proven_at=None),
            **traffic(TEST, credentials_refused=sighted("secret_key_as_secret", detail="webhook_secret")),
        },
        ["webhook_secret_missing", "credential_refused"],
    ),
    ("key of live", con(key_masked="sk_live_…4242"), ["stripe_key_of_other_mode"]),
    ("restricted key of live", con(key_masked="rk_live_…4242"), ["stripe_key_of_other_mode"]),
    ("publishable key stored", con(key_masked="pk_test_…4242"), ["stripe_key_unusable"]),
    ("price id stored", con(key_masked="price_1…4242"), ["stripe_key_unusable"]),
    ("locked out", con(locked_out=True), ["credentials_locked"]),
    ("rejected", con(key_accepted=Seen(False, START)), ["stripe_key_rejected"]),
    ("acceptance unknown", con(key_accepted=None), []),
    (
        "permission",
        con(missing_permissions=Seen(("rak_plan_read",), START)),
        ["stripe_permission_missing"],
    ),
    (
        "two permissions",
        con(missing_permissions=Seen(("rak_plan_read", "rak_event_read"), START)),
        ["stripe_permission_missing"] * 2,
    ),
    (
        "account permission",
        con(missing_permissions=Seen(("rak_accounts_kyc_basic_read",), START)),
        ["stripe_account_unreadable"],
    ),
    ("permissions unknown", con(missing_permissions=None), []),
    ("cannot charge", con(charges_enabled=False), ["account_cannot_charge"]),
    ("may charge", con(charges_enabled=True), []),
    ("charging unknown", con(charges_enabled=None), []),
    ("no secret", con(secret_masked=None, secret_saved_at=None), ["webhook_secret_missing"]),
    ("no secret where events are fetched", fetching(fetched_at=LATER), []),
    ("no event fetched yet", fetching(next_at=LATER), []),
    (
        "one fetch failed",
        fetching(fetched_at=START + timedelta(minutes=4), problem="Stripe did not answer."),
        [],
    ),
    ("fetches fail", fetching(fetched_at=START, problem="Stripe did not answer."), ["events_not_fetched"]),
    ("fetches have always failed", fetching(problem="Stripe did not answer."), ["events_not_fetched"]),
    ("nobody fetches", fetching(fetched_at=START, next_at=START), ["events_not_fetched"]),
    (
        "a key that may not read events",
        fetching(fetched_at=LATER, problem="The key lacks a permission.", permission="rak_event_read"),
        ["events_not_fetched"],
    ),
    ("unproven", con(proven_at=None), ["webhook_never_proven"]),
    ("proven before the secret", con(secret_saved_at=LATER), ["webhook_never_proven"]),
    (
        "failures",
        traffic(TEST, signature_failures=sighted("unknown")),
        ["webhook_signature_failed"],
    ),
    (
        "failures before the last good one",
        traffic(TEST, signature_failures=sighted("unknown", at=START + timedelta(seconds=30))),
        [],
    ),
    (
        "failures before the secret",
        {
            **con(secret_saved_at=LATER, proven_at=LATER),
            **traffic(TEST, signature_failures=sighted("unknown")),
        },
        [],
    ),
    ("old secret", traffic(TEST, signature_failures=sighted("previous")), ["webhook_signature_failed"]),
    ("key as secret", traffic(TEST, signature_failures=sighted("stripe_key")), ["webhook_signature_failed"]),
    (
        "secret of live",
        traffic(TEST, signature_failures=sighted("other_mode")),
        ["webhook_secret_of_other_mode"],
    ),
    (
        "ambiguous",
        traffic(TEST, ambiguous_signatures=sighted("con_test")),
        ["webhook_signature_ambiguous"],
    ),
    ("no endpoint", con(endpoints=Seen((), START)), ["endpoint_missing"]),
    ("no endpoint, unreachable", con(endpoints=Seen((), START), reachable=False), []),
    ("endpoints unknown", con(endpoints=None), []),
    (
        "disabled",
        con(endpoints=Seen((replace(ENDPOINT, enabled=False),), START)),
        ["endpoint_disabled"],
    ),
    (
        "lacks events",
        con(endpoints=Seen((replace(ENDPOINT, events=frozenset({"a"})),), START)),
        ["endpoint_lacks_events"],
    ),
    ("all events", con(endpoints=Seen((replace(ENDPOINT, events=frozenset({"*"})),), START)), []),
    (
        "old version",
        con(endpoints=Seen((replace(ENDPOINT, api_version="2020-08-27"),), START)),
        ["endpoint_version_differs"],
    ),
    ("twice", con(endpoints=Seen((ENDPOINT, TWIN), START)), ["endpoint_twice"]),
    (
        "a bad endpoint next to a good one",
        con(endpoints=Seen((ENDPOINT, replace(TWIN, enabled=False)), START)),
        ["endpoint_twice"],
    ),
    ("price unknown at Stripe", prod(missing=Seen(True, START)), ["price_not_found"]),
    (
        "price of live, looked up there",
        prod(missing=Seen(True, START), in_other_mode=True),
        ["price_mode_mismatch"],
    ),
    ("price never looked up", prod(missing=None), []),
    ("price of live", prod(livemode=True), ["price_mode_mismatch"]),
    ("archived", prod(sellable=False), ["price_inactive"]),
    ("archived and gone", prod(sellable=False, missing=Seen(True, START)), ["price_not_found"]),
    ("shape", prod(interval=None), ["price_kind_mismatch"]),
    ("shape of a pack", prod(kind="usage_pack"), ["price_kind_mismatch"]),
    (
        "price mapped twice",
        {"products": (product(TEST), product(TEST, id="prd_2", product_code="PRO2"))},
        ["price_mapped_twice"],
    ),
    ("no key", {"keys": ()}, ["api_key_missing"]),
    ("only a key that reads", {"keys": (key(TEST, for_backends=False),)}, ["api_key_missing"]),
    (
        "a backend's key, and an unused one that reads",
        {"keys": (key(TEST), key(TEST, for_backends=False, last_used_at=None))},
        [],
    ),
    (
        "a used key that reads",
        {"keys": (key(TEST, last_used_at=None), key(TEST, for_backends=False))},
        ["api_key_never_used"],
    ),
    ("only a revoked key", {"keys": (key(TEST, revoked_at=START),)}, ["api_key_missing"]),
    ("no key and no product", {"keys": (), "products": ()}, []),
    ("key never used", {"keys": (key(TEST, last_used_at=None),)}, ["api_key_never_used"]),
    ("a spare key", {"keys": (key(TEST), key(TEST, id="key_2", last_used_at=None))}, []),
    ("browser", traffic(TEST, browser_calls=sighted("key_test")), ["api_key_in_browser"]),
    (
        "browser, and the key revoked since",
        {
            "keys": (key(TEST), key(TEST, id="key_2", revoked_at=LATER)),
            **traffic(TEST, browser_calls=sighted("key_2")),
        },
        [],
    ),
    (
        "revoked key used",
        {
            "keys": (key(TEST), key(TEST, id="key_2", revoked_at=START)),
            **traffic(TEST, revoked_key_calls=sighted("key_2")),
        },
        ["revoked_key_used"],
    ),
    (
        "price id sent",
        traffic(TEST, price_ids_sent=sighted("key_test", detail="price_test")),
        ["price_id_sent"],
    ),
    (
        "price id sent, then a product",
        traffic(
            TEST,
            price_ids_sent=sighted("key_test", detail="price_test"),
            checkouts={"PRO": LATER + timedelta(seconds=1)},
        ),
        [],
    ),
    (
        "product of live asked",
        traffic(TEST, other_mode_products=sighted("GOLD")),
        ["product_of_other_mode_asked"],
    ),
    ("product made since", traffic(TEST, other_mode_products=sighted("PRO")), []),
    ("untracked", traffic(TEST, untracked=UNTRACKED), ["untracked_checkout"]),
    ("outside", traffic(TEST, outside=SubscriptionsOutside(2, START)), ["subscriptions_outside"]),
    ("event of live", traffic(TEST, wrong_mode_events=EVENT), ["event_of_other_mode"]),
    (
        "event of live before the secret",
        {**con(secret_saved_at=LATER, proven_at=LATER), **traffic(TEST, wrong_mode_events=EVENT)},
        [],
    ),
    (
        "events of other accounts",
        traffic(TEST, wrong_account_events=(*EVENT, *EVENT)),
        ["event_of_other_account"],
    ),
    (
        "event of another account before the secret",
        {**con(secret_saved_at=LATER, proven_at=LATER), **traffic(TEST, wrong_account_events=EVENT)},
        [],
    ),
    (
        "paid unheard",
        traffic(TEST, unheard_payments=Seen(("att_1",), START)),
        ["paid_without_event"],
    ),
    ("unmapped price", traffic(TEST, unmapped_prices=UNMAPPED), ["price_not_mapped"]),
    ("thin events", traffic(TEST, thin_events=EVENT), ["thin_events_received"]),
    (
        "thin events before the secret",
        {**con(secret_saved_at=LATER, proven_at=LATER), **traffic(TEST, thin_events=EVENT)},
        [],
    ),
    ("bought without product", traffic(TEST, unmapped_lines=ALSO_BOUGHT), ["bought_without_product"]),
    ("bought a legacy plan", traffic(TEST, unmapped_lines=LEGACY_PLAN), ["bought_without_product"]),
    (
        "bought without product, mapped since",
        {
            "products": (product(TEST), product(TEST, product_code="NEW", stripe_price_id="price_new")),
            **traffic(TEST, unmapped_lines=ALSO_BOUGHT),
        },
        [],
    ),
    (
        "unmapped price, mapped since and not read yet",
        {
            "products": (product(TEST), product(TEST, product_code="NEW", stripe_price_id="price_new")),
            **traffic(TEST, unmapped_prices=UNMAPPED),
        },
        ["price_not_mapped"],
    ),
    ("unknown status", traffic(TEST, unknown_statuses=EVENT), ["unknown_subscription_status"]),
    ("not applied", traffic(TEST, unapplied_events=EVENT), ["event_not_applied"]),
    (
        "unreadable",
        traffic(TEST, unreadable_objects=sighted("sub_1", detail="Stripe is away.")),
        ["stripe_object_unreadable"],
    ),
    (
        "outbound",
        traffic(TEST, failing_endpoints=(OutboundFacts("whe_1", "https://a.example", START),)),
        ["outbound_endpoint_failing"],
    ),
    ("subjects that never come back", new_subjects(100, 90), ["many_new_subjects"]),
    ("subjects of whom some come back", new_subjects(100, 89), []),
    ("few new subjects", new_subjects(99, 99), []),
    ("new subjects of no default product", traffic(TEST, new_subjects=NewSubjects(100, 100)), []),
    (
        "subjects before it was fixed",
        {"resolved": {"many_new_subjects": LATER}, **new_subjects(100, 100)},
        [],
    ),
    (
        "marked as fixed",
        {
            "resolved": {"untracked_checkout": LATER},
            **traffic(TEST, untracked=UNTRACKED),
        },
        [],
    ),
    (
        "seen again since",
        {
            "resolved": {"untracked_checkout": START},
            **traffic(TEST, untracked=UNTRACKED),
        },
        ["untracked_checkout"],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in ONE_SIDE], ids=[r[0] for r in ONE_SIDE])
def test_one_change_to_an_aligned_test_side(changes: dict[str, Any], expected: list[str]) -> None:
    facts = ProjectFacts(LATER, side(TEST, **changes), NOTHING_LIVE)
    assert codes(facts, TEST) == expected
    assert codes(facts, LIVE) == []


BOTH_SIDES: list[tuple[str, dict[str, Any], dict[str, Any], list[str], list[str]]] = [
    ("aligned", {}, {}, [], []),
    ("another account", {}, {"connection": connection(LIVE, account_id="acct_2")}, [], ["accounts_differ"]),
    (
        "an account that one key may not read",
        {},
        {"connection": connection(LIVE, account_id=None)},
        [],
        [],
    ),
    (
        "the same secret",
        {"connection": connection(TEST, shares_secret=True)},
        {"connection": connection(LIVE, shares_secret=True)},
        [],
        ["webhook_secret_shared"],
    ),
    (
        "product in test only",
        {"products": (product(TEST), product(TEST, product_code="GOLD", stripe_price_id="price_2"))},
        {},
        [],
        ["product_only_in_one_mode"],
    ),
    (
        "product in live only",
        {},
        {"products": (product(LIVE), product(LIVE, product_code="GOLD", stripe_price_id="price_2"))},
        ["product_only_in_one_mode"],
        [],
    ),
    ("another amount", {}, {"products": (product(LIVE, unit_amount=1),)}, [], ["product_differs"]),
    ("another currency", {}, {"products": (product(LIVE, currency="eur"),)}, [], ["product_differs"]),
    ("another interval", {}, {"products": (product(LIVE, interval="year"),)}, [], ["product_differs"]),
    ("another count", {}, {"products": (product(LIVE, interval_count=3),)}, [], ["product_differs"]),
    (
        "another unit",
        {"products": (product(TEST, **PACK, unit="images"),)},
        {"products": (product(LIVE, **PACK, unit="units"),)},
        [],
        ["product_differs"],
    ),
    ("other limits", {}, {"products": (product(LIVE, limits={"a": 1}),)}, [], ["product_differs"]),
    ("limits that add", {}, {"products": (product(LIVE, adds=True),)}, [], ["product_differs"]),
    (
        "another default product",
        {"products": (product(TEST), free(TEST, limits={"a": None}))},
        {"products": (product(LIVE), free(LIVE, is_default=False, limits={"a": 0}))},
        [],
        ["product_differs"],
    ),
    (
        "the same default product, which has no price",
        {"products": (product(TEST), free(TEST))},
        {"products": (product(LIVE), free(LIVE))},
        [],
        [],
    ),
    (
        "another kind",
        {},
        {"products": (product(LIVE, **PACK),)},
        [],
        ["product_differs"],
    ),
    (
        "the same included units in another sequence",
        {"products": (product(TEST, included=(IMAGES, PAGES)),)},
        {"products": (product(LIVE, included=(PAGES, IMAGES)),)},
        [],
        [],
    ),
    (
        "other included units",
        {"products": (product(TEST, included=(IMAGES, PAGES)),)},
        {"products": (product(LIVE, included=(replace(IMAGES, terms="5 each day"), PAGES)),)},
        [],
        ["included_units_differ"],
    ),
    (
        "included units that test lacks",
        {},
        {"products": (product(LIVE, included=(IMAGES,)),)},
        [],
        ["included_units_differ"],
    ),
    (
        "only a live key, used",
        {},
        {"connection": None, "products": ()},
        [],
        ["connection_missing", "live_key_used_early", "product_only_in_one_mode"],
    ),
    (
        "live account",
        {},
        {"connection": connection(LIVE, charges_enabled=False)},
        [],
        ["account_cannot_charge"],
    ),
    (
        "live asks for a test product, then test sells it",
        {"traffic": TrafficFacts(checkouts={"GOLD": LATER + timedelta(seconds=1)})},
        {"traffic": TrafficFacts(other_mode_products=sighted("GOLD"))},
        [],
        [],
    ),
]


@pytest.mark.parametrize(
    ("test", "live", "in_test", "in_live"), [r[1:] for r in BOTH_SIDES], ids=[r[0] for r in BOTH_SIDES]
)
def test_one_change_to_two_aligned_sides(
    test: dict[str, Any], live: dict[str, Any], in_test: list[str], in_live: list[str]
) -> None:
    facts = ProjectFacts(LATER, side(TEST, **test), side(LIVE, **live))
    assert codes(facts, TEST) == in_test
    assert codes(facts, LIVE) == in_live


def test_differing_units_are_named_with_their_terms() -> None:
    test = side(TEST, products=(product(TEST, included=(IMAGES,)),))
    live = side(LIVE, products=(product(LIVE, included=(PAGES,)),))
    (found,) = findings(ProjectFacts(LATER, test, live), LIVE)
    assert found.evidence == (
        "images: 1,000 each month in test mode, none in live mode; "
        "pages: none in test mode, 20 each period in live mode."
    )


def test_every_rule_is_in_the_tables() -> None:
    told = {code for row in ONE_SIDE for code in row[2]} | {
        code for row in BOTH_SIDES for code in (*row[3], *row[4])
    }
    assert told == {rule.code for rule in RULES}


def test_nothing_is_compared_while_nothing_live_exists() -> None:
    test = side(TEST, connection=connection(TEST, shares_secret=True))
    live = replace(NOTHING_LIVE, traffic=TrafficFacts(untracked=UNTRACKED))
    assert codes(ProjectFacts(LATER, test, live), LIVE) == []


def test_what_stops_selling_comes_first() -> None:
    facts = side(
        TEST, connection=None, keys=(key(TEST, last_used_at=None),), **traffic(TEST, unmapped_prices=UNMAPPED)
    )
    found = [finding.severity for finding in findings(ProjectFacts(LATER, facts, NOTHING_LIVE), TEST)]
    assert found == [Severity.BLOCKS, Severity.WARNS, Severity.NOTES]


def test_an_account_that_is_not_activated_stops_live_and_no_test() -> None:
    unable = {mode: side(mode, connection=connection(mode, charges_enabled=False)) for mode in (TEST, LIVE)}
    facts = ProjectFacts(LATER, unable[TEST], unable[LIVE])
    found = {mode: [(each.code, each.severity) for each in findings(facts, mode)] for mode in (TEST, LIVE)}
    assert found == {
        TEST: [("account_cannot_charge", Severity.NOTES)],
        LIVE: [("account_cannot_charge", Severity.BLOCKS)],
    }


@pytest.mark.parametrize("row", ONE_SIDE, ids=[row[0] for row in ONE_SIDE])
def test_a_finding_says_what_was_seen_why_it_matters_and_how_it_is_mended(row: Any) -> None:
    for finding in findings(ProjectFacts(LATER, side(TEST, **row[1]), NOTHING_LIVE), TEST):
        for sentence in (finding.evidence, finding.cause, finding.fix):
            assert len(sentence) > 10
        assert finding.path("prj_1").startswith("/projects/prj_1/test/")
