"""What a change in the middle of a period credits and charges, in whole seconds of that period."""

from __future__ import annotations

from datetime import UTC, datetime

from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.shapes.invoice_lines import InvoiceEntry
from licenzy.stripe_sandbox.version import Json


def of_change(before: list[Json], after: list[Json], *, at: int) -> list[InvoiceEntry]:
    """The unused time of what was there and the remaining time of what is there now, item by item.

    An item of the same price, quantity and period gives none."""
    new, entries = {item["id"]: item for item in after}, []
    for item in before:
        changed = new.pop(item["id"], None)
        if changed is not None and _same(item, changed):
            continue
        entries.append(unused(item, at=at))
        if changed is not None:
            entries.append(remaining(changed, at=at))
    entries += [remaining(item, at=at) for item in new.values()]
    return [entry for entry in entries if entry.amount]


def unused(item: Json, *, at: int) -> InvoiceEntry:
    """What an item's period costs from `at` on, credited."""
    return _entry(item, at, "Unused time on", -1)


def remaining(item: Json, *, at: int) -> InvoiceEntry:
    """What an item's period costs from `at` on."""
    return _entry(item, at, "Remaining time on", 1)


def _entry(item: Json, at: int, words: str, sign: int) -> InvoiceEntry:
    start, end = item["current_period_start"], item["current_period_end"]
    at = min(max(at, start), end)
    quantity = item.get("quantity", 0)
    whole, length, left = amount_of(item["price"], quantity), end - start, end - at
    amount = (2 * whole * left + length) // (2 * length) if length else 0  # Half a unit rounds up.
    name = item["price"]["nickname"] or item["price"]["id"]
    day = datetime.fromtimestamp(at, UTC).strftime("%d %b %Y")
    return InvoiceEntry(
        price=item["price"],
        quantity=quantity,
        amount=sign * amount,
        start=at,
        end=end,
        description=f"{words} {quantity} × {name} after {day}",
        item=item["id"],
    )


def _same(one: Json, other: Json) -> bool:
    names = ("quantity", "current_period_start", "current_period_end")
    return one["price"]["id"] == other["price"]["id"] and all(one.get(n) == other.get(n) for n in names)
