"""What an operator should know of an event although it was applied."""

from __future__ import annotations

from licenzy.entitlements import statuses
from licenzy.stripe_events.place import Placed
from licenzy.stripe_gateway.shapes import Reading


def remark_on(placed: Placed) -> str | None:
    """What an operator should know of an event although it was applied."""
    (reading,) = placed.readings
    if reading.kind == "session":
        return _remark_on_session(reading)
    if reading.kind == "invoice" and reading.data["more_lines"] and not reading.data["lines"]:
        return (
            "None of the invoice's lines can be read in this event. "
            "It stands for the period shown until it is read."
        )
    if reading.kind == "dispute" and reading.data["status"] in _CLOSED_FOR_THE_MERCHANT:
        status = reading.data["status"].replace("_", " ")
        return f"The dispute is closed: {status}. It takes no access away."
    if reading.kind != "subscription":
        return None
    if reading.data["status"] not in statuses.KNOWN:
        return f"The status {reading.data['status'][:40]} is unknown. The last known state stays."
    unmapped = [item["price"] for item in reading.data["items"] if item["sold"] is None]
    if unmapped:
        return f"No product is mapped to {', '.join(unmapped)}."
    metered = [item["price"] for item in reading.data["items"] if item["metered"]]
    is_new = reading.data["event"] == "customer.subscription.created" or "items" in reading.data["previous"]
    if metered and is_new:
        return f"Metered price: {', '.join(metered)}. Stripe bills its use, which Licenzy does not count."
    return None


_CLOSED_FOR_THE_MERCHANT = frozenset({"won", "warning_closed", "prevented"})
"""How a dispute may end without taking anything, also where nobody has responded to it."""


def _remark_on_session(reading: Reading) -> str | None:
    opened, paid = (reading.data.get("sold") or {}).get("opened_amount"), reading.data["amount_total"]
    is_paid = reading.data["payment_status"] == "paid"
    if not is_paid or opened is None or paid is None or paid + (reading.data["discount"] or 0) >= opened:
        return None
    return f"Paid {paid} instead of {opened} (smallest unit): the buyer changed the amount or the quantity."
