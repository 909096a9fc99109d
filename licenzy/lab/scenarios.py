"""What can be let happen in the lab, in words for people who have never seen Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CHANGE_PLAN: Final = "change_plan"
USE_UNITS: Final = "use_units"
SEND_AGAIN: Final = "send_again"
RECONCILE: Final = "reconcile"

ADVANCES: Final[dict[str, int]] = {
    "advance_hour": 3600,
    "advance_day": 86_400,
    "advance_month": 31 * 86_400,
}
"""How many seconds each of these moves the account's clock forward."""

RENEWALS_IN_TIME: Final = ("renew_in_time", "fail_renewal_in_time")
"""These move the clock to the end of the period."""

DELIVERIES: Final[dict[str, str]] = {
    "in_order": "As usual",
    "twice": "Each event twice",
    "last_first": "In reverse order",
    "never": "Never",
}
"""How the webhooks of what happens next arrive."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One button of the lab."""

    name: str
    label: str
    description: str
    """What it stands for in real life."""
    icon: str
    done: str
    """The label as something that has happened."""


@dataclass(frozen=True, slots=True)
class ScenarioGroup:
    """Buttons that belong together."""

    name: str
    title: str
    scenarios: tuple[Scenario, ...]
    passing: bool = False
    """Shown only while something in it can happen: what is over for good would only be in the way."""


GROUPS: Final = (
    ScenarioGroup(
        "buying",
        "Buying",
        (
            Scenario("pay_session", "Pay", "The buyer pays by card.", "credit-card", "Paid by card"),
            Scenario(
                "pay_session_later",
                "Pay by bank debit",
                "The checkout completes, and the money arrives days later.",
                "hourglass",
                "Paid by slow bank debit",
            ),
            Scenario(
                "settle_session",
                "The debit arrives",
                "The bank sends the money.",
                "check",
                "The debit arrived",
            ),
            Scenario("fail_session", "The debit fails", "The bank sends nothing.", "x", "The debit failed"),
            Scenario(
                "expire_session",
                "Let it expire",
                "Nobody pays, and the payment page closes.",
                "clock",
                "The payment page expired",
            ),
        ),
        passing=True,
    ),
    ScenarioGroup(
        "renewing",
        "Renewals",
        (
            Scenario(
                "renew_in_time",
                "Renew",
                "Time passes to the period’s end, and the card is charged.",
                "refresh",
                "Renewed",
            ),
            Scenario(
                "fail_renewal_in_time",
                "Fail the renewal",
                "Time passes to the period’s end, and the card is declined.",
                "alert-triangle",
                "The renewal failed",
            ),
            Scenario(
                "recover",
                "Recover",
                "The customer fixes the card and pays what is owed.",
                "circle-check",
                "The payment recovered",
            ),
        ),
    ),
    ScenarioGroup(
        "leaving",
        "Cancellation and resumption",
        (
            Scenario(
                "cancel_at_period_end",
                "Cancel at period end",
                "The customer cancels, and has access until the paid period ends.",
                "logout",
                "Canceled at period end",
            ),
            Scenario("keep", "Keep it after all", "The customer stays.", "arrow-left", "Kept after all"),
            Scenario(
                "cancel", "Cancel now", "The subscription ends at once.", "circle-x", "Canceled at once"
            ),
            Scenario("pause", "Pause", "Nothing is charged, and there is no access.", "moon", "Paused"),
            Scenario("resume", "Resume", "A new period begins and is paid.", "sun", "Resumed"),
        ),
    ),
    ScenarioGroup(
        "refunds",
        "Refunds",
        (
            Scenario(
                "refund_partially",
                "Refund half",
                "A part of the payment is refunded.",
                "receipt",
                "Half was refunded",
            ),
            Scenario("refund", "Refund all", "The last payment is refunded.", "receipt", "Refunded in full"),
            Scenario(
                "fail_refund",
                "The refund fails",
                "The bank sends the refund back to you.",
                "rotate-clockwise",
                "The refund failed",
            ),
        ),
    ),
    ScenarioGroup(
        "disputes",
        "Disputes",
        (
            Scenario(
                "inquire", "Inquiry", "The bank asks first. No money moves.", "eye", "An inquiry was opened"
            ),
            Scenario(
                "escalate_inquiry",
                "Escalate",
                "The inquiry turns into a dispute.",
                "alert-circle",
                "The inquiry escalated",
            ),
            Scenario(
                "dispute", "Dispute", "The customer reports the payment as fraud.", "alert-circle", "Disputed"
            ),
            Scenario(
                "win_dispute", "Win", "The bank decides for you.", "shield-check", "The dispute was won"
            ),
            Scenario(
                "lose_dispute", "Lose", "The bank decides for the customer.", "x", "The dispute was lost"
            ),
        ),
    ),
    ScenarioGroup(
        "time",
        "Time",
        (
            Scenario(
                "advance_hour",
                "An hour later",
                "Everything due until then happens.",
                "clock",
                "An hour later",
            ),
            Scenario(
                "advance_day", "A day later", "Everything due until then happens.", "clock", "A day later"
            ),
            Scenario(
                "advance_month",
                "A month later",
                "31 days, with any renewal due in them.",
                "clock",
                "A month later",
            ),
        ),
    ),
    ScenarioGroup(
        "webhooks",
        "Webhooks",
        (
            Scenario(
                SEND_AGAIN,
                "Resend the last events, twice",
                "Stripe may repeat events. Nothing counts twice.",
                "webhook",
                "The last events were resent, twice",
            ),
            Scenario(
                RECONCILE,
                "Reconcile with Stripe",
                "Licenzy checks with Stripe for missed events.",
                "history",
                "Reconciled with Stripe",
            ),
        ),
    ),
)

SCENARIOS: Final = {
    **{scenario.name: scenario for group in GROUPS for scenario in group.scenarios},
    CHANGE_PLAN: Scenario(
        CHANGE_PLAN, "Change the plan", "The customer switches to another price.", "bolt", "The plan changed"
    ),
    USE_UNITS: Scenario(
        USE_UNITS,
        "Use",
        "Your backend consumes them, all or none.",
        "bolt",
        "Units were used",
    ),
}
"""All of them by name, those included whose buttons are made from the prices and units that there are."""
