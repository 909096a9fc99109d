"""Endpoint secrets, and the headers that prove a delivery is ours. Standard Webhooks."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from standardwebhooks import Webhook

from licenzy.deliveries.models import WebhookEndpoint
from licenzy.deliveries.rules import SECRET_PREFIX
from licenzy.kit.secret_box import DecryptionFailed, SecretBox

_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64, as the ready libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def masked(secret: str) -> str:
    """What a page may show of a secret."""
    return f"{SECRET_PREFIX}…{secret[-5:-1]}"


def secret_label(endpoint_id: str) -> str:
    """What an endpoint's secrets are bound to when they are sealed."""
    return f"webhook_endpoint:{endpoint_id}:secret"


def signing_secrets(secret_box: SecretBox, endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """The secrets to sign with, the present one first; empty when none of them can be opened."""
    sealed = [endpoint.secret_sealed]
    if endpoint.previous_secret_until is not None and now < endpoint.previous_secret_until:
        sealed.append(endpoint.previous_secret_sealed)
    opened = [_opened(secret_box, endpoint, each) for each in sealed]
    return [secret for secret in opened if secret is not None]


def present_secret(secret_box: SecretBox, endpoint: WebhookEndpoint) -> str | None:
    """The secret that deliveries are signed with; None when no key of this installation opens it."""
    return _opened(secret_box, endpoint, endpoint.secret_sealed)


def _opened(secret_box: SecretBox, endpoint: WebhookEndpoint, sealed: str | None) -> str | None:
    if sealed is None:
        return None
    try:
        return secret_box.decrypt(sealed, bound_to=secret_label(endpoint.id))
    except DecryptionFailed:
        return None


def signed_headers(event_id: str, body: str, *, with_secrets: list[str], now: datetime) -> dict[str, str]:
    """The three headers of Standard Webhooks, with one signature for each secret."""
    signatures = [Webhook(secret).sign(event_id, now, body) for secret in with_secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
