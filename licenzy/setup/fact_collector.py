"""Gathers what alignment's rules judge: both modes of a project, from what is stored. Stripe is not asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.facts import (
    ConnectionFacts,
    EndpointSeen,
    EventSeen,
    KeyFacts,
    MappedPrice,
    ProductFacts,
    ProjectFacts,
    Seen,
    SideFacts,
    SightingFacts,
    SubscriptionsOutside,
    TrafficFacts,
    UnmappedPrice,
    UntrackedFacts,
)
from licenzy.alignment.modes import Mode
from licenzy.api_keys import queries as api_keys
from licenzy.api_keys.models import KeyScope
from licenzy.api_keys.rules import allows, has_expired, masked
from licenzy.catalog import queries as catalog
from licenzy.catalog.product_facts import facts_of_product
from licenzy.connections import rules as connection_rules
from licenzy.connections.credentials import is_locked_out, opened, secret_label
from licenzy.connections.event_polls import fetch_facts
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.db.reads import read_all, read_one
from licenzy.deliveries.queries import failing_endpoints
from licenzy.entitlements import statuses
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.models import Noticed, StripeProbe
from licenzy.observations.queries import SIGHTINGS_WINDOW, probe_of, resolved_findings, sightings
from licenzy.projects.scope import Scope
from licenzy.setup.checkout_facts import last_checkouts, unheard_attempts
from licenzy.setup.new_subjects import new_subjects
from licenzy.stripe_events.models import (
    EventStatus,
    SettlingRead,
    StripeEvent,
    UnmappedItem,
    UntrackedCheckout,
)
from licenzy.stripe_events.pipeline import ALSO_BOUGHT
from licenzy.stripe_events.receive import OF_ACCOUNT, THIN
from licenzy.stripe_events.untracked_queries import are_waiting
from licenzy.stripe_gateway.client import API_VERSION

_MOST_EVENTS = 50


def project_facts(
    db: Session, secret_box: SecretBox, *, project_id: str, base_url: str, now: datetime
) -> ProjectFacts:
    """Everything that is known of both modes of a project, as alignment's rules see it."""
    sides = {mode: _side(db, secret_box, Scope(project_id, mode), base_url, now) for mode in Mode}
    return ProjectFacts(now, sides[Mode.TEST], sides[Mode.LIVE])


def key_facts(db: Session, scope: Scope, *, now: datetime) -> tuple[KeyFacts, ...]:
    """The API keys of one side, as alignment's rules see them."""
    return tuple(
        KeyFacts(
            key.id,
            key.name,
            masked(scope.mode, key.last_four),
            key.created_at,
            key.last_used_at,
            key.revoked_at,
            has_expired(key, now),
            allows(key.scopes, KeyScope.RUNTIME),
            allows(key.scopes, KeyScope.READ),
        )
        for key in api_keys.keys(db, scope)
    )


def untracked_purchases(db: Session, scope: Scope, *, now: datetime) -> UntrackedFacts:
    """What was bought past Licenzy in the last seven days and nobody has adopted."""
    return UntrackedFacts(*_untracked(db, scope, since=now - SIGHTINGS_WINDOW))


@read_one
def _untracked(scope: Scope, *, since: datetime) -> Select[int, int, datetime | None]:
    row = UntrackedCheckout
    return select(
        func.count(row.session_id),  # type: ignore[arg-type]
        func.count() - func.count(row.session_id),  # type: ignore[arg-type]
        func.max(row.kept_at),
    ).where(*are_waiting(scope), row.kept_at > since)


@read_one
def _outside(scope: Scope) -> Select[int, datetime | None]:
    row = UntrackedCheckout
    return select(func.count(), func.max(row.kept_at)).where(
        *are_waiting(scope), col(row.sold_here), col(row.status).in_(sorted(statuses.LIVE))
    )


def _side(db: Session, secret_box: SecretBox, scope: Scope, base_url: str, now: datetime) -> SideFacts:
    connection = connection_of(db, scope)
    probe = probe_of(db, scope)
    products = tuple(map(facts_of_product, catalog.products(db, scope)))
    resolved = resolved_findings(db, scope)
    traffic = _traffic(db, scope, probe, now)
    if any(product.is_default and product.included for product in products):
        with_clock, fixed_at = connection.scope if connection else scope, resolved.get("many_new_subjects")
        found = new_subjects(db, with_clock, now=now, fixed_at=fixed_at)
        traffic = replace(traffic, new_subjects=found)
    return SideFacts(
        mode=scope.mode,
        connection=_connection(db, secret_box, connection, probe, base_url) if connection else None,
        products=tuple(_priced(product, connection, probe) for product in products),
        keys=key_facts(db, scope, now=now),
        traffic=traffic,
        resolved=resolved,
        probed_at=probe.probed_at if probe else None,
        probe_due_at=probe.due_at if probe is not None and probe.due_at <= now else None,
        probe_problem=probe.problem if probe else None,
    )


