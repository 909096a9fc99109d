"""Verbs on Stripe connections: save and prove a key, disconnect; those on the webhook stand in webhook.py.

Verbs that take a `Database` ask Stripe first and write afterwards, in a transaction of their own.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.alignment.modes import Mode
from licenzy.connections import queries, rules
from licenzy.connections.credentials import (
    access,
    key_label,
    stripe_key,
    webhook_secrets,
)
from licenzy.connections.event_polls import schedule_polls
from licenzy.connections.models import Connection, Provider
from licenzy.connections.records import audit_view, connection_for_writing, note_refused, record_change
from licenzy.connections.webhook import (
    end_secret_overlap,
    paste_webhook_secret,
    register_endpoint,
    save_webhook_secret,
)
from licenzy.db.unit_of_work import Database
from licenzy.errors import NotFound, StripeNotConnected
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import probe_soon
from licenzy.projects.scope import Scope
from licenzy.settings import Settings
from licenzy.stripe_gateway.client import (
    AccountFacts,
    StripeGateway,
)
from licenzy.stripe_gateway.sandbox_accounts import open_sandbox_account, stock_sandbox_account
from licenzy.stripe_gateway.translate import StripeKeyRejected
from licenzy.workspace.audit import Actor

__all__ = [
    "access",
    "connect_sandbox",
    "disconnect",
    "end_secret_overlap",
    "note_account",
    "note_signed_event",
    "paste_webhook_secret",
    "register_endpoint",
    "save_stripe_key",
    "save_webhook_secret",
    "stripe_key",
    "webhook_secrets",
]


def save_stripe_key(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    pasted: str,
    provider: Provider = Provider.STRIPE,
    console_url: str | None = None,
    confirmed: bool = False,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Try a pasted key at Stripe and save it with the account behind it.

    A key of another account than the saved one needs `confirmed`, and takes the old account's webhook
    secret with it. Raises CredentialRefused, and Stripe's errors when it cannot be asked.
    """
    try:
        key = rules.checked_stripe_key(pasted, scope.mode)
        account = _account_behind(gateway, key, provider)
    except rules.CredentialRefused as refused:
        note_refused(database, scope, refused, now=now)
        raise
    with database.write() as db:
        connection = connection_for_writing(db, scope, now=now)
        before = audit_view(connection)
        moves = _other_account(connection, account, provider)
        if moves and not confirmed:
            raise _account_change_refused(connection, account)
        if moves:
            _forget_webhooks(connection)
        connection.provider = provider
        connection.key_sealed = secret_box.encrypt(key, bound_to=key_label(connection))
        connection.key_masked = rules.masked_key(key)
        connection.key_saved_at = connection.verified_at = connection.updated_at = now
        connection.console_url = console_url
        connection.account_id, connection.account_name = account.id, account.name
        connection.country, connection.charges_enabled = account.country, account.charges_enabled
        connection.clock_offset_seconds = 0
        db.add(connection)
        record_change(db, connection, "stripe_key.saved", actor=actor, before=before, now=now)
        schedule_polls(db, connection, anew=moves or before["account_id"] != account.id, now=now)
        probe_soon(db, scope, connection_id=connection.id, now=now)
        return connection


