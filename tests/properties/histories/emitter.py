"""The clock at Stripe, the events in the order in which they happen, and the money that goes back."""

from __future__ import annotations

import random
from typing import Any

from tests.properties.histories.catalog import Catalog
from tests.properties.histories.life import DAY, NEW, OLD, PRICE, START, Life, Names

OPEN_DISPUTE = {"needs_response", "under_review"}


class Emitter:
    """Stripe's clock, and what it sends. With `spread`, no two events share a second."""

    def __init__(self, chance: random.Random, names: Names, catalog: Catalog, *, spread: bool) -> None:
        self.chance, self.names, self.spread = chance, names, spread
        self.life = Life(names, chance.choice((NEW, OLD)), catalog)
        self.now = START + chance.randrange(DAY)
        self.paid_back: dict[int, int] = {}
        self.disputes: dict[int, str] = {}

    @property
    def newer(self) -> bool:
        return self.life.shape == NEW

    def emit(self, kind: str, obj: dict[str, Any], previous: dict[str, Any] | None = None) -> None:
        self.pass_second()
        data: dict[str, Any] = {"object": obj}
        if previous is not None:
            data["previous_attributes"] = previous
        number = len(self.life.events)
        # Stripe's ids say nothing of the order.
        event_id = f"evt_{self.chance.getrandbits(40):010x}{self.names.tag}{number}"
        self.life.events.append(
            {
                "id": event_id,
                "object": "event",
                "api_version": self.life.shape,
                "created": self.now,
                "livemode": False,
                "type": kind,
                "data": data,
            }
        )

    def pass_second(self) -> None:
        """What is sent next is of the second before, or perhaps of a new one."""
        if self.spread or self.chance.random() < 0.2:
            self.now += 1

    def wait(self, most: int) -> None:
        self.now += self.chance.randrange(1, most)

    # --- money back: of payment number n ---------------------------------------------------------

    def payment(self, n: int) -> dict[str, str]:
        return {"payment_intent": f"pi_{self.names.tag}_{n}", "charge": f"ch_{self.names.tag}_{n}"}

    @property
    def next_second(self) -> int:
        """When what is sent next will have been made."""
        return self.now + (1 if self.spread else 0)

    def give_back(self, n: int, whole: int) -> None:
        """One refund, or two that come to the whole, of which any may fail later."""
        part = self.chance.choice((whole, whole, whole // 2))
        parts = [part] if part == whole or self.chance.random() < 0.5 else [part, whole - part]
        for number, amount in enumerate(parts):
            self.wait(DAY)
            made = self.next_second
            self.paid_back[n] = self.paid_back.get(n, 0) + amount
            self._emit_refund(n, number, amount, "succeeded", made)
            if self.chance.random() < 0.8:
                self._emit_charge(n, whole)
            if self.chance.random() < 0.25:
                self.wait(3 * DAY)
                self.paid_back[n] -= amount
                self._emit_refund(n, number, amount, "failed", made)

    def _emit_refund(self, n: int, number: int, amount: int, status: str, made: int) -> None:
        obj = {
            "id": f"re_{self.names.tag}_{n}_{number}",
            "object": "refund",
            "amount": amount,
            "status": status,
            "created": made,
            **self.payment(n),
        }
        kinds = ["refund.created"] if status == "succeeded" else ["refund.failed", "refund.updated"]
        for kind in [*(kinds if self.newer else []), "charge.refund.updated"]:
            self.emit(kind, obj)

    def _emit_charge(self, n: int, whole: int) -> None:
        named = self.payment(n)
        obj = {
            "id": named["charge"],
            "object": "charge",
            "payment_intent": named["payment_intent"],
            "amount": whole,
            "amount_refunded": self.paid_back[n],
        }
        self.emit("charge.refunded", obj)

    def dispute(self, n: int, whole: int) -> None:
        course = self.chance.choice(
            (
                ("needs_response",),
                ("needs_response", "under_review", "won"),
                ("needs_response", "lost"),
                ("warning_needs_response", "warning_closed"),
                ("warning_needs_response", "needs_response", "lost"),
            )
        )
        for step, status in enumerate(course):
            self.wait(5 * DAY)
            self.disputes[n] = status
            obj = {
                "id": f"dp_{self.names.tag}_{n}",
                "object": "dispute",
                "amount": whole,
                "status": status,
                **self.payment(n),
            }
            closed = status in {"won", "lost", "warning_closed"}
            kind = "created" if step == 0 else "closed" if closed else "updated"
            self.emit(f"charge.dispute.{kind}", obj)

    def taken(self, n: int, whole: int) -> bool:
        return (whole > 0 and self.paid_back.get(n, 0) >= whole) or self.disputes.get(n, "") in {
            *OPEN_DISPUTE,
            "lost",
        }

    def session(
        self, *, paid: str = "paid", event_name: str = "completed", subscription: bool = False
    ) -> None:
        obj = {
            "id": self.names.session,
            "object": "checkout.session",
            "mode": "subscription" if subscription else "payment",
            "status": "complete",
            "payment_status": paid,
            "subscription": self.names.subscription if subscription else None,
            "payment_intent": None if subscription else self.payment(1)["payment_intent"],
            "customer": f"cus_{self.names.tag}",
            "amount_total": PRICE * self.names.quantity,
            "currency": "usd",
            "metadata": {"licenzy_attempt": self.names.attempt},
        }
        self.emit(f"checkout.session.{event_name}", obj)