def _connection(
    db: Session, secret_box: SecretBox, connection: Connection, probe: StripeProbe | None, base_url: str
) -> ConnectionFacts:
    problem = connection_rules.registration_problem(connection.provider, connection.mode, base_url)
    facts = replace(
        connection_rules.facts_of(
            connection,
            has_trials=catalog.has_trials(db, Scope.of(connection)),
            fetch=fetch_facts(db, connection, base_url=base_url),
        ),
        locked_out=is_locked_out(secret_box, connection),
        shares_secret=_shares_secret(db, secret_box, connection),
        reachable=problem is None,
        wanted_version=API_VERSION,
    )
    if probe is None or probe.probed_at is None or _older(probe, connection.key_saved_at):
        return facts
    at, answers = probe.probed_at, probe.answers
    accepted, missing, listed = (
        answers.get(name) for name in ("key_accepted", "missing_permissions", "endpoints")
    )
    if _older(probe, connection.webhook_secret_saved_at):
        listed = None  # The endpoint may have been made with that secret, after the look.
    return replace(
        facts,
        key_accepted=None if accepted is None else Seen(accepted, at),
        missing_permissions=None if missing is None else Seen(tuple(missing), at),
        endpoints=None if listed is None else Seen(_reaching_us(listed, connection, base_url), at),
    )


def _reaching_us(
    listed: list[dict[str, Any]], connection: Connection, base_url: str
) -> tuple[EndpointSeen, ...]:
    """The endpoints with this connection's address, else those with our address for all connections."""
    seen = [_endpoint(listed_endpoint) for listed_endpoint in listed]
    own = [each for each in seen if connection_rules.is_address_of(each.url, connection.id)]
    shared = f"{base_url}{connection_rules.SHARED_PATH}"
    return tuple(own or (each for each in seen if each.url.rstrip("/") == shared))


def _older(probe: StripeProbe, saved_at: datetime | None) -> bool:
    """Whether the look was made before something was saved, and so may tell of what was there before."""
    return saved_at is not None and probe.probed_at is not None and probe.probed_at < saved_at


def _endpoint(listed_endpoint: dict[str, Any]) -> EndpointSeen:
    return EndpointSeen(
        id=listed_endpoint["id"],
        url=listed_endpoint["url"],
        enabled=listed_endpoint["status"] == "enabled",
        api_version=listed_endpoint["api_version"],
        events=frozenset(listed_endpoint["enabled_events"]),
    )


def _shares_secret(db: Session, secret_box: SecretBox, connection: Connection) -> bool:
    other = connection_of(db, connection.scope.other)
    if other is None or other.webhook_secret_sealed is None or connection.webhook_secret_sealed is None:
        return False
    ours = opened(secret_box, connection.webhook_secret_sealed, secret_label(connection))
    return ours is not None and ours == opened(secret_box, other.webhook_secret_sealed, secret_label(other))


def _priced(product: ProductFacts, connection: Connection | None, probe: StripeProbe | None) -> ProductFacts:
    if probe is None or probe.probed_at is None or "missing_prices" not in probe.answers:
        return product
    if connection is not None and _older(probe, connection.key_saved_at):
        return product
    missing, at = probe.answers["missing_prices"], probe.probed_at
    return replace(product, prices=tuple(_found_or_not(price, missing, at) for price in product.prices))


def _found_or_not(price: MappedPrice, missing: dict[str, bool | None], probed_at: datetime) -> MappedPrice:
    if probed_at < price.checked_at:
        return price  # It was read since, so it was there.
    return replace(
        price,
        missing=Seen(price.stripe_price_id in missing, probed_at),
        in_other_mode=missing.get(price.stripe_price_id),
    )


def _traffic(
    db: Session,
    scope: Scope,
    probe: StripeProbe | None,
    now: datetime,
) -> TrafficFacts:
    noticed = sightings(db, scope, now=now)
    events = _event_facts(db, scope, now)
    return TrafficFacts(
        price_ids_sent=noticed[Noticed.PRICE_ID_SENT],
        other_mode_products=noticed[Noticed.OTHER_MODE_PRODUCT],
        browser_calls=noticed[Noticed.BROWSER_CALL],
        revoked_key_calls=noticed[Noticed.REVOKED_KEY_CALL],
        signature_failures=noticed[Noticed.SIGNATURE_FAILED],
        ambiguous_signatures=noticed[Noticed.SIGNATURE_AMBIGUOUS],
        credentials_refused=noticed[Noticed.CREDENTIAL_REFUSED],
        untracked=untracked_purchases(db, scope, now=now),
        outside=SubscriptionsOutside(*_outside(db, scope)),
        wrong_mode_events=events["wrong_mode"],
        wrong_account_events=events["wrong_account"],
        thin_events=events["thin"],
        unmapped_lines=events["also_bought"],
        unmapped_prices=tuple(UnmappedPrice(*row) for row in _unmapped_prices(db, scope)),
        unknown_statuses=events["unknown_status"],
        unapplied_events=events["failed"],
        unreadable_objects=_unreadable(db, scope, now),
        unheard_payments=unheard_attempts(db, scope, probe),
        failing_endpoints=failing_endpoints(db, scope, now=now),
        checkouts=last_checkouts(db, scope, since=now - SIGHTINGS_WINDOW),
    )


