"""Verbs on how Stripe's events come: save a signing secret, rotate it, set the endpoint up at Stripe.

Verbs that take a `Database` ask Stripe first and write afterwards, in a transaction of their own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from sqlmodel import Session

from licenzy.connections import queries, rules
from licenzy.connections.credentials import access, opened, secret_label
from licenzy.connections.models import Connection
from licenzy.connections.records import audit_view, connection_for_writing, note_refused, record_change
from licenzy.connections.repair import Repair, events_to_send, repair
from licenzy.db.unit_of_work import Database
from licenzy.errors import StripeNotConnected, WebhookSecretMissing
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import probe_soon
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import EndpointFacts, StripeAccess, StripeGateway
from licenzy.workspace.audit import Actor, record

HasTrials: TypeAlias = Callable[[Session, Scope], bool]
"""Whether a product that is sold in this mode has a trial: `catalog.queries.has_trials`."""

_SAME_CLICK_SECONDS = 10
"""Within it a second click, seeing the same list, is answered with the endpoint that the first one made."""


def paste_webhook_secret(
    database: Database, secret_box: SecretBox, scope: Scope, *, pasted: str, actor: Actor, now: datetime
) -> Connection:
    """Save a signing secret that somebody pasted. Raises CredentialRefused, and remembers that it did."""
    try:
        with database.write() as db:
            return save_webhook_secret(db, secret_box, scope, pasted=pasted, actor=actor, now=now)
    except rules.CredentialRefused as refused:
        note_refused(database, scope, refused, now=now)
        raise


def save_webhook_secret(
    db: Session,
    secret_box: SecretBox,
    scope: Scope,
    *,
    pasted: str,
    endpoint_id: str | None = None,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Save a signing secret; the one it replaces still verifies for `rules.SECRET_OVERLAP`.

    Raises CredentialRefused, also for the secret that the other mode uses.
    """
    secret = rules.checked_webhook_secret(pasted)
    connection = connection_for_writing(db, scope, now=now)
    _refuse_secret_of_other_mode(db, secret_box, scope, secret)
    if _same(secret, opened(secret_box, connection.webhook_secret_sealed, secret_label(connection))):
        return connection
    before = audit_view(connection)
    if connection.webhook_secret_sealed is not None:
        connection.previous_webhook_secret_sealed = connection.webhook_secret_sealed
        connection.previous_webhook_secret_until = now + rules.SECRET_OVERLAP
    connection.webhook_secret_sealed = secret_box.encrypt(secret, bound_to=secret_label(connection))
    connection.webhook_secret_masked = rules.masked_secret(secret)
    connection.webhook_secret_saved_at = connection.updated_at = now
    connection.webhook_endpoint_id = endpoint_id
    db.add(connection)
    record_change(db, connection, "webhook_secret.saved", actor=actor, before=before, now=now)
    probe_soon(db, scope, connection_id=connection.id, now=now)
    return connection


def end_secret_overlap(db: Session, scope: Scope, *, actor: Actor, now: datetime) -> Connection:
    """Let the replaced signing secret verify no more, from now on. Raises StripeNotConnected."""
    connection = queries.connection_of(db, scope)
    if connection is None:
        raise StripeNotConnected
    if rules.overlap_until(connection, now) is None:
        return connection
    before = audit_view(connection)
    connection.previous_webhook_secret_until = connection.updated_at = now
    db.add(connection)
    record_change(db, connection, "webhook_secret.overlap_ended", actor=actor, before=before, now=now)
    return connection


def register_endpoint(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    base_url: str,
    rotate: bool = False,
    has_trials: HasTrials,
    actor: Actor,
    now: datetime,
) -> Connection:
    """Set this connection's webhook endpoint up at Stripe, or mend it: see `repair`.

    A new one's secret is stored before the one it replaces is removed, so that no event falls between and
    a call that broke off is mended by the next. `rotate` asks for a new secret.
    Raises StripeNotConnected, CredentialRefused where Stripe could not reach us, and Stripe's errors.
    """
    with database.read() as db:
        connection = queries.connection_of(db, scope)
        sells_trials = has_trials(db, scope)
    if connection is None:
        raise StripeNotConnected
    wanted = rules.wanted_events(connection.provider, has_trials=sells_trials)
    problem = rules.registration_problem(connection.provider, scope.mode, base_url)
    if problem is not None:
        raise rules.secret_refused("endpoint_unreachable", problem)
    stripe = access(gateway, secret_box, connection)
    address = rules.endpoint_address(base_url, connection.id)
    listed = [endpoint for endpoint in gateway.webhook_endpoints(stripe) if endpoint.url == address]
    known = opened(secret_box, connection.webhook_secret_sealed, secret_label(connection)) is not None
    plan = repair(
        listed, known_id=connection.webhook_endpoint_id if known else None, wanted=wanted, rotate=rotate
    )
    if plan.keep is None:
        created = _make_endpoint(gateway, stripe, connection, address, listed, wanted, now)
        with database.write() as db:
            connection, plan = _take_over(db, secret_box, connection, created, plan, actor=actor, now=now)
    _repair_at_stripe(gateway, stripe, plan, wanted)
    if plan.keep is not None and not plan.needless:
        with database.write() as db:
            _record_repair(db, connection, plan, actor=actor, now=now)
    return connection


