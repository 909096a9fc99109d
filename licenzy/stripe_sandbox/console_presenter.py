"""The console's tables: what each row says, and which buttons make sense for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from licenzy.stripe_sandbox import allowed_actions
from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.allowed_actions import AllowedActions
from licenzy.stripe_sandbox.lifecycle.subscriptions import period_end
from licenzy.stripe_sandbox.version import Json

SHOWN = 25
SHOWN_EVENTS = 40
CLOCK_STEPS = (
    ("1 hour", 3600),
    ("1 day", 86400),
    ("1 week", 604800),
    ("31 days", 31 * 86400),
    ("1 year", 366 * 86400),
)

LABELS = {
    "advance_clock": "Clock advanced",
    "cancel": "Cancel now",
    "cancel_at_period_end": "Cancel at period end",
    "dispute": "Dispute",
    "escalate_inquiry": "Escalate",
    "expire_session": "Expire",
    "fail_refund": "Refund fails",
    "fail_renewal": "Fail renewal",
    "fail_session": "Debit fails",
    "inquire": "Inquiry",
    "keep": "Keep",
    "lose_dispute": "Lose",
    "pause": "Pause",
    "recover": "Recover",
    "refund": "Refund",
    "refund_partially": "Refund half",
    "renew": "Renew",
    "resend_event": "Resend",
    "resume": "Resume",
    "settle_session": "Debit succeeds",
    "win_dispute": "Win",
}

TONES = {
    **dict.fromkeys(("renew", "recover", "resume", "settle_session", "win_dispute"), "good"),
    **dict.fromkeys(("fail_renewal", "cancel", "fail_session", "fail_refund", "lose_dispute"), "bad"),
    **dict.fromkeys(("dispute", "inquire", "escalate_inquiry"), "bad"),
}


@dataclass(frozen=True)
class Button:
    """One form: its action, the id that goes with it, and how it looks."""

    action: str
    names: str
    id: str
    tone: str = ""

    @property
    def label(self) -> str:
        return LABELS[self.action]


@dataclass
class Row:
    body: Json
    note: str = ""
    buttons: list[Button] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)


def subscriptions(account_session: AccountSession) -> list[Row]:
    rows = []
    for body in account_session.select("subscription", limit=SHOWN):
        buttons = _buttons(allowed_actions.for_subscription(body), "subscription", body["id"])
        item = body["items"]["data"][0]
        told = {"period_end": period_end(body), "price": item["price"], "quantity": item.get("quantity", 1)}
        rows.append(Row(body, _product_name(account_session, item["price"]), buttons, told))
    return rows


def payments(account_session: AccountSession) -> list[Row]:
    rows = []
    for body in account_session.select("charge", limit=SHOWN):
        refunds, dispute = allowed_actions.history_of(account_session, body)
        rows.append(
            Row(
                body,
                body["description"] or "",
                _of_charge(body, refunds, dispute),
                {"refunds": refunds, "dispute": dispute},
            )
        )
    return rows


def sessions(account_session: AccountSession) -> list[Row]:
    rows = []
    for body in account_session.select("checkout.session", limit=SHOWN):
        buttons = _buttons(allowed_actions.for_session(body), "session", body["id"])
        rows.append(Row(body, ", ".join(line["description"] for line in body["_lines"]), buttons))
    return rows


def events(account_session: AccountSession) -> list[Row]:
    rows = []
    for body in account_session.select("event", limit=SHOWN_EVENTS):
        row = Row(body, body["data"]["object"]["id"], [Button("resend_event", "event", body["id"])])
        row.told["posts"] = posts(account_session, body["id"])
        rows.append(row)
    return rows


def posts(account_session: AccountSession, event_id: str) -> list[Json]:
    """Where the event went, with what came of it; endpoints since deleted are shown by their id."""
    found = account_session.db.execute(
        "SELECT * FROM posts WHERE scope = ? AND event = ? ORDER BY number",
        (account_session.account.scope, event_id),
    ).fetchall()
    told = []
    for row in found:
        endpoint = account_session.find("webhook_endpoint", row["endpoint"])
        told.append({**dict(row), "url": endpoint["url"] if endpoint else row["endpoint"]})
    return told


def _of_charge(body: Json, refunds: list[Json], dispute: Json | None) -> list[Button]:
    """What fails is a refund, what is won or lost a dispute; all else is about the charge."""
    allowed = allowed_actions.for_charge(body, refunds, dispute)
    of_refund = {"fail_refund": allowed.pop("fail_refund")}
    of_dispute = {a: allowed.pop(a) for a in ("win_dispute", "lose_dispute", "escalate_inquiry")}
    return [
        *_buttons(allowed, "charge", body["id"]),
        *(_buttons(of_refund, "refund", refunds[0]["id"]) if refunds else []),
        *(_buttons(of_dispute, "dispute", dispute["id"]) if dispute else []),
    ]


def _buttons(allowed: AllowedActions, names: str, id_: str) -> list[Button]:
    return [
        Button(action, names, id_, TONES.get(action, ""))
        for action, reason in allowed.items()
        if reason is None and action in LABELS
    ]


def _product_name(account_session: AccountSession, price: Json) -> str:
    product = account_session.find_any(price["product"]) or {}
    return str(product.get("name") or price["product"])
