"""Letting something happen to a purchase at the sandbox, and remembering what was held just before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import change_row
from licenzy.errors import (
    LicenzyError,
    NotFound,
    StripeError,
    StripeNotConnected,
    StripeTimeout,
    StripeUnavailable,
)
from licenzy.kit.clock import Clock
from licenzy.kit.ids import new_id
from licenzy.kit.money import format_amount
from licenzy.kit.secret_box import SecretBox
from licenzy.lab.models import LabStep
from licenzy.lab.queries import (
    all_running_steps,
    arrivals,
    holdings_of,
    purchase_in_lab,
    running_steps,
    sandbox_connection,
    steps_of,
)
from licenzy.lab.scenarios import (
    ADVANCES,
    CHANGE_PLAN,
    DELIVERIES,
    RECONCILE,
    RENEWALS_IN_TIME,
    SCENARIOS,
    SEND_AGAIN,
    USE_UNITS,
)
from licenzy.lab.units import use_units
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import EVENTS_KEPT, reconcile
from licenzy.reconciliation.walk import Report
from licenzy.settings import Settings
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.stripe_gateway.sandbox_control import (
    GivenOff,
    Plan,
    SandboxControl,
    SandboxPurchase,
    act_at_sandbox,
    begin_clock_move,
    clock_move,
    console_link,
    purchase_at_sandbox,
)
from licenzy.subjects.models import Subject
from licenzy.usage.actions import ReserveRequest
from licenzy.usage.results import Refused
from licenzy.usage.rules import MAX_UNITS

_BEGINS_WITHIN = timedelta(seconds=30)
"""Far longer than a call of the sandbox may take: what it does not know by then, it was never asked for."""


class NotNow(LicenzyError):
    """What was asked for cannot happen to this purchase as it stands."""

    code, status = "not_possible_now", 409


@dataclass(frozen=True, slots=True)
class Lab:
    """The parts of the installation that the lab needs."""

    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    clock: Clock
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Bench:
    """What a step begins from."""

    connection: Connection
    attempt: CheckoutAttempt
    before: dict[str, Any]
    sent_last: list[dict[str, Any]]
    """The events of the step before that were sent to us."""
    seen: dict[str, int]
    """How often each of these has arrived."""


def possibilities(lab: Lab, scope: Scope, *, attempt_id: str) -> SandboxPurchase:
    """What may happen to a purchase now, as the sandbox tells. Raises NotFound and Stripe's errors."""
    with lab.database.read() as db:
        connection, attempt = purchase_in_lab(db, scope, attempt_id=attempt_id)
    return purchase_at_sandbox(_control(lab, connection), session_id=_session(attempt))


def console_address(lab: Lab, scope: Scope) -> str:
    """A link to the sandbox's console that works for some minutes. Raises NotFound and Stripe's errors."""
    with lab.database.read() as db:
        connection = sandbox_connection(db, scope)
    if connection is None:
        raise NotFound("This mode is not connected to the sandbox.")
    return console_link(_control(lab, connection))


def let_happen(
    lab: Lab,
    scope: Scope,
    *,
    attempt_id: str,
    action: str,
    delivery: str = "in_order",
    price: str | None = None,
    unit: str | None = None,
    units: int | None = None,
) -> LabStep:
    """Let `action` happen, its webhooks arriving as `delivery` says.

    `price` is the plan to change to; `unit` and `units` are what to use.

    Raises NotFound for names that the lab does not have, NotNow with the reason, and Stripe's errors.
    """
    if action not in SCENARIOS or delivery not in DELIVERIES:
        raise NotFound("This action does not exist in the lab.")
    follow_clocks(lab, scope)
    with lab.database.read() as db:
        if running_steps(db, scope):
            raise NotNow("The account’s clock is still moving. Wait until it stops.")
        begun = _begin(db, lab, scope, attempt_id=attempt_id)
    if action in ADVANCES or action in RENEWALS_IN_TIME:
        return _move_clock(lab, begun, action, delivery)
    detail: str | None = None
    events: list[GivenOff] = []
    if action == RECONCILE:
        detail = _reconciled_text(_reconcile(lab, begun.connection))
    elif action == USE_UNITS:
        detail = _use(lab, begun, unit, units)
    elif action == SEND_AGAIN:
        events, delivery = _send_again(lab, begun), "in_order"
    else:
        events, detail = _offered(lab, begun, action, delivery, price)
    return _remember(lab, begun, action, delivery if events else "in_order", detail, events)


