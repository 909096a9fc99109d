"""The secrets of a connection: sealed for their own row and field, opened only where they are used."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from licenzy.connections.models import Connection, Provider
from licenzy.errors import StripeNotConnected
from licenzy.kit.secret_box import DecryptionFailed, SecretBox
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway


def stripe_key(secret_box: SecretBox, connection: Connection) -> str:
    """The connection's key in the clear. Raises StripeNotConnected."""
    if connection.key_sealed is None:
        raise StripeNotConnected
    key = opened(secret_box, connection.key_sealed, key_label(connection))
    if key is None:
        raise StripeNotConnected(
            "The saved Stripe key cannot be decrypted with this installation's encryption keys.",
            hint="Restore LICENZY_ENCRYPTION_KEYS, or save the Stripe key again.",
        )
    return key


def access(gateway: StripeGateway, secret_box: SecretBox, connection: Connection) -> StripeAccess:
    """The connection's key with the address it is good at. Raises StripeNotConnected."""
    return gateway.access(stripe_key(secret_box, connection), sandbox=connection.provider is Provider.SANDBOX)


class Signed(Protocol):
    """What is needed of a connection to tell whether an event is signed for it."""

    @property
    def id(self) -> str: ...
    @property
    def webhook_secret_sealed(self) -> str | None: ...
    @property
    def previous_webhook_secret_sealed(self) -> str | None: ...
    @property
    def previous_webhook_secret_until(self) -> datetime | None: ...


def webhook_secrets(secret_box: SecretBox, connection: Signed, *, now: datetime) -> list[str]:
    """The secrets a signature may be made with now, the current one first; empty when none is saved."""
    sealed = [connection.webhook_secret_sealed]
    until = connection.previous_webhook_secret_until
    if until is not None and now < until:
        sealed.append(connection.previous_webhook_secret_sealed)
    label = secret_label(connection)
    return [secret for secret in (opened(secret_box, each, label) for each in sealed) if secret is not None]


def is_locked_out(secret_box: SecretBox, connection: Connection) -> bool:
    """Whether the connection has a key that no encryption key of this installation opens."""
    return connection.key_sealed is not None and (
        opened(secret_box, connection.key_sealed, key_label(connection)) is None
    )


def opened(secret_box: SecretBox, sealed: str | None, label: str) -> str | None:
    """The secret, or none when there is none or no key of this installation opens it."""
    if sealed is None:
        return None
    try:
        return secret_box.decrypt(sealed, bound_to=label)
    except DecryptionFailed:
        return None


def key_label(connection: Connection) -> str:
    """What the connection's key is bound to when it is sealed."""
    return f"connection:{connection.id}:stripe_key"


def secret_label(connection: Signed) -> str:
    """What the connection's webhook secrets are bound to; the present and the previous one alike."""
    return f"connection:{connection.id}:webhook_secret"
