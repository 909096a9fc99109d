"""Where Stripe sends a buyer back to when the merchant has named no page of their own."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public
from licenzy.portal.respond import show


@portal.get("/checkout/done")
@public
def checkout_done() -> ResponseReturnValue:
    """After paying. Grants nothing and says nothing: access follows Stripe's signed event."""
    return show("checkout/done.html")


@portal.get("/checkout/canceled")
@public
def checkout_canceled() -> ResponseReturnValue:
    """After turning back from the payment page."""
    return show("checkout/canceled.html")
