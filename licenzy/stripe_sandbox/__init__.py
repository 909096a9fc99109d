"""The embedded Stripe stand-in: a WSGI application that the official `stripe` library can be pointed at.

It imports nothing of Licenzy, and only the factory, which serves it, imports it; the product talks to it over
HTTP alone."""

from licenzy.stripe_sandbox.app import Sandbox, create_sandbox

__all__ = ["Sandbox", "create_sandbox"]