def _event_facts(db: Session, scope: Scope, now: datetime) -> dict[str, tuple[EventSeen, ...]]:
    """The events of the last seven days that something is to be said about, by what that is."""
    listed_endpoint = {
        "wrong_mode": _events(db, scope, status=EventStatus.WRONG_MODE, since=now - SIGHTINGS_WINDOW),
        "wrong_account": _last_noted(
            db, scope, status=EventStatus.WRONG_ACCOUNT, noting=OF_ACCOUNT, since=now - SIGHTINGS_WINDOW
        ),
        "also_bought": _last_noted(
            db, scope, status=EventStatus.APPLIED, noting=ALSO_BOUGHT, since=now - SIGHTINGS_WINDOW
        ),
        "thin": _noted_events(
            db, scope, status=EventStatus.INVALID, noting=THIN, since=now - SIGHTINGS_WINDOW
        ),
        "unknown_status": _applied_events(db, scope, noting="The status ", since=now - SIGHTINGS_WINDOW),
        "failed": _events(db, scope, status=EventStatus.FAILED, since=now - SIGHTINGS_WINDOW),
    }
    return {
        name: tuple(EventSeen(id_, at, note or "") for id_, at, note in rows)
        for name, rows in listed_endpoint.items()
    }


@read_all
def _events(scope: Scope, *, since: datetime, status: EventStatus) -> Select[str, datetime, str | None]:
    return _newest_events(scope, since).where(StripeEvent.status == status)


def _applied_events(
    db: Session, scope: Scope, *, since: datetime, noting: str
) -> Sequence[tuple[str, datetime, str | None]]:
    return _noted_events(db, scope, status=EventStatus.APPLIED, noting=noting, since=since)


@read_all
def _noted_events(
    scope: Scope, *, since: datetime, status: EventStatus, noting: str
) -> Select[str, datetime, str | None]:
    return _newest_events(scope, since).where(
        StripeEvent.status == status, col(StripeEvent.note).startswith(noting)
    )


@read_all
def _last_noted(
    scope: Scope, *, since: datetime, status: EventStatus, noting: str
) -> Select[str, datetime, str | None]:
    """The newest event of each note that begins so."""
    noted = (StripeEvent.status == status, col(StripeEvent.note).startswith(noting))
    last = _newest_events(scope, since).where(*noted).order_by(None).limit(None)
    ids = last.with_only_columns(func.max(StripeEvent.id)).group_by(col(StripeEvent.note))
    return _newest_events(scope, since).where(col(StripeEvent.id).in_(ids))


def _newest_events(scope: Scope, since: datetime) -> Select[str, datetime, str | None]:
    return (
        select(StripeEvent.event_id, StripeEvent.received_at, StripeEvent.note)
        .where(
            StripeEvent.project_id == scope.project_id,
            StripeEvent.mode == scope.mode,
            StripeEvent.received_at > since,
        )
        .order_by(col(StripeEvent.received_at).desc())
        .limit(_MOST_EVENTS)
    )


@read_all
def _unmapped_prices(scope: Scope) -> Select[str, str | None, int, datetime]:
    return (
        select(
            UnmappedItem.stripe_price_id,
            func.max(UnmappedItem.stripe_product_id),
            func.count(),
            func.min(UnmappedItem.seen_at),
        )
        .where(UnmappedItem.project_id == scope.project_id, UnmappedItem.mode == scope.mode)
        .group_by(UnmappedItem.stripe_price_id)
        .order_by(UnmappedItem.stripe_price_id)
        .limit(_MOST_EVENTS)
    )


def _unreadable(db: Session, scope: Scope, now: datetime) -> tuple[SightingFacts, ...]:
    return tuple(
        SightingFacts(row.object_id, row.tries, row.read_at or row.due_at or now, row.problem or "")
        for row in _problem_reads(db, scope)
    )


@read_all
def _problem_reads(scope: Scope) -> SelectOfScalar[SettlingRead]:
    return (
        select(SettlingRead)
        .where(
            SettlingRead.project_id == scope.project_id,
            SettlingRead.mode == scope.mode,
            col(SettlingRead.problem).is_not(None),
        )
        .limit(_MOST_EVENTS)
    )