def follow_clocks(lab: Lab, scope: Scope | None = None) -> int:
    """Note how far the clocks under way have moved, of one side or of all; how many there were.

    A step is over when the sandbox says so, whoever asks: the page, the next step or the worker.
    """
    with lab.database.read() as db:
        steps = running_steps(db, scope) if scope else all_running_steps(db)
    for step in steps:
        try:
            _follow(lab, step)
        except LicenzyError:
            continue  # The sandbox is away; the next round asks again.
    return len(steps)


def _move_clock(lab: Lab, begun: _Bench, action: str, delivery: str) -> LabStep:
    """Record the step, then begin it: however this process ends, the step is followed to its end."""
    control = _control(lab, begun.connection)
    session_id = _session(begun.attempt)
    purchase = purchase_at_sandbox(control, session_id=session_id)
    named: dict[str, Any] = {}
    name = action
    if action in ADVANCES:
        name, named["seconds"] = "advance_clock", ADVANCES[action]
    elif (reason := purchase.offers[action].reason) is not None:
        raise NotNow(reason)
    else:
        named.update(purchase.offers[action].named)
    step = _remember(lab, begun, action, delivery, jump_words(purchase, action), [], progress=0)
    try:
        begin_clock_move(control, name, move_id=step.id, session_id=session_id, delivery=delivery, **named)
    except (StripeTimeout, StripeUnavailable):
        return step  # Its answer is lost, so it may have begun. Whoever follows it finds out.
    except StripeError:  # The sandbox refused it.
        with lab.database.write() as db:
            db.delete(db.get_one(LabStep, (step.project_id, step.mode, step.id)))
        raise
    return step


def jump_words(purchase: SandboxPurchase, action: str) -> str | None:
    """What a button does to the account's clock and to other subscriptions; None if it moves no clock."""
    seconds = ADVANCES.get(action) or (purchase.renews_in if action in RENEWALS_IN_TIME else None)
    if seconds is None:
        return None
    others = sum(1 for due in purchase.others_renew_in if due <= seconds)
    moves = f"Moves the account’s clock {duration_words(seconds)}."
    if not others:
        return moves
    return f"{moves} {others:,} other subscription{' renews' if others == 1 else 's renew'} too."


