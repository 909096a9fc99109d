"""DOOR: Stripe's webhooks in."""

from __future__ import annotations

from flask import Flask

from licenzy.connections.rules import SHARED_PATH
from licenzy.hooks.signatures import SignatureWatch
from licenzy.hooks.stripe import STRANGERS_RATE, receive_for_connection, receive_for_tenant
from licenzy.kit.rate import RateLimiter


def register(app: Flask) -> None:
    """Attach the addresses that Stripe posts to; their guard is the signature."""
    app.extensions["licenzy_signatures"] = SignatureWatch(app.extensions["licenzy"])
    app.extensions["licenzy_strangers"] = RateLimiter(rate=STRANGERS_RATE)
    for rule, view in (
        (SHARED_PATH, receive_for_tenant),
        ("/v1/webhooks/stripe/<connection_id>", receive_for_connection),
    ):
        app.add_url_rule(
            rule,
            endpoint=f"hooks.{view.__name__}",
            view_func=view,
            methods=["POST"],
            provide_automatic_options=False,
            strict_slashes=True,
        )
