"""Customers that an account of the built-in sandbox had before: something to try an import with."""

from __future__ import annotations

from licenzy.connections.credentials import stripe_key
from licenzy.connections.models import Connection, Provider
from licenzy.errors import NotFound
from licenzy.kit.secret_box import SecretBox
from licenzy.settings import Settings
from licenzy.stripe_gateway.sandbox_control import (
    ExistingCustomers,
    SandboxControl,
    existing_at_sandbox,
    fill_sandbox_account,
)


def add_existing_customers(
    secret_box: SecretBox, settings: Settings, connection: Connection, *, count: int
) -> None:
    """Complete the sandbox account to `count` subscriptions that began elsewhere; again, it adds none.

    Nothing is written here. Raises NotFound for a connection that is not the sandbox's, and Stripe's errors.
    """
    control = _control(settings, connection)
    fill_sandbox_account(control, api_key=stripe_key(secret_box, connection), count=count)


def existing_customers(settings: Settings, connection: Connection) -> ExistingCustomers:
    """Those of the account, oldest first. Raises like `add_existing_customers`."""
    return existing_at_sandbox(_control(settings, connection))


def _control(settings: Settings, connection: Connection) -> SandboxControl:
    if not settings.sandbox or connection.provider is not Provider.SANDBOX or connection.account_id is None:
        raise NotFound("Only an account of the built-in sandbox takes existing customers.")
    token = settings.derived_secret("sandbox control")
    return SandboxControl(settings.sandbox_url, token, connection.account_id)
