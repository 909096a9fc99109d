"""What each button of the lab does: over HTTP to the sandbox, back by signed webhooks, into entitlements."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from sqlmodel import select

from licenzy.catalog.models import Product
from licenzy.errors import NotFound, StripeError, StripeUnavailable
from licenzy.kit.ids import new_id
from licenzy.lab.actions import NotNow, follow_clocks, jump_words, let_happen, possibilities
from licenzy.lab.models import LabStep
from licenzy.lab.queries import Bench, sandbox_connection
from licenzy.lab.rules import EventFate
from licenzy.lab.scenarios import ADVANCES, CHANGE_PLAN, SCENARIOS
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_gateway.sandbox_control import (
    SandboxControl,
    SandboxPurchase,
    begin_clock_move,
    clock_move,
)
from tests.conftest import LiveServer
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast, make_connection, make_key
from tests.support.playground import Playground, make_playground
from tests.support.ports import free_port_pair, wait_until
from tests.support.sizes import LARGE_ON_SQLITE
from tests.support.threads import join

pytestmark = pytest.mark.slow


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    return make_playground(live_server.runtime, cast)


def access_of(found: Bench) -> tuple[bool, str | None, str]:
    return found.current.allowed, found.current.reason, found.current.status


@pytest.fixture
def runtime(live_server: LiveServer) -> Runtime:
    """That of the server, which runs on real time."""
    return live_server.runtime


@LARGE_ON_SQLITE
def test_a_subscription_lives_through_it_all(playground: Playground) -> None:
    attempt = playground.checkout()
    assert access_of(playground.bench(attempt)) == (False, "no_entitlement", "none")
    bought = playground.let("pay_session", attempt)
    assert access_of(bought) == (True, None, "active")
    assert [d.what for d in bought.steps[0].differences] == ["check", "status", "valid_until"]
    first_end = bought.current.valid_until
    assert first_end is not None

    renewed = playground.let("renew_in_time", attempt)
    assert access_of(renewed) == (True, None, "active")
    assert renewed.current.valid_until is not None
    assert renewed.current.valid_until > first_end
    assert timedelta(hours=1) <= renewed.current.at - first_end < timedelta(minutes=61), "paid an hour later"

    failed = playground.let("fail_renewal_in_time", attempt)
    assert access_of(failed) == (False, "past_due", "past_due")
    assert access_of(playground.let("recover", attempt)) == (True, None, "active")
    assert access_of(playground.let("refund_partially", attempt)) == (True, None, "active")
    assert access_of(playground.let("refund", attempt)) == (False, "refunded", "past_due")
    assert access_of(playground.let("fail_refund", attempt)) == (True, None, "active")
    assert access_of(playground.let("dispute", attempt)) == (False, "disputed", "past_due")
    assert access_of(playground.let("win_dispute", attempt)) == (True, None, "active")
    assert access_of(playground.let("pause", attempt)) == (False, "paused", "paused")
    assert access_of(playground.let("resume", attempt)) == (True, None, "active")

    leaving = playground.let("cancel_at_period_end", attempt)
    assert access_of(leaving) == (True, None, "active")
    assert leaving.current.owned[0].cancels_at is not None
    assert playground.let("keep", attempt).current.owned[0].cancels_at is None
    assert access_of(playground.let("cancel", attempt)) == (False, "canceled", "canceled")
    numbers = [step.number for step in playground.bench(attempt).steps]
    assert numbers == sorted(numbers, reverse=True)


@LARGE_ON_SQLITE
def test_months_are_a_strip_of_windows(playground: Playground, live_server: LiveServer, cast: Cast) -> None:
    with playground.runtime.database.write() as db:
        (product,) = db.exec(select(Product).where(Product.product_code == "PRO_MONTHLY")).all()
        rollover = {"at_most": 20}
        product.included = [{"unit": "images", "units": 100, "every": "period", "rollover": rollover}]
        db.add(product)
        _key, token = make_key(db, project_id=cast.project_id)
    attempt = playground.bought()

    def strip() -> list[tuple[int, int, int | None]]:
        (owned,) = playground.bench(attempt).current.owned
        return [(each.remaining, each.granted, each.forfeited) for each in owned.windows]

    def consume(units: int) -> int:
        answer = httpx.post(
            f"{live_server.url}/v1/usage/consume",
            json={"subject_ref": "user_lab", "units": units, "unit": "images"},
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": new_id("x")},
        )
        return answer.status_code

    assert strip() == [(100, 100, None)]
    assert consume(30) == 200
    assert strip() == [(70, 100, None)]
    renewed = playground.let("renew_in_time", attempt)
    # Of the 70 that were left 20 are carried over.
    assert strip() == [(70, 100, 50), (120, 120, None)]
    assert ("included", "PRO_MONTHLY, images", (70, 100), (120, 120)) in [
        (d.what, d.about, d.before, d.after) for d in renewed.steps[0].differences
    ]
    page = side_pages(live_server.app, cast).get(f"/lab/{attempt}").text
    assert "120 of 120 images left" in page
    assert 'aria-label="2 windows of images so far"' in page
    playground.let("cancel", attempt)
    assert [each[0] for each in strip()] == [70, 120]
    # The step before keeps the strip that it left behind.
    page = side_pages(live_server.app, cast).get(f"/lab/{attempt}").text
    assert page.count('aria-label="2 windows of images so far"') == 2


def test_a_plan_changes_to_one_that_is_mapped_or_not(playground: Playground) -> None:
    attempt = playground.bought()
    plans = possibilities(playground.lab, playground.scope, attempt_id=attempt).plans
    yearly = next(plan for plan in plans if plan.interval == "year")
    changed = playground.let(CHANGE_PLAN, attempt, price=yearly.price)
    assert changed.steps[0].detail == f"{yearly.name}, $120.00 every year"
    with pytest.raises(NotNow, match="offered"):
        let_happen(playground.lab, playground.scope, attempt_id=attempt, action=CHANGE_PLAN, price="price_no")


def test_a_pass_runs_out_while_time_passes(playground: Playground) -> None:
    attempt = playground.bought("DAY_PASS")
    assert access_of(playground.let("advance_hour", attempt)) == (True, None, "active")
    assert access_of(playground.let("advance_day", attempt)) == (False, "expired", "expired")


def test_a_pack_is_lost_with_its_dispute(playground: Playground) -> None:
    attempt = playground.checkout("CREDITS_1000")
    bought = playground.let("pay_session", attempt)
    assert [(d.what, d.after) for d in bought.steps[0].differences][-1] == ("units", 1000)
    inquired = playground.let("inquire", attempt)
    assert inquired.steps[0].differences == ()
    assert access_of(playground.let("escalate_inquiry", attempt))[:2] == (False, "disputed")
    assert access_of(playground.let("lose_dispute", attempt)) == (False, "disputed", "canceled")


def test_a_bank_debit_arrives_later(playground: Playground) -> None:
    attempt = playground.checkout("CREDITS_1000")
    assert access_of(playground.let("pay_session_later", attempt))[0] is False
    assert access_of(playground.let("settle_session", attempt))[0] is True


def test_a_webhook_is_lost_and_reconciling_finds_it(playground: Playground) -> None:
    attempt = playground.bought()
    lost = playground.let("cancel", attempt, delivery="never")
    assert lost.out_of_step
    assert access_of(lost) == (True, None, "active")
    assert {event.fate for event in lost.steps[0].events} == {EventFate.LOST}
    repaired = playground.let("reconcile", attempt)
    assert not repaired.out_of_step
    assert access_of(repaired) == (False, "canceled", "canceled")
    assert "applied now" in str(repaired.steps[0].detail)
    assert repaired.steps[0].differences[0].what == "check"
    assert {event.fate for event in repaired.steps[1].events} == {EventFate.FOUND}
    assert playground.let("reconcile", attempt).steps[0].detail == "Nothing was missing."


def test_a_lost_clock_is_found_too(playground: Playground) -> None:
    attempt = playground.bought("DAY_PASS")
    before = playground.bench(attempt).current.at
    playground.let("advance_month", attempt, delivery="never")
    assert playground.bench(attempt).current.at - before < timedelta(hours=1)
    repaired = playground.let("reconcile", attempt)
    assert repaired.current.at - before > timedelta(days=30)
    assert access_of(repaired)[:2] == (False, "expired")


@pytest.mark.parametrize("delivery", ["twice", "last_first"])
def test_however_webhooks_arrive_the_end_is_the_same(playground: Playground, delivery: str) -> None:
    attempt = playground.bought()
    end = playground.bench(attempt).current.valid_until
    renewed = playground.let("renew_in_time", attempt, delivery=delivery)
    assert access_of(renewed) == (True, None, "active")
    assert renewed.current.valid_until is not None
    assert end is not None
    assert renewed.current.valid_until > end
    times = {event.times for event in renewed.steps[0].events}
    assert times == ({2} if delivery == "twice" else {1})


def test_repeats_change_nothing(playground: Playground) -> None:
    attempt = playground.bought("CREDITS_1000")
    again = playground.let("send_again", attempt)
    assert again.steps[0].differences == ()
    assert {event.times for event in again.steps[0].events} == {2}
    assert {event.fate for event in again.steps[0].events} == {EventFate.ARRIVED}
    assert again.current.owned[0].units == 1000
    twice = playground.let("send_again", attempt)
    assert {event.fate for event in twice.steps[0].events} == {EventFate.ARRIVED}


def test_what_cannot_happen_is_refused_with_its_reason(playground: Playground) -> None:
    attempt = playground.bought()
    for action, reason in (("recover", "Nothing is owed"), ("resume", "not paused"), ("pay_session", "paid")):
        with pytest.raises(NotNow, match=reason):
            let_happen(playground.lab, playground.scope, attempt_id=attempt, action=action)
    fresh = playground.checkout()
    with pytest.raises(NotNow, match="sent no event"):
        let_happen(playground.lab, playground.scope, attempt_id=fresh, action="send_again")
    for action, delivery in (("steal", "in_order"), ("renew_in_time", "sideways")):
        with pytest.raises(NotFound):
            let_happen(playground.lab, playground.scope, attempt_id=attempt, action=action, delivery=delivery)


@LARGE_ON_SQLITE
def test_a_jump_of_a_year_renews_others_and_holds_up_no_purchase(playground: Playground) -> None:
    attempt = playground.bought(subject_ref="user_yearly")
    yearly = next(plan for plan in plans_of(playground, attempt).plans if plan.interval == "year")
    playground.let(CHANGE_PLAN, attempt, price=yearly.price)
    for number in range(OTHERS):
        playground.bought(subject_ref=f"user_{number}")
    words = jump_words(plans_of(playground, attempt), "renew_in_time")
    assert words == f"Moves the account’s clock 365 days. {OTHERS} other subscriptions renew too."

    step = let_happen(playground.lab, playground.scope, attempt_id=attempt, action="renew_in_time")
    assert step.detail == words
    assert playground.bench(attempt).steps[0].scenario.name == "renew_in_time", "recorded at once"
    wait_until(lambda: not playground.bench(attempt).clock_moving, seconds=30, what="the worker finishes it")
    bought = playground.bought(subject_ref="user_new")
    assert access_of(playground.bench(bought)) == (True, None, "active")
    over = playground.bench(attempt).steps[0]
    assert (over.progress, over.problem) == (None, None)
    assert {event.fate for event in over.events} == {EventFate.ARRIVED}


def test_nothing_else_happens_while_the_clock_moves(playground: Playground) -> None:
    attempt, other = playground.bought(), playground.bought(subject_ref="user_other")
    running = recorded_jump(playground, attempt, progress=40, ago=timedelta(0))
    for purchase in (attempt, other):
        with pytest.raises(NotNow, match="still moving"):
            let_happen(playground.lab, playground.scope, attempt_id=purchase, action="cancel")
        assert playground.bench(purchase).waiting
    assert playground.bench(attempt).steps[0].progress == 40
    with playground.runtime.database.write() as db:
        db.delete(db.get_one(LabStep, (playground.scope.project_id, playground.scope.mode, running)))


def test_a_jump_that_the_sandbox_never_began_ends_with_a_reason(playground: Playground) -> None:
    attempt = playground.bought()
    recorded_jump(playground, attempt, progress=0, ago=timedelta(minutes=1))
    assert follow_clocks(playground.lab) <= 1, "the worker may have been quicker"
    found = playground.bench(attempt)
    assert not found.clock_moving
    assert found.steps[0].problem == "The sandbox did not start this step."
    assert access_of(playground.let("cancel", attempt))[0] is False


def test_a_jump_that_the_sandbox_refuses_leaves_no_step(playground: Playground) -> None:
    attempt = playground.bought()
    control = SandboxControl(
        playground.lab.settings.sandbox_url,
        playground.lab.settings.derived_secret("sandbox control"),
        connection_account(playground),
    )
    with pytest.raises(StripeError, match="moves forward"):
        begin_clock_move(
            control,
            "advance_clock",
            move_id="stp_x",
            session_id=session_of(playground, attempt),
            delivery="never",
            seconds=10**9,
        )
    assert clock_move(control, move_id="stp_x", delivery="never") is None


@contextmanager
def answers_lost(sandbox_url: str, port: int) -> Iterator[list[str]]:
    """The sandbox behind a line that breaks once a jump has reached it; gives the addresses asked for."""
    asked_for: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            asked_for.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.request(
                self.command, sandbox_url + self.path, content=body, headers=headers, timeout=10
            )
            if self.command == "POST" and self.path.endswith("/advances"):
                self.close_connection = True
                return  # Nothing is sent back.
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = handle_any

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield asked_for
        server.shutdown()
        join(thread, seconds=5)


def test_a_jump_whose_answer_is_lost_is_recorded_and_followed(playground: Playground) -> None:
    attempt = playground.bought()
    port = free_port_pair()
    settings = replace(playground.lab.settings, port=port)
    with answers_lost(playground.lab.settings.sandbox_url, port + 1) as asked_for:
        lab = replace(playground.lab, settings=settings)
        step = let_happen(lab, playground.scope, attempt_id=attempt, action="advance_day")
    assert any(path.endswith("/advances") for path in asked_for)
    wait_until(lambda: not playground.bench(attempt).clock_moving, seconds=20, what="the clock arrives")
    newest = playground.bench(attempt).steps[0]
    assert (newest.scenario.name, newest.problem, step.action) == ("advance_day", None, "advance_day")


OTHERS = 3


def plans_of(playground: Playground, attempt_id: str) -> SandboxPurchase:
    return possibilities(playground.lab, playground.scope, attempt_id=attempt_id)


def connection_account(playground: Playground) -> str:
    with playground.runtime.database.read() as db:
        connection = sandbox_connection(db, playground.scope)
    assert connection is not None
    return str(connection.account_id)


def session_of(playground: Playground, attempt_id: str) -> str:
    return str(playground.bench(attempt_id).attempt.stripe_checkout_session_id)


def recorded_jump(playground: Playground, attempt_id: str, *, progress: int, ago: timedelta) -> str:
    """A step whose begin has not reached the sandbox, as a process leaves it that is cut off."""
    at = playground.runtime.clock()
    id_ = new_id("stp")
    with playground.runtime.database.write() as db:
        step = LabStep(
            id=id_,
            project_id=playground.project_id,
            mode=playground.scope.mode,
            attempt_id=attempt_id,
            action="advance_month",
            delivery="in_order",
            before=playground.bench(attempt_id).current.as_json(),
            performed_at=at - ago,
            progress=progress,
        )
        db.add(step)
    return id_


def test_every_button_is_offered_by_the_sandbox(playground: Playground) -> None:
    attempt = playground.checkout()
    offers = possibilities(playground.lab, playground.scope, attempt_id=attempt).offers
    own = {*ADVANCES, "use_units", "send_again", "reconcile"}
    assert set(SCENARIOS) - own <= set(offers)


def test_the_purchases_of_others_are_not_found(playground: Playground, cast: Cast) -> None:
    attempt = playground.bought()
    elsewhere = Scope(cast.stranger.project_id, playground.scope.mode)
    with pytest.raises(NotFound):
        let_happen(playground.lab, elsewhere, attempt_id=attempt, action="cancel")
    with playground.runtime.database.write() as db:
        make_connection(db, project_id=cast.stranger.project_id, secret_box=playground.runtime.secret_box)
    with pytest.raises(NotFound):
        possibilities(playground.lab, elsewhere, attempt_id=attempt)


def test_a_sandbox_that_is_away_leaves_no_step(playground: Playground, live_server: LiveServer) -> None:
    attempt = playground.bought()
    misplaced = playground.lab
    settings = misplaced.settings
    away = type(settings)(**{**{f: getattr(settings, f) for f in settings.__dataclass_fields__}, "port": 1})
    lab = type(misplaced)(misplaced.database, misplaced.gateway, misplaced.secret_box, misplaced.clock, away)
    with pytest.raises(StripeUnavailable, match="not running"):
        let_happen(lab, playground.scope, attempt_id=attempt, action="cancel")
    with live_server.runtime.database.read() as db:
        assert [step.action for step in db.exec(select(LabStep))] == ["pay_session"]
