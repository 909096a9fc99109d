"""The console's tables: what each row shows, and the buttons for its object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from licenzy.stripe_sandbox import allowed_actions
from licenzy.stripe_sandbox.account_store import AccountStore, Condition
from licenzy.stripe_sandbox.allowed_actions import AllowedActions
from licenzy.stripe_sandbox.due import next_renewal
from licenzy.stripe_sandbox.version import Json

ROWS_SHOWN = 25
EVENTS_SHOWN = 40
CLOCK_STEPS = (
    ("1 hour", 3600),
    ("1 day", 86400),
    ("1 week", 604800),
    ("31 days", 31 * 86400),
    ("1 year", 366 * 86400),
)

LABELS = {
    "advance_clock": "Advance clock",
    "cancel": "Cancel subscription",
    "cancel_at_period_end": "Cancel at period end",
    "dispute": "Open dispute",
    "escalate_inquiry": "Escalate to dispute",
    "expire_session": "Expire session",
    "fail_refund": "Fail refund",
    "fail_renewal": "Fail renewal",
    "fail_session": "Fail bank debit",
    "inquire": "Open inquiry",
    "keep": "Keep subscription",
    "lose_dispute": "Lose dispute",
    "pause": "Pause subscription",
    "pay_invoice": "Pay invoice",
    "pay_invoice_elsewhere": "Mark as paid elsewhere",
    "recover": "Pay open invoices",
    "refund": "Refund",
    "refund_partially": "Refund half",
    "renew": "Renew subscription",
    "resend_event": "Resend event",
    "resume": "Resume subscription",
    "settle_session": "Settle bank debit",
    "win_dispute": "Win dispute",
}

TONES = {
    **dict.fromkeys(("renew", "recover", "resume", "settle_session", "win_dispute"), "good"),
    **dict.fromkeys(("fail_renewal", "cancel", "fail_session", "fail_refund", "lose_dispute"), "bad"),
    **dict.fromkeys(("dispute", "inquire", "escalate_inquiry"), "bad"),
}

_CHARGE_PARAMETERS = {
    "fail_refund": "refund",
    **dict.fromkeys(("win_dispute", "lose_dispute", "escalate_inquiry"), "dispute"),
}


@dataclass(frozen=True)
class ActionButton:
    """One form: its action, the parameter that names the object, and its style."""

    action: str
    parameter: str
    id: str
    tone: str = ""

    @property
    def label(self) -> str:
        return LABELS[self.action]


@dataclass
class ConsoleRow:
    """One object with a note on it, what else its columns show, and its buttons."""

    body: Json
    note: str = ""
    buttons: list[ActionButton] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def subscriptions(account_store: AccountStore) -> list[ConsoleRow]:
    """The newest subscriptions."""
    rows = []
    for body in account_store.select("subscription", limit=ROWS_SHOWN):
        buttons = _buttons(allowed_actions.for_subscription(body), "subscription", body["id"])
        item = body["items"]["data"][0]
        extra = {
            "period_end": next_renewal(body),
            "price": item["price"],
            "quantity": item.get("quantity", 1),
        }
        rows.append(ConsoleRow(body, _product_name(account_store, item["price"]), buttons, extra))
    return rows


def unpaid_invoices(account_store: AccountStore) -> list[ConsoleRow]:
    """The newest drafts and open invoices, each with who owes it."""
    rows = []
    waiting: Condition = ("json_extract(body, '$.status') IN ('draft', 'open')", [])
    for body in account_store.select("invoice", waiting, limit=ROWS_SHOWN):
        allowed: AllowedActions = {"pay_invoice": None, "pay_invoice_elsewhere": None}
        buttons = _buttons(allowed, "invoice", body["id"])
        rows.append(ConsoleRow(body, body["customer_email"] or body["customer"], buttons))
    return rows


def payments(account_store: AccountStore) -> list[ConsoleRow]:
    """The newest charges, with their refunds and dispute."""
    rows = []
    for body in account_store.select("charge", limit=ROWS_SHOWN):
        refunds, dispute = allowed_actions.history_of(account_store, body)
        rows.append(
            ConsoleRow(
                body,
                body["description"] or "",
                _charge_buttons(body, refunds, dispute),
                {"refunds": refunds, "dispute": dispute},
            )
        )
    return rows


def sessions(account_store: AccountStore) -> list[ConsoleRow]:
    """The newest checkout sessions, with what they sell."""
    rows = []
    for body in account_store.select("checkout.session", limit=ROWS_SHOWN):
        buttons = _buttons(allowed_actions.for_session(body), "session", body["id"])
        rows.append(ConsoleRow(body, ", ".join(line["description"] for line in body["_lines"]), buttons))
    return rows


def events(account_store: AccountStore) -> list[ConsoleRow]:
    """The newest events, with their deliveries."""
    rows = []
    for body in account_store.select("event", limit=EVENTS_SHOWN):
        row = ConsoleRow(
            body, body["data"]["object"]["id"], [ActionButton("resend_event", "event", body["id"])]
        )
        row.extra["posts"] = posts(account_store, body["id"])
        rows.append(row)
    return rows


def posts(account_store: AccountStore, event_id: str) -> list[Json]:
    """The event's deliveries and their results; a deleted endpoint is shown by its id."""
    found = account_store.db.execute(
        "SELECT * FROM posts WHERE scope = ? AND event = ? ORDER BY number",
        (account_store.account.scope, event_id),
    ).fetchall()
    extra = []
    for row in found:
        endpoint = account_store.find("webhook_endpoint", row["endpoint"])
        extra.append({**dict(row), "url": endpoint["url"] if endpoint else row["endpoint"]})
    return extra


def _charge_buttons(body: Json, refunds: list[Json], dispute: Json | None) -> list[ActionButton]:
    """Some are about the payment's latest refund or its dispute, all others about the payment."""
    ids = {
        "charge": body["id"],
        "refund": refunds[0]["id"] if refunds else None,
        "dispute": dispute["id"] if dispute else None,
    }
    actions = allowed_actions.for_charge(body, refunds, dispute)
    buttons = []
    for parameter, object_id in ids.items():
        about = {a: why for a, why in actions.items() if _CHARGE_PARAMETERS.get(a, "charge") == parameter}
        buttons += _buttons(about, parameter, object_id) if object_id else []
    return buttons


def _buttons(allowed: AllowedActions, parameter: str, id_: str) -> list[ActionButton]:
    return [
        ActionButton(action, parameter, id_, TONES.get(action, ""))
        for action, reason in allowed.items()
        if reason is None and action in LABELS
    ]


def _product_name(account_store: AccountStore, price: Json) -> str:
    product = account_store.find_any(price["product"]) or {}
    return str(product.get("name") or price["product"])
