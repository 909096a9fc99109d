from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from licenzy.alignment.facts import (
    ConnectionFacts,
    EndpointSeen,
    FetchFacts,
    KeyFacts,
    ProductFacts,
    ProjectFacts,
    Seen,
    SideFacts,
)
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.models import Provider
from licenzy.setup.facts import EventFacts, JourneyFacts, SetupFacts
from licenzy.setup.journey import PATIENCE, WATCHED, TickState, timeline
from licenzy.setup.rules import Step, StepName, StepState, current, done_count, steps
from licenzy.setup.webhook_wait import silence
from licenzy.stripe_events.models import EventStatus
from tests.support.clock import START
from tests.support.product_facts import changed, product_facts

CONNECTED = ConnectionFacts(
    id="con_1",
    provider=Provider.STRIPE,
    key_masked="sk_test_…4242",
    key_saved_at=START,
    account_id="acct_1",
    account_name="Tea",
    charges_enabled=True,
    secret_masked=None,
    secret_saved_at=None,
    endpoint_id=None,
    proven_at=None,
    last_event_id=None,
)
FETCHING = replace(CONNECTED, fetch=FetchFacts())
FETCHED = replace(CONNECTED, fetch=FetchFacts(fetched_at=START))
FORBIDDEN = replace(
    CONNECTED, fetch=FetchFacts(problem="It lacks a permission.", permission="rak_event_read")
)
SECRET = replace(CONNECTED, secret_masked="whsec_…9f3c", secret_saved_at=START)
PROVEN = replace(SECRET, proven_at=START + timedelta(minutes=1), last_event_id="evt_1")
PRODUCT = product_facts()
KEY = KeyFacts("key_1", "backend", "lz_test_…a1B2", START, None)
EVENT = EventFacts("evt_1", "checkout.session.completed", EventStatus.APPLIED, None, START)
OPEN = JourneyFacts(
    attempt_id="att_1",
    subject_ref="user_1",
    product_code="PRO",
    status=AttemptStatus.OPEN,
    reason=None,
    created_at=START,
    session_id="cs_test_1",
    checkout_url="https://pay.example.com/1",
    expires_at=None,
    event=None,
    entitlement_id=None,
    granted_at=None,
    allowed=False,
    refusal="no_entitlement",
    last_event_at=None,
)
GRANTED = replace(
    OPEN,
    status=AttemptStatus.PAID,
    event=EVENT,
    entitlement_id="ent_1",
    granted_at=START,
    allowed=True,
    refusal=None,
)
FRESH = SetupFacts(Mode.TEST, START, None, (), (), None, other_side_connected=False)
DONE = SetupFacts(Mode.TEST, START, PROVEN, (PRODUCT,), (replace(KEY, last_used_at=START),), GRANTED, False)


def listed(facts: SetupFacts) -> list[Step]:
    """The steps with what alignment finds about the same facts."""
    here = SideFacts(facts.mode, facts.connection, facts.products, facts.keys)
    sides = {facts.mode: here, facts.mode.other: SideFacts(facts.mode.other)}
    project = ProjectFacts(facts.now, sides[Mode.TEST], sides[Mode.LIVE])
    return steps(facts, findings(project, facts.mode))


def state_of(name: StepName, facts: SetupFacts) -> StepState:
    return listed(facts)[name.number - 1].state


def test_a_fresh_project_begins_at_the_first_step() -> None:
    shown = listed(FRESH)
    assert [step.number for step in shown] == [1, 2, 3, 4, 5, 6]
    assert {step.state for step in shown[:5]} == {StepState.NEEDS_ACTION}
    assert current(shown).name is StepName.CONNECT
    assert done_count(shown) == 0


def test_a_free_product_alone_is_nothing_to_sell() -> None:
    free = ProductFacts("prd_2", "FREE", "free", START)
    alone = listed(replace(FRESH, products=(free,)))[StepName.PRODUCTS.number - 1]
    assert (alone.state, alone.evidence) == (StepState.NEEDS_ACTION, "No product with a price yet.")
    both = listed(replace(DONE, products=(free, PRODUCT)))[StepName.PRODUCTS.number - 1]
    assert both.state is StepState.DONE
    assert "FREE" not in both.evidence


