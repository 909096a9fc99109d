"""Which price fits which kind of product. Pure."""

from __future__ import annotations


def shape_problem(kind: str, *, recurring: bool, metered: bool) -> str | None:
    """Why a price of this shape cannot be sold as this kind; none when it can."""
    if kind == "free":
        return "A free product has no price."
    if metered:
        return "This price is metered: Stripe bills it by reported usage, which Licenzy does not report."
    if kind == "subscription" and not recurring:
        return "A subscription needs a recurring price, and this one is paid once."
    if kind != "subscription" and recurring:
        return f"A {kind.replace('_', ' ')} needs a price that is paid once, and this one recurs."
    return None
