"""Letting things happen at an account of the embedded sandbox, and asking what may happen next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from licenzy.errors import LicenzyError, StripeError
from licenzy.stripe_gateway.sandbox_accounts import (
    sandbox_client,
    stock_sandbox_account,
    worded_failures,
)


@dataclass(frozen=True, slots=True)
class SandboxControl:
    """One account of the sandbox, with what lets us move it."""

    base: str
    control_token: str = field(repr=False)
    account_id: str


@dataclass(frozen=True, slots=True)
class Offer:
    """An action of the sandbox, with the ids it needs; `reason` says why it may not happen now."""

    action: str
    reason: str | None
    named: dict[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A price that a subscription may change to."""

    price: str
    name: str
    amount: int | None
    currency: str
    interval: str
    interval_count: int


@dataclass(frozen=True, slots=True)
class SandboxPurchase:
    """What a Checkout Session sold, as the sandbox has it."""

    url: str | None
    """The hosted payment page, while the session waits for its buyer."""
    offers: dict[str, Offer]
    plans: list[Plan]
    renews_in: int | None = None
    """In how many seconds of the account's time it renews; none when it does not."""
    others_renew_in: tuple[int, ...] = ()
    """The same of every other subscription of the account."""


@dataclass(frozen=True, slots=True)
class ClockMove:
    """A move of the account's clock: `percent` of the way is done, and `problem` says why it ended early."""

    is_over: bool
    percent: int
    problem: str | None
    events: list[GivenOff]
    """Those of the purchase, and the clock's."""


@dataclass(frozen=True, slots=True)
class ExistingCustomers:
    """Subscriptions and guests' sessions made elsewhere, each as the sandbox lists it."""

    subscriptions: list[dict[str, Any]]
    """`subscription`, `customer`, `email`, `metadata`, `status`, `stripe_price_id` of the first item, and
    `stripe_price_ids`."""
    sessions: list[dict[str, Any]]
    """`session`, `email`, `client_reference_id`, `stripe_price_id`, `refunded`, `disputed`."""


@dataclass(frozen=True, slots=True)
class GivenOff:
    """An event that an action gave off; `sent` is how often it was posted to endpoints."""

    id: str
    type: str
    sent: int


def purchase_at_sandbox(control: SandboxControl, *, session_id: str) -> SandboxPurchase:
    """What may happen to a purchase now. Raises StripeUnavailable, StripeTimeout, StripeError."""
    answer = _ask(control, "GET", f"purchases/{session_id}")
    with worded_failures():
        return SandboxPurchase(
            url=answer["url"],
            offers={offer["action"]: Offer(**offer) for offer in answer["offers"]},
            plans=[Plan(**plan) for plan in answer["plans"]],
            renews_in=answer["renews_in"],
            others_renew_in=tuple(answer["others_renew_in"]),
        )


def act_at_sandbox(control: SandboxControl, action: str, *, delivery: str, **named: Any) -> list[GivenOff]:
    """Let something happen; the events that it gave off, in their order.

    `delivery` is `in_order`, `twice`, `last_first` or `never`. Raises StripeError with the sandbox's own
    sentence when it refuses, and StripeUnavailable or StripeTimeout.
    """
    answer = _ask(control, "POST", "actions", {"action": action, "delivery": delivery, **named})
    with worded_failures():
        return _given_off(answer, delivery)


def fill_sandbox_account(control: SandboxControl, *, api_key: str, count: int) -> None:
    """Complete the account to `count` subscriptions made elsewhere over two years, 1 to 50,000, with their
    prices; what is there already stays.

    Raises StripeError, StripeUnavailable and StripeTimeout; called again, it goes on.
    """
    prices = stock_sandbox_account(control.base, api_key=api_key, sold_before=True)
    monthly, yearly, team, storage, classic, credits_1000 = (
        prices[f"licenzy_demo_{name}"]
        for name in (
            "pro_monthly",
            "pro_yearly",
            "team_monthly",
            "extra_storage",
            "classic_monthly",
            "credits_1000",
        )
    )
    order = {
        "count": count,
        "plans": [[monthly], [yearly], [monthly], [team], [monthly, storage], [monthly], [yearly]],
        "other_plans": [[classic]],
        "one_time": [credits_1000],
    }
    total = 0
    while total < count:
        answer = _ask(control, "POST", "existing", order)
        with worded_failures():
            total = int(answer["total"])


def existing_at_sandbox(control: SandboxControl) -> ExistingCustomers:
    """What `fill_sandbox_account` made, in that order. Raises like it."""
    subscriptions: list[dict[str, Any]] = []
    sessions: list[dict[str, Any]] = []
    after: int | None = -1
    while after is not None:
        answer = _ask(control, "GET", f"existing?after={after}")
        with worded_failures():
            subscriptions += answer["subscriptions"]
            sessions += answer["sessions"]
            after = answer["after"]
    return ExistingCustomers(subscriptions, sessions)


def console_link(control: SandboxControl) -> str:
    """An address that opens the account's console for some minutes, in the browser that follows it.

    Raises StripeError, StripeUnavailable and StripeTimeout.
    """
    answer = _ask(control, "POST", "console_links")
    with worded_failures():
        return str(answer["url"])


def begin_clock_move(
    control: SandboxControl, action: str, *, move_id: str, session_id: str, delivery: str, **named: Any
) -> None:
    """Begin to move the clock; the sandbox goes on by itself, and `clock_move` says how far it is.

    Raises StripeError with the sandbox's own sentence when it refuses, and StripeUnavailable or
    StripeTimeout; after these two it may have begun all the same.
    """
    body = {"id": move_id, "action": action, "session": session_id, "delivery": delivery, **named}
    _ask(control, "POST", "advances", body)


def clock_move(control: SandboxControl, *, move_id: str, delivery: str) -> ClockMove | None:
    """A move of the clock as it stands; None when the sandbox knows none of this id.

    Raises StripeError, StripeUnavailable and StripeTimeout.
    """
    answer = _ask(control, "GET", f"advances/{move_id}", may_be_missing=True)
    if answer is None:
        return None
    with worded_failures():
        return ClockMove(
            is_over=answer["status"] != "advancing",
            percent=int(answer["percent"]),
            problem=answer["problem"],
            events=_given_off(answer, delivery),
        )


def _given_off(answer: Any, delivery: str) -> list[GivenOff]:
    # Posts that are lost on purpose are counted as posted by the sandbox, but nobody will see them.
    posted = {} if delivery == "never" else answer["posted"]
    return [GivenOff(event["id"], event["type"], posted.get(event["id"], 0)) for event in answer["emitted"]]


def _ask(
    control: SandboxControl,
    method: str,
    what: str,
    body: dict[str, Any] | None = None,
    *,
    may_be_missing: bool = False,
) -> Any:
    with worded_failures(), sandbox_client(control.base) as client:
        answer = client.request(
            method,
            f"/_sandbox/accounts/{control.account_id}/{what}",
            headers={"Authorization": f"Bearer {control.control_token}"},
            json=body,
        )
        if may_be_missing and answer.status_code == 404:
            return None
        if (refusal := _refusal(answer)) is not None:
            raise refusal
        return answer.raise_for_status().json()


def _refusal(answer: httpx.Response) -> LicenzyError | None:
    """What the sandbox says against it, when it is an answer in Stripe's shape."""
    if answer.status_code not in {400, 404}:
        return None
    try:
        return StripeError(str(answer.json()["error"]["message"])[:300], hint="")
    except (ValueError, KeyError, TypeError):
        return None