def test_a_proven_project_is_done_and_goes_on_with_going_live() -> None:
    shown = listed(DONE)
    assert {step.state for step in shown[:5]} == {StepState.DONE}
    assert all(step.at is not None for step in shown[:5])
    assert current(shown).name is StepName.GO_LIVE
    assert shown[-1].state is StepState.NEEDS_ACTION


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        (StepName.CONNECT, {"connection": CONNECTED}, StepState.DONE),
        (StepName.CONNECT, {"connection": replace(CONNECTED, key_masked=None)}, StepState.NEEDS_ACTION),
        (StepName.WEBHOOK, {"connection": CONNECTED}, StepState.NEEDS_ACTION),
        (StepName.WEBHOOK, {"connection": SECRET}, StepState.WAITING),
        (StepName.WEBHOOK, {"connection": FETCHING}, StepState.WAITING),
        (StepName.WEBHOOK, {"connection": FETCHED}, StepState.DONE),
        (StepName.WEBHOOK, {"connection": FETCHED, "now": START + timedelta(minutes=3)}, StepState.WAITING),
        (StepName.WEBHOOK, {"connection": FORBIDDEN}, StepState.NEEDS_ACTION),
        (StepName.WEBHOOK, {"connection": PROVEN}, StepState.DONE),
        # An event that came before the present secret was saved proves nothing about this one.
        (
            StepName.WEBHOOK,
            {"connection": replace(PROVEN, secret_saved_at=START + timedelta(hours=1))},
            StepState.WAITING,
        ),
        (StepName.PRODUCTS, {"products": (PRODUCT,)}, StepState.DONE),
        (StepName.PRODUCTS, {"products": (changed(PRODUCT, sellable=False),)}, StepState.DRIFTED),
        (StepName.API_KEY, {"keys": (KEY,)}, StepState.WAITING),
        (StepName.API_KEY, {"keys": (KEY, replace(KEY, last_used_at=START))}, StepState.DONE),
        (StepName.PURCHASE, {"journey": OPEN}, StepState.WAITING),
        (StepName.PURCHASE, {"journey": GRANTED}, StepState.DONE),
        (StepName.PURCHASE, {"journey": replace(OPEN, status=AttemptStatus.FAILED)}, StepState.NEEDS_ACTION),
        (StepName.GO_LIVE, {"other_side_connected": True}, StepState.WAITING),
        (StepName.GO_LIVE, {}, StepState.WAITING),
    ],
)
def test_each_step_is_judged_by_its_evidence(
    name: StepName, changes: dict[str, Any], expected: StepState
) -> None:
    assert state_of(name, replace(FRESH, **changes)) is expected


def test_what_only_waits_does_not_hold_up_the_steps_after_it() -> None:
    facts = replace(FRESH, connection=SECRET)
    assert current(listed(facts)).name is StepName.PRODUCTS


SEEN = START + timedelta(hours=1)
ENDPOINT = EndpointSeen("we_1", "https://us.example.com", True, "v", frozenset({"*"}))
LISTED = replace(
    PROVEN, wanted_version="v", endpoint_id="we_1", endpoints=Seen((replace(ENDPOINT, enabled=False),), SEEN)
)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            StepName.CONNECT,
            {"connection": replace(PROVEN, key_accepted=Seen(False, SEEN))},
            "Stripe key rejected",
        ),
        (StepName.WEBHOOK, {"connection": LISTED}, "Webhook endpoint disabled in Stripe (we_1)"),
        (
            StepName.PRODUCTS,
            {"products": (PRODUCT, changed(PRODUCT, product_code="OLD", sellable=False))},
            "Stripe price archived (OLD",
        ),
    ],
)
def test_a_step_that_was_done_drifts_when_what_proved_it_is_no_longer_so(
    name: StepName, changes: dict[str, Any], says: str
) -> None:
    shown = listed(replace(DONE, **changes))
    step = shown[name.number - 1]
    assert step.state is StepState.DRIFTED
    assert says in step.evidence
    assert step.at is not None
    assert current(shown) is step
    assert [each.state for each in shown[:5]].count(StepState.DONE) == 4


def test_what_never_worked_has_not_drifted() -> None:
    facts = replace(DONE, connection=replace(LISTED, proven_at=None))
    assert state_of(StepName.WEBHOOK, facts) is StepState.NEEDS_ACTION


