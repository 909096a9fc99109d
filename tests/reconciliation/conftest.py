"""The shop of the checkout tests, whose buyers pay while nobody listens."""

from tests.checkout.conftest import sell, shop

__all__ = ["sell", "shop"]