def _take_over(
    db: Session,
    secret_box: SecretBox,
    seen: Connection,
    created: EndpointFacts,
    plan: Repair,
    *,
    actor: Actor,
    now: datetime,
) -> tuple[Connection, Repair]:
    """Store the new endpoint's secret, unless another click did meanwhile: then what was made here goes."""
    present = db.get_one(Connection, seen.id, with_for_update=True)
    if _credentials(present) != _credentials(seen):
        remove: tuple[str, ...] = (created.id,)
    else:
        remove = plan.remove
        present = save_webhook_secret(
            db,
            secret_box,
            Scope.of(seen),
            pasted=created.secret or "",
            endpoint_id=created.id,
            actor=actor,
            now=now,
        )
    return present, replace(plan, remove=tuple(e for e in remove if e != present.webhook_endpoint_id))


def _credentials(connection: Connection) -> tuple[str | None, ...]:
    return connection.key_sealed, connection.webhook_secret_sealed, connection.webhook_endpoint_id


def _repair_at_stripe(
    gateway: StripeGateway, stripe: StripeAccess, plan: Repair, wanted: Sequence[str]
) -> None:
    if plan.keep is not None and plan.update:
        gateway.update_webhook_endpoint(stripe, plan.keep.id, events=events_to_send(plan.keep, wanted))
    for endpoint_id in plan.remove:
        gateway.delete_webhook_endpoint(stripe, endpoint_id)


def _make_endpoint(
    gateway: StripeGateway,
    stripe: StripeAccess,
    connection: Connection,
    address: str,
    listed: list[EndpointFacts],
    wanted: tuple[str, ...],
    now: datetime,
) -> EndpointFacts:
    """A new endpoint with its secret; two clicks in one moment get the same one."""
    state = [connection.id, connection.webhook_endpoint_id or "", *sorted(each.id for each in listed)]
    moment = int(now.timestamp()) // _SAME_CLICK_SECONDS
    state_word = hashlib.sha256(" ".join(state).encode()).hexdigest()[:16]
    created = gateway.create_webhook_endpoint(
        stripe,
        url=address,
        events=wanted,
        idempotency_key=f"{connection.id}:endpoint:{state_word}:{moment}",
    )
    if created.secret is None:
        raise WebhookSecretMissing("Stripe created the endpoint, but did not return its signing secret.")
    return created


def _record_repair(db: Session, connection: Connection, plan: Repair, *, actor: Actor, now: datetime) -> None:
    record(
        db,
        actor=actor,
        action="webhook_endpoint.repaired",
        project_id=connection.project_id,
        mode=connection.mode,
        about=connection.id,
        before={"updated": False, "endpoints": sorted([connection.webhook_endpoint_id or "", *plan.remove])},
        after={"updated": plan.update, "endpoints": [connection.webhook_endpoint_id or ""]},
        now=now,
    )
    probe_soon(db, connection.scope, connection_id=connection.id, now=now)


def _refuse_secret_of_other_mode(db: Session, secret_box: SecretBox, scope: Scope, secret: str) -> None:
    other = queries.connection_of(db, scope.other)
    if other is None:
        return
    mode = scope.mode
    if _same(secret, opened(secret_box, other.webhook_secret_sealed, secret_label(other))):
        raise rules.secret_refused(
            "secret_of_other_mode",
            f"This is the {mode.other.value} mode signing secret. Every endpoint in Stripe has its own "
            f"secret. In Stripe, create an endpoint in {mode.value} mode for the address shown here.",
        )


def _same(secret: str, other: str | None) -> bool:
    return other is not None and hmac.compare_digest(secret.encode(), other.encode())