def connect_sandbox(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    settings: Settings,
    *,
    project_id: str,
    project_name: str,
    confirmed: bool = False,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Connect the project's test side to an account of the built-in sandbox; the same account every time.

    Raises NotFound where the sandbox is switched off, and Stripe's errors when it does not answer.
    """
    if not settings.sandbox:
        raise NotFound("The built-in sandbox is switched off on this installation.")
    account = open_sandbox_account(
        settings.sandbox_url,
        control_token=settings.derived_secret("sandbox control"),
        name=project_name,
        reference=project_id,
    )
    stock_sandbox_account(settings.sandbox_url, api_key=account.secret_key)
    return save_stripe_key(
        database,
        gateway,
        secret_box,
        Scope(project_id, Mode.TEST),
        pasted=account.secret_key,
        provider=Provider.SANDBOX,
        console_url=account.console_url,
        confirmed=confirmed,
        actor=actor,
        now=now,
    )


def note_account(db: Session, *, connection_id: str, account: AccountFacts, now: datetime) -> None:
    """Keep what Stripe says of the account now; what a restricted key may not read stays as it was."""
    if account.id is None:
        return
    db.execute(
        update(Connection)
        .where(col(Connection.id) == connection_id)
        .values(
            account_id=account.id,
            account_name=account.name,
            country=account.country,
            charges_enabled=account.charges_enabled,
            verified_at=now,
        )
    )


def disconnect(db: Session, scope: Scope, *, actor: Actor, now: datetime) -> None:
    """Forget the key and the webhook secrets. The row stays: purchases and events belong to it.

    Raises StripeNotConnected when there is nothing to forget.
    """
    connection = queries.connection_of(db, scope)
    if connection is None or (connection.key_sealed is None and connection.webhook_secret_sealed is None):
        raise StripeNotConnected
    before = audit_view(connection)
    _forget_key(connection)
    _forget_webhooks(connection)
    connection.updated_at = now
    db.add(connection)
    record_change(db, connection, "stripe_connection.removed", actor=actor, before=before, now=now)
    schedule_polls(db, connection, anew=False, now=now)


def forget_credentials(db: Session, *, project_id: str, now: datetime) -> None:
    """Forget the keys and the webhook secrets of both modes, for a project that is deleted."""
    for mode in Mode:
        connection = queries.connection_of(db, Scope(project_id, mode))
        if connection is not None:
            _forget_key(connection)
            _forget_webhooks(connection)
            connection.updated_at = now
            db.add(connection)
            schedule_polls(db, connection, anew=False, now=now)
    db.flush()


def note_signed_event(db: Session, *, connection_id: str, event_id: str, now: datetime) -> None:
    """Remember that an event with a good signature arrived: the connection's webhook is proven."""
    db.execute(
        update(Connection)
        .where(col(Connection.id) == connection_id)
        .values(proven_at=now, last_event_id=event_id)
    )


def follow_clock(db: Session, *, connection_id: str, now_there: int, moved: bool, now: datetime) -> None:
    """Decide for a sandbox connection at its account's own time from now on; never for one at Stripe.

    What reaches us was sent a moment ago, so it was `now_there` or later: the clock, which never goes back,
    is followed to the furthest that was heard of it. Unless it was `moved` before, it is our own.
    """
    ahead = now_there - int(now.timestamp())
    known = col(Connection.clock_offset_seconds)
    db.execute(
        update(Connection)
        .where(
            col(Connection.id) == connection_id,
            col(Connection.provider) == Provider.SANDBOX,
            known < ahead,
            *(() if moved else (known > 0,)),
        )
        .values(clock_offset_seconds=ahead)
    )


def _account_behind(gateway: StripeGateway, key: str, provider: Provider) -> AccountFacts:
    try:
        return gateway.account(gateway.access(key, sandbox=provider is Provider.SANDBOX))
    except StripeKeyRejected:
        raise rules.CredentialRefused(
            "key_rejected",
            field="stripe_key",
            message="Stripe rejected this key. It was rolled or deleted, or a character is missing. "
            "Copy it again from the API keys page in Stripe.",
        ) from None


def _other_account(connection: Connection, account: AccountFacts, provider: Provider) -> bool:
    saved = connection.key_sealed is not None
    if saved and provider is not connection.provider:
        return True
    return rules.account_changes(connection.account_id, account.id, key_was_saved=saved)


def _account_change_refused(connection: Connection, account: AccountFacts) -> rules.CredentialRefused:
    known = f"{connection.account_name or 'an account'} ({connection.account_id or 'unknown ID'})"
    seen = f"{account.name or 'an account'} ({account.id or 'ID not readable with this key'})"
    return rules.CredentialRefused(
        "account_changes",
        field="confirmed",
        message=f"The saved key belongs to {known}, and this key to {seen}. Payments would go to the new "
        "account, and the webhook must be set up again. Confirm the change to save the key.",
    )


def _forget_key(connection: Connection) -> None:
    connection.key_sealed = connection.key_masked = connection.key_saved_at = None
    connection.verified_at = None


def _forget_webhooks(connection: Connection) -> None:
    connection.webhook_secret_sealed = connection.webhook_secret_masked = None
    connection.webhook_secret_saved_at = connection.webhook_endpoint_id = None
    connection.previous_webhook_secret_sealed = connection.previous_webhook_secret_until = None
    connection.proven_at = connection.last_event_id = None
