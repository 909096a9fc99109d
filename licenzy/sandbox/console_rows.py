"""The console's tables: what each row says, and which buttons make sense for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from licenzy.sandbox.books import Books, where
from licenzy.sandbox.lifecycle import disputes
from licenzy.sandbox.lifecycle.subscriptions import period_end
from licenzy.sandbox.version import Json

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


def subscriptions(books: Books) -> list[Row]:
    rows = []
    for body in books.select("subscription", limit=SHOWN):
        buttons = [Button(a, "subscription", body["id"], tone) for a, tone in _of_subscription(body)]
        item = body["items"]["data"][0]
        told = {"period_end": period_end(body), "price": item["price"], "quantity": item.get("quantity", 1)}
        rows.append(Row(body, _product_name(books, item["price"]), buttons, told))
    return rows


def payments(books: Books) -> list[Row]:
    rows = []
    for body in books.select("charge", limit=SHOWN):
        refunds = books.select("refund", where("charge", body["id"]))
        dispute = next(iter(books.select("dispute", where("charge", body["id"]), limit=1)), None)
        rows.append(
            Row(
                body,
                body["description"] or "",
                _of_charge(body, refunds, dispute),
                {"refunds": refunds, "dispute": dispute},
            )
        )
    return rows


def sessions(books: Books) -> list[Row]:
    rows = []
    for body in books.select("checkout.session", limit=SHOWN):
        buttons = []
        if body["status"] == "open":
            buttons = [Button("expire_session", "session", body["id"])]
        elif body["status"] == "complete" and body["payment_status"] == "unpaid":
            buttons = [
                Button("settle_session", "session", body["id"], "good"),
                Button("fail_session", "session", body["id"], "bad"),
            ]
        rows.append(Row(body, ", ".join(line["description"] for line in body["_lines"]), buttons))
    return rows


def events(books: Books) -> list[Row]:
    rows = []
    for body in books.select("event", limit=SHOWN_EVENTS):
        row = Row(body, body["data"]["object"]["id"], [Button("resend_event", "event", body["id"])])
        row.told["posts"] = posts(books, body["id"])
        rows.append(row)
    return rows


def posts(books: Books, event_id: str) -> list[Json]:
    """Where the event went, with what came of it; endpoints since deleted are shown by their id."""
    found = books.db.execute(
        "SELECT * FROM posts WHERE scope = ? AND event = ? ORDER BY number", (books.account.scope, event_id)
    ).fetchall()
    told = []
    for row in found:
        endpoint = books.find("webhook_endpoint", row["endpoint"])
        told.append({**dict(row), "url": endpoint["url"] if endpoint else row["endpoint"]})
    return told


def _of_subscription(body: Json) -> list[tuple[str, str]]:
    status, ends = body["status"], body["cancel_at"] is not None
    if status in ("canceled", "incomplete_expired"):
        return []
    if status == "incomplete":
        return [("cancel", "bad")]
    if status == "paused":
        return [("resume", "good"), ("cancel", "bad")]
    found: list[tuple[str, str]] = [] if ends else [("renew", "good"), ("fail_renewal", "bad")]
    if status == "past_due":
        found = [("recover", "good"), ("fail_renewal", "bad")]
    if status in ("active", "trialing"):
        found.append(("pause", ""))
    return [*found, ("keep" if ends else "cancel_at_period_end", ""), ("cancel", "bad")]


def _of_charge(body: Json, refunds: list[Json], dispute: Json | None) -> list[Button]:
    if body["status"] != "succeeded":
        return []
    found: list[Button] = []
    is_open = dispute is not None and dispute["status"] not in disputes.CLOSED
    lost = dispute is not None and dispute["status"] == "lost"
    refundable = not lost and (dispute is None or not is_open or dispute["is_charge_refundable"])
    if refundable and body["amount_refunded"] < body["amount"]:
        found += [Button(a, "charge", body["id"]) for a in ("refund", "refund_partially")]
    found += [
        Button("fail_refund", "refund", r["id"], "bad") for r in refunds[:1] if r["status"] == "succeeded"
    ]
    if dispute is None or not is_open:
        return found + [Button(a, "charge", body["id"], "bad") for a in ("dispute", "inquire") if not lost]
    inquiry = dispute["status"].startswith("warning_")
    found.append(Button("win_dispute", "dispute", dispute["id"], "good"))
    found.append(Button("escalate_inquiry" if inquiry else "lose_dispute", "dispute", dispute["id"], "bad"))
    return found


def _product_name(books: Books, price: Json) -> str:
    product = books.find_any(price["product"]) or {}
    return str(product.get("name") or price["product"])
