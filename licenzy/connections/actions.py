"""Verbs on Stripe connections: save and prove a key, save a signing secret, set up the endpoint.

Verbs that take a `Database` ask Stripe first and write afterwards, in a transaction of their own.
"""

from __future__ import annotations

import hmac
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.alignment.modes import Mode
from licenzy.connections import queries, rules
from licenzy.connections.models import Connection, Provider
from licenzy.connections.sealed import (
    access,
    key_label,
    opened,
    secret_label,
    stripe_key,
    webhook_secrets,
)
from licenzy.db.unit_of_work import Database
from licenzy.errors import NotFound, StripeNotConnected, WebhookSecretMissing
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.kit.seal import Seal
from licenzy.settings import Settings
from licenzy.stripe_gateway.client import (
    API_VERSION,
    AccountFacts,
    EndpointFacts,
    StripeGateway,
)
from licenzy.stripe_gateway.sandbox_accounts import open_sandbox_account, stock_sandbox_account
from licenzy.stripe_gateway.translate import StripeKeyRejected
from licenzy.workspace.audit import Actor, record

__all__ = [
    "access",
    "connect_sandbox",
    "disconnect",
    "note_signed_event",
    "register_endpoint",
    "save_stripe_key",
    "save_webhook_secret",
    "stripe_key",
    "webhook_secrets",
]


