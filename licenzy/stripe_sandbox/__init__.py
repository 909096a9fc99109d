"""The embedded Stripe stand-in: a WSGI application that the official `stripe` library can be pointed at.

Nothing outside of this room imports it except the factory that serves it; the product talks to it over HTTP
alone."""

from licenzy.stripe_sandbox.app import Sandbox, create_sandbox

__all__ = ["Sandbox", "create_sandbox"]