def test_what_is_only_at_risk_unproves_nothing() -> None:
    lacking = replace(LISTED, endpoints=Seen((replace(ENDPOINT, events=frozenset()),), SEEN))
    facts = replace(DONE, connection=replace(lacking, wanted_events=frozenset({"invoice.paid"})))
    assert state_of(StepName.WEBHOOK, facts) is StepState.DONE


LOCAL = replace(SECRET, reachable=False)


@pytest.mark.parametrize(
    ("connection", "waited", "code"),
    [
        (SECRET, timedelta(seconds=44), None),
        (SECRET, PATIENCE, "nothing_happened_at_stripe"),
        (LOCAL, timedelta(seconds=44), None),
        (LOCAL, PATIENCE, "stripe_listen_not_running"),
        (replace(LISTED, proven_at=None), timedelta(0), "endpoint_disabled"),
        (replace(LISTED, proven_at=None, endpoints=Seen((), SEEN)), timedelta(0), "endpoint_missing"),
        (PROVEN, PATIENCE, None),
        (CONNECTED, PATIENCE, None),
        (None, PATIENCE, None),
    ],
)
def test_silence_has_a_cause_at_once_when_it_is_certain_and_after_45_seconds_when_not(
    connection: ConnectionFacts | None, waited: timedelta, code: str | None
) -> None:
    side = SideFacts(Mode.TEST, connection)
    found = findings(ProjectFacts(START, side, SideFacts(Mode.LIVE)), Mode.TEST)
    cause = silence(connection, found, waiting_since=START, now=START + waited)
    assert (cause and cause.code) == code


@pytest.mark.parametrize(
    ("waited", "expected"),
    [
        (timedelta(0), 1500),
        (PATIENCE, 5000),
        (WATCHED - timedelta(seconds=1), 5000),
        (WATCHED, None),
    ],
)
def test_a_page_looks_again_more_slowly_and_then_no_more(waited: timedelta, expected: int | None) -> None:
    assert timeline(OPEN, PROVEN, START + waited).poll_again_ms == expected
    assert timeline(GRANTED, PROVEN, START + waited).poll_again_ms is None


def test_a_live_account_that_cannot_charge_is_not_done() -> None:
    facts = replace(FRESH, mode=Mode.LIVE, connection=replace(CONNECTED, charges_enabled=False))
    assert state_of(StepName.CONNECT, facts) is StepState.DRIFTED


def test_live_that_worked_and_lacks_something_since_is_no_longer_true() -> None:
    working = replace(
        DONE,
        mode=Mode.LIVE,
        connection=replace(PROVEN, key_masked="sk_live_…4242"),
        products=(changed(PRODUCT, livemode=True),),
    )
    assert listed(working)[-1].state is StepState.DONE
    broken = listed(replace(working, products=()))[-1]
    assert (broken.state, broken.evidence) == (
        StepState.DRIFTED,
        "It worked before. Fix: Products.",
    )


def ticks(journey: JourneyFacts, connection: ConnectionFacts | None = SECRET) -> list[str]:
    return [tick.state.value for tick in timeline(journey, connection, START).ticks]


@pytest.mark.parametrize(
    ("journey", "expected"),
    [
        (
            replace(OPEN, session_id=None, status=AttemptStatus.CREATED),
            "current waiting waiting waiting waiting",
        ),
        (OPEN, "done current waiting waiting waiting"),
        (replace(OPEN, event=EVENT), "done done done current waiting"),
        (replace(GRANTED, allowed=False), "done done done done failed"),
        (GRANTED, "done done done done done"),
        (replace(OPEN, status=AttemptStatus.FAILED, reason="expired"), "done failed waiting waiting waiting"),
    ],
)
def test_the_timeline_ticks_as_things_happen(journey: JourneyFacts, expected: str) -> None:
    assert ticks(journey) == expected.split()


def test_a_line_says_what_is_awaited_or_what_went_wrong() -> None:
    failed = replace(OPEN, status=AttemptStatus.FAILED, reason="expired")
    titles = [
        [tick.title for tick in timeline(each, SECRET, START).ticks if tick.state in state]
        for each, state in ((OPEN, {TickState.CURRENT}), (failed, {TickState.FAILED}))
    ]
    assert titles == [["Waiting for the payment"], ["Not paid"]]


