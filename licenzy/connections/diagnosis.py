"""Whose secret signed an event that was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from licenzy.connections.credentials import opened, secret_label, webhook_secrets
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.errors import SignatureInvalid, TimestampOutOfTolerance
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_gateway.signatures import verify


def whose_secret(
    db: Session, secret_box: SecretBox, connection: Connection, *, body: bytes, header: str, now: datetime
) -> str:
    """`other_mode`, `previous`, `stripe_key` or `unknown`: the word that alignment's rules know."""
    label = secret_label(connection)
    previous = opened(secret_box, connection.previous_webhook_secret_sealed, label)
    other = connection_of(db, connection.scope.other)
    if other is not None and _signed_with(webhook_secrets(secret_box, other, now=now), body, header, now):
        return "other_mode"
    if previous is not None and _signed_with([previous], body, header, now):
        return "previous"
    current = opened(secret_box, connection.webhook_secret_sealed, label)
    return "stripe_key" if current is not None and not current.startswith("whsec_") else "unknown"


def _signed_with(secrets: Sequence[str], body: bytes, header: str, now: datetime) -> bool:
    if not secrets:
        return False
    try:
        verify(body, header, secrets, now=now)
    except TimestampOutOfTolerance:
        return True
    except SignatureInvalid:
        return False
    return True