def save_stripe_key(
    database: Database,
    gateway: StripeGateway,
    seal: Seal,
    *,
    project_id: str,
    mode: Mode,
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
    key = rules.checked_stripe_key(pasted, mode)
    account = _account_behind(gateway, key, provider)
    with database.write() as db:
        connection = _connection_for_writing(db, project_id=project_id, mode=mode, now=now)
        before = _told(connection)
        moves = _other_account(connection, account, provider)
        if moves and not confirmed:
            raise _account_change_refused(connection, account)
        if moves:
            _forget_webhooks(connection)
        connection.provider = provider
        connection.key_sealed = seal.close(key, bound_to=key_label(connection))
        connection.key_masked = rules.masked_key(key)
        connection.key_saved_at = connection.verified_at = connection.updated_at = now
        connection.console_url = console_url
        connection.account_id, connection.account_name = account.id, account.name
        connection.country, connection.charges_enabled = account.country, account.charges_enabled
        connection.clock_offset_seconds = 0
        db.add(connection)
        _record(db, connection, "stripe_key.saved", actor=actor, before=before, now=now)
        return connection


def connect_sandbox(
    database: Database,
    gateway: StripeGateway,
    seal: Seal,
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
        seal,
        project_id=project_id,
        mode=Mode.TEST,
        pasted=account.secret_key,
        provider=Provider.SANDBOX,
        console_url=account.console_url,
        confirmed=confirmed,
        actor=actor,
        now=now,
    )


def save_webhook_secret(
    db: Session,
    seal: Seal,
    *,
    project_id: str,
    mode: Mode,
    pasted: str,
    endpoint_id: str | None = None,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Save a signing secret; the one it replaces still verifies for `rules.SECRET_OVERLAP`.

    Raises CredentialRefused, also for the secret that the other mode uses.
    """
    secret = rules.checked_webhook_secret(pasted)
    connection = _connection_for_writing(db, project_id=project_id, mode=mode, now=now)
    _refuse_secret_of_other_mode(db, seal, secret, project_id=project_id, mode=mode)
    if _same(secret, opened(seal, connection.webhook_secret_sealed, secret_label(connection))):
        return connection
    before = _told(connection)
    if connection.webhook_secret_sealed is not None:
        connection.previous_webhook_secret_sealed = connection.webhook_secret_sealed
        connection.previous_webhook_secret_until = now + rules.SECRET_OVERLAP
    connection.webhook_secret_sealed = seal.close(secret, bound_to=secret_label(connection))
    connection.webhook_secret_masked = rules.masked_secret(secret)
    connection.webhook_secret_saved_at = connection.updated_at = now
    connection.webhook_endpoint_id = endpoint_id
    db.add(connection)
    _record(db, connection, "webhook_secret.saved", actor=actor, before=before, now=now)
    return connection


def register_endpoint(
    database: Database,
    gateway: StripeGateway,
    seal: Seal,
    *,
    base_url: str,
    project_id: str,
    mode: Mode,
    rotate: bool = False,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Set this connection's webhook endpoint up at Stripe, and store the secret that only Stripe knows.

    An endpoint of ours that is as it should be stays, unless `rotate` asks for a new secret. One whose
    secret is unknown here, or whose version or events are not ours, is replaced: the new one is made and
    its secret stored before the old one is removed, so that no event falls between.
    Raises StripeNotConnected, CredentialRefused where Stripe could not reach us, and Stripe's errors.
    """
    with database.read() as db:
        connection = queries.connection_of(db, project_id=project_id, mode=mode)
    if connection is None:
        raise StripeNotConnected
    problem = rules.registration_problem(connection.provider, mode, base_url)
    if problem is not None:
        raise rules.secret_refused("endpoint_unreachable", problem)
    stripe = access(gateway, seal, connection)
    address = rules.endpoint_address(base_url, connection.id)
    ours = [endpoint for endpoint in gateway.webhook_endpoints(stripe) if endpoint.url == address]
    if not rotate and any(_as_it_should_be(endpoint, connection) for endpoint in ours):
        return connection
    created = gateway.create_webhook_endpoint(
        stripe,
        url=address,
        events=rules.wanted_events(connection.provider),
        idempotency_key=f"{connection.id}:endpoint:{to_micros(now)}",
    )
    if created.secret is None:
        raise WebhookSecretMissing("Stripe made the endpoint, but did not tell its signing secret.")
    with database.write() as db:
        connection = save_webhook_secret(
            db,
            seal,
            project_id=project_id,
            mode=mode,
            pasted=created.secret,
            endpoint_id=created.id,
            actor=actor,
            now=now,
        )
    for endpoint in ours:
        gateway.delete_webhook_endpoint(stripe, endpoint.id)
    return connection


def disconnect(db: Session, *, project_id: str, mode: Mode, actor: Actor, now: datetime) -> None:
    """Forget the key and the webhook secrets. The row stays: purchases and events belong to it.

    Raises StripeNotConnected when there is nothing to forget.
    """
    connection = queries.connection_of(db, project_id=project_id, mode=mode)
    if connection is None or (connection.key_sealed is None and connection.webhook_secret_sealed is None):
        raise StripeNotConnected
    before = _told(connection)
    connection.key_sealed = connection.key_masked = connection.key_saved_at = None
    connection.verified_at = None
    _forget_webhooks(connection)
    connection.updated_at = now
    db.add(connection)
    _record(db, connection, "stripe_connection.removed", actor=actor, before=before, now=now)


def note_signed_event(db: Session, *, connection_id: str, event_id: str, now: datetime) -> None:
    """Remember that an event with a good signature arrived: the connection's webhook is proven."""
    db.execute(
        update(Connection)
        .where(col(Connection.id) == connection_id)
        .values(proven_at=now, last_event_id=event_id)
    )


def follow_clock(db: Session, *, connection_id: str, now_there: int, now: datetime) -> None:
    """Decide for a sandbox connection at its account's own time from now on; never for one at Stripe."""
    db.execute(
        update(Connection)
        .where(col(Connection.id) == connection_id, col(Connection.provider) == Provider.SANDBOX)
        .values(clock_offset_seconds=max(0, now_there - int(now.timestamp())))
    )


def _account_behind(gateway: StripeGateway, key: str, provider: Provider) -> AccountFacts:
    try:
        return gateway.account(gateway.access(key, sandbox=provider is Provider.SANDBOX))
    except StripeKeyRejected:
        raise rules.CredentialRefused(
            "key_rejected",
            field="stripe_key",
            message="Stripe does not accept this key. It may have been rolled or deleted, or a character "
            "is missing: copy it again from Stripe's API keys page.",
        ) from None


def _connection_for_writing(db: Session, *, project_id: str, mode: Mode, now: datetime) -> Connection:
    connection = queries.connection_of(db, project_id=project_id, mode=mode)
    if connection is None:
        connection = Connection(
            id=new_id("con"), project_id=project_id, mode=mode, created_at=now, updated_at=now
        )
        db.add(connection)
        db.flush()
    return connection


def _other_account(connection: Connection, account: AccountFacts, provider: Provider) -> bool:
    saved = connection.key_sealed is not None
    if saved and provider is not connection.provider:
        return True
    return rules.account_changes(connection.account_id, account.id, key_was_saved=saved)


def _account_change_refused(connection: Connection, account: AccountFacts) -> rules.CredentialRefused:
    known = f"{connection.account_name or 'an account'} ({connection.account_id or 'id unknown'})"
    seen = f"{account.name or 'an account'} ({account.id or 'its id is hidden from this key'})"
    return rules.CredentialRefused(
        "account_changes",
        field="confirmed",
        message=f"The saved key belongs to {known}, this one to {seen}. Payments would go to the new "
        "account, and the webhook has to be set up again. Confirm the change to save it.",
    )


def _forget_webhooks(connection: Connection) -> None:
    connection.webhook_secret_sealed = connection.webhook_secret_masked = None
    connection.webhook_secret_saved_at = connection.webhook_endpoint_id = None
    connection.previous_webhook_secret_sealed = connection.previous_webhook_secret_until = None
    connection.proven_at = connection.last_event_id = None


def _refuse_secret_of_other_mode(
    db: Session, seal: Seal, secret: str, *, project_id: str, mode: Mode
) -> None:
    other = queries.connection_of(db, project_id=project_id, mode=mode.other)
    if other is None:
        return
    if _same(secret, opened(seal, other.webhook_secret_sealed, secret_label(other))):
        raise rules.secret_refused(
            "secret_of_other_mode",
            f"This is the signing secret of the {mode.other.value} side. Every endpoint at Stripe has a "
            f"secret of its own: make one in Stripe's {mode.value} mode for the address shown here.",
        )


def _as_it_should_be(endpoint: EndpointFacts, connection: Connection) -> bool:
    return (
        endpoint.id == connection.webhook_endpoint_id
        and connection.webhook_secret_sealed is not None
        and endpoint.status == "enabled"
        and endpoint.api_version == API_VERSION
        and set(rules.wanted_events(connection.provider)) <= set(endpoint.enabled_events)
    )


def _same(secret: str, other: str | None) -> bool:
    return other is not None and hmac.compare_digest(secret.encode(), other.encode())


def _told(connection: Connection) -> dict[str, str | None]:
    """What the audit log may tell of a connection; secrets masked."""
    return {
        "provider": connection.provider.value,
        "stripe_key": connection.key_masked,
        "account_id": connection.account_id,
        "webhook_secret": connection.webhook_secret_masked,
        "webhook_endpoint_id": connection.webhook_endpoint_id,
    }


def _record(
    db: Session,
    connection: Connection,
    action: str,
    *,
    actor: Actor,
    before: dict[str, str | None],
    now: datetime,
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        project_id=connection.project_id,
        mode=connection.mode,
        about=connection.id,
        before=before,
        after=_told(connection),
        now=now,
    )
    db.flush()