def test_nobody_claims_a_signature_of_an_event_that_was_fetched() -> None:
    fetched = replace(GRANTED, event=replace(EVENT, fetched=True))
    for journey, connection in ((OPEN, FETCHED), (fetched, FETCHED), (fetched, PROVEN)):
        titles = [tick.title for tick in timeline(journey, connection, START).ticks]
        assert "Read from Stripe" in titles
        assert "Signature verified" not in titles
    delivered = [tick.title for tick in timeline(GRANTED, FETCHED, START).ticks]
    assert "Signature verified" in delivered


def test_only_what_happened_has_evidence() -> None:
    for tick in timeline(OPEN, SECRET, START).ticks:
        assert (tick.evidence is not None) is (tick.state is TickState.DONE)


@pytest.mark.parametrize(
    ("journey", "connection", "code"),
    [
        (OPEN, CONNECTED, "webhook_secret_missing"),
        (OPEN, None, "webhook_secret_missing"),
        (OPEN, FETCHED, "not_paid_yet"),
        (OPEN, FORBIDDEN, "events_not_fetched"),
        (OPEN, SECRET, "webhook_never_proven"),
        (OPEN, replace(SECRET, provider=Provider.SANDBOX), "not_paid_yet"),
        (OPEN, PROVEN, "not_paid_yet"),
        (replace(OPEN, last_event_at=START), SECRET, "not_paid_yet"),
        (replace(OPEN, session_id=None), PROVEN, "stripe_did_not_answer"),
        (replace(OPEN, session_id=None, reason="resource_missing"), PROVEN, "stripe_refused"),
        (replace(OPEN, event=EVENT), PROVEN, "nothing_granted"),
        (replace(OPEN, event=replace(EVENT, status=EventStatus.WRONG_MODE)), PROVEN, "event_of_other_mode"),
        (
            replace(OPEN, event=replace(EVENT, status=EventStatus.WRONG_ACCOUNT)),
            PROVEN,
            "event_of_other_account",
        ),
        (replace(OPEN, event=replace(EVENT, status=EventStatus.FAILED)), PROVEN, "event_failed"),
        (replace(OPEN, event=EVENT, status=AttemptStatus.PROCESSING), PROVEN, "awaiting_payment"),
        (replace(GRANTED, allowed=False, refusal="expired"), PROVEN, "not_available"),
        (replace(OPEN, status=AttemptStatus.FAILED, reason="expired"), PROVEN, "session_expired"),
        (replace(OPEN, status=AttemptStatus.FAILED, reason="payment_failed"), PROVEN, "payment_failed"),
        (replace(OPEN, status=AttemptStatus.FAILED, reason="x"), PROVEN, "attempt_failed"),
    ],
)
def test_after_45_seconds_the_likely_cause_is_named(
    journey: JourneyFacts, connection: ConnectionFacts | None, code: str
) -> None:
    cause = timeline(journey, connection, START + PATIENCE).cause
    assert cause is not None
    assert cause.code == code


@pytest.mark.parametrize("journey", [OPEN, replace(OPEN, event=EVENT), replace(OPEN, session_id=None)])
def test_before_that_it_only_waits(journey: JourneyFacts) -> None:
    line = timeline(journey, PROVEN, START + PATIENCE - timedelta(microseconds=1))
    assert line.cause is None
    assert not line.over


@pytest.mark.parametrize(
    ("journey", "complete", "over"),
    [
        (OPEN, False, False),
        (GRANTED, True, True),
        (replace(GRANTED, allowed=False), False, True),
        (replace(OPEN, status=AttemptStatus.FAILED), False, True),
        (replace(GRANTED, status=AttemptStatus.FAILED), True, True),
    ],
)
def test_when_there_is_nothing_more_to_wait_for(journey: JourneyFacts, complete: bool, over: bool) -> None:
    line = timeline(journey, PROVEN, START)
    assert (line.complete, line.over) == (complete, over)


def test_a_complete_purchase_has_no_cause() -> None:
    assert timeline(GRANTED, PROVEN, START + timedelta(days=9)).cause is None