def duration_words(seconds: int) -> str:
    """A duration in its largest whole unit, days at most: `31 days`."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := round(seconds / size)) >= 1:
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "a moment"


def _follow(lab: Lab, step: LabStep) -> None:
    with lab.database.read() as db:
        connection = sandbox_connection(db, Scope.of(step))
    now = lab.clock()
    if connection is None or connection.account_id is None or not lab.settings.sandbox:
        _finish(lab, step, now, problem="The sandbox is no longer connected.")
        return
    move = clock_move(_control(lab, connection), move_id=step.id, delivery=step.delivery)
    if move is None:
        if now - step.performed_at > _BEGINS_WITHIN:
            _finish(lab, step, now, problem="The sandbox did not start this step.")
    elif move.is_over:
        _finish(lab, step, now, problem=move.problem, events=move.events)
    else:
        with lab.database.write() as db:
            seen = {"mode": step.mode, "id": step.id, "progress": step.progress}
            change_row(db, LabStep, {"project_id": step.project_id, **seen}, {"progress": move.percent})


def _finish(
    lab: Lab, step: LabStep, now: datetime, *, problem: str | None, events: Sequence[GivenOff] = ()
) -> None:
    columns = {
        "progress": None,
        "finished_at": now,
        "problem": problem,
        "events": [{"id": each.id, "type": each.type, "sent": each.sent, "seen": 0} for each in events],
    }
    with lab.database.write() as db:
        kept = db.get(LabStep, (step.project_id, step.mode, step.id), with_for_update=True)
        if kept is not None and kept.progress is not None:
            kept.sqlmodel_update(columns)
            db.add(kept)


def _begin(db: Session, lab: Lab, scope: Scope, *, attempt_id: str) -> _Bench:
    connection, attempt = purchase_in_lab(db, scope, attempt_id=attempt_id)
    steps = steps_of(db, scope, attempt_id=attempt_id)
    now = connection.scope.now(lab.clock)
    before = holdings_of(db, scope, subject_id=attempt.subject_id, now=now).as_json()
    sent_last = [event for event in (steps[-1].events if steps else []) if event["sent"]]
    arrived = arrivals(db, scope, event_ids=[event["id"] for event in sent_last])
    seen = {event_id: arrival.seen for event_id, arrival in arrived.items()}
    return _Bench(connection, attempt, before, sent_last, seen)


def _offered(
    lab: Lab, begun: _Bench, action: str, delivery: str, price: str | None
) -> tuple[list[GivenOff], str | None]:
    """Do what the sandbox offers, with the ids that it named."""
    control = _control(lab, begun.connection)
    purchase = purchase_at_sandbox(control, session_id=_session(begun.attempt))
    offer = purchase.offers[action]
    if offer.reason is not None:
        raise NotNow(offer.reason)
    named: dict[str, str] = dict(offer.named)
    detail = None
    if action == CHANGE_PLAN:
        plan = next((plan for plan in purchase.plans if plan.price == price), None)
        if plan is None:
            raise NotNow("Choose one of the plans that are offered.")
        named["price"], detail = plan.price, plan_words(plan)
    return act_at_sandbox(control, action, delivery=delivery, **named), detail


def _use(lab: Lab, begun: _Bench, unit: str | None, units: int | None) -> str:
    if not unit or units is None or not 1 <= units <= MAX_UNITS:
        raise NotNow(f"Enter a whole number of units, from 1 to {MAX_UNITS:,}.")
    scope = begun.connection.scope
    with lab.database.read() as db:
        subject = db.get_one(
            Subject, (begun.attempt.project_id, begun.attempt.mode, begun.attempt.subject_id)
        )
    wish = ReserveRequest(subject.subject_ref, units, ttl_seconds=60, unit=unit)
    done = use_units(lab.database, scope, wish=wish, called_at=lab.clock())
    if isinstance(done, Refused):
        raise NotNow(f"Only {done.remaining:,} {unit} are left. Nothing was used.")
    return f"{units:,} {unit}. {done.remaining:,} left."


def plan_words(plan: Plan) -> str:
    """`Pro, yearly for $120.00 a year`."""
    every = plan.interval if plan.interval_count == 1 else f"{plan.interval_count} {plan.interval}s"
    amount = format_amount(plan.amount, plan.currency) if plan.amount is not None else "a varying amount"
    return f"{plan.name}, {amount} every {every}"


def _send_again(lab: Lab, begun: _Bench) -> list[GivenOff]:
    if not begun.sent_last:
        raise NotNow("The last step sent no events.")
    control = _control(lab, begun.connection)
    for event in begun.sent_last:
        act_at_sandbox(control, "resend_event", delivery="twice", event=event["id"])
    return [GivenOff(event["id"], event["type"], 2) for event in begun.sent_last]


def _reconcile(lab: Lab, connection: Connection) -> Report:
    since = lab.clock() - EVENTS_KEPT
    return reconcile(
        lab.database, lab.gateway, lab.secret_box, connection=connection, clock=lab.clock, since=since
    )


def _reconciled_text(report: Report) -> str:
    if not report.repaired:
        return "Nothing was missing."
    if report.events_missed == 1:
        return "One event had not arrived. It is applied now."
    return f"{report.events_missed} events had not arrived. They are applied now."


def _remember(
    lab: Lab,
    begun: _Bench,
    action: str,
    delivery: str,
    detail: str | None,
    events: list[GivenOff],
    *,
    progress: int | None = None,
) -> LabStep:
    with lab.database.write() as db:
        step = LabStep(
            id=new_id("stp"),
            project_id=begun.attempt.project_id,
            mode=begun.attempt.mode,
            attempt_id=begun.attempt.id,
            action=action,
            delivery=delivery,
            detail=detail,
            events=[
                {"id": event.id, "type": event.type, "sent": event.sent, "seen": begun.seen.get(event.id, 0)}
                for event in events
            ],
            before=begun.before,
            performed_at=lab.clock(),
            progress=progress,
        )
        db.add(step)
    return step


def _session(attempt: CheckoutAttempt) -> str:
    assert attempt.stripe_checkout_session_id is not None, "only such are in the lab"
    return attempt.stripe_checkout_session_id


def _control(lab: Lab, connection: Connection) -> SandboxControl:
    if not lab.settings.sandbox or connection.account_id is None:
        raise StripeNotConnected("The built-in sandbox is switched off.")
    token = lab.settings.derived_secret("sandbox control")
    return SandboxControl(lab.settings.sandbox_url, token, connection.account_id)
