"""The shop on the Stripe sandbox, as the checkout's tests have it."""

from tests.checkout.conftest import sell, shop

__all__ = ["sell", "shop"]
