"""Verbs on endpoints: made with a secret that is shown once, changed, paused, rotated, disabled, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col

from licenzy.alignment.modes import Mode
from licenzy.deliveries import rules, signing
from licenzy.deliveries.claims import change_deliveries
from licenzy.deliveries.models import MANUAL, Delivery, DeliveryStatus, EventType, WebhookEndpoint
from licenzy.deliveries.queries import endpoint
from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.queries import refuse_archived
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """Who acts, where and when."""

    scope: Scope
    actor: Actor
    now: datetime


def create_endpoint(
    db: Session,
    secret_box: SecretBox,
    context: EndpointContext,
    *,
    url: str,
    types: Sequence[str],
    description: str = "",
    secret: str | None = None,
    private_allowed: bool,
) -> tuple[WebhookEndpoint, str]:
    """Make an endpoint. The second value is its secret: a new one, to be shown once, unless one is given.

    Raises InvalidRequest with `fields`, ProjectArchived and NotFound.
    """
    refuse_archived(db, project_id=context.scope.project_id)
    url, types, description = _checked(url, types, description, context.scope.mode, private_allowed)
    endpoint_id, secret = new_id("whe"), _secret(secret)
    made = WebhookEndpoint(
        id=endpoint_id,
        project_id=context.scope.project_id,
        mode=context.scope.mode,
        url=url,
        description=description,
        types=types,
        secret_sealed=secret_box.encrypt(secret, bound_to=signing.secret_label(endpoint_id)),
        secret_masked=signing.masked(secret),
        secret_saved_at=context.now,
        created_by=context.actor.user_id,
        created_at=context.now,
    )
    db.add(made)
    db.flush()
    _note(db, context, "created", made, after={"url": url, "types": types})
    return made, secret


def change_endpoint(
    db: Session,
    context: EndpointContext,
    *,
    endpoint_id: str,
    url: str,
    types: Sequence[str],
    description: str,
    private_allowed: bool,
) -> WebhookEndpoint:
    """Give an endpoint another address or other types. Raises NotFound, InvalidRequest with `fields`."""
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    before = {"url": found.url, "types": found.types}
    found.url, found.types, found.description = _checked(
        url, types, description, context.scope.mode, private_allowed
    )
    if found.url != before["url"]:
        found.failing_since = None  # The new address has not failed yet.
    db.flush()
    _note(db, context, "changed", found, before=before, after={"url": found.url, "types": found.types})
    return found


def pause_endpoint(db: Session, context: EndpointContext, *, endpoint_id: str) -> WebhookEndpoint:
    """Send nothing for now; events are written and wait. Raises NotFound."""
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    if found.paused_at is None:
        found.paused_at = context.now
        _note(db, context, "paused", found)
    return found


def resume_endpoint(db: Session, context: EndpointContext, *, endpoint_id: str) -> WebhookEndpoint:
    """Send again, what waited included, whether it was paused or disabled.

    Raises NotFound and ProjectArchived.
    """
    refuse_archived(db, project_id=context.scope.project_id)
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    if found.paused_at is not None or found.disabled_at is not None:
        found.paused_at = found.disabled_at = found.disabled_reason = found.failing_since = None
        _note(db, context, "resumed", found)
    return found


def disable_endpoint(db: Session, context: EndpointContext, *, endpoint_id: str) -> WebhookEndpoint:
    """Send nothing and write nothing for it until it is resumed. Raises NotFound."""
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    if found.disabled_at is None:
        found.disabled_at, found.disabled_reason = context.now, MANUAL
        _note(db, context, "disabled", found)
    return found


def rotate_secret(
    db: Session,
    secret_box: SecretBox,
    context: EndpointContext,
    *,
    endpoint_id: str,
    overlap: timedelta,
    secret: str | None = None,
) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint a new secret, shown once, or the given one; for `overlap` the previous one signs too.

    Raises NotFound, InvalidRequest with `fields`.
    """
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    secret = _secret(secret)
    found.previous_secret_sealed = found.secret_sealed if overlap else None
    found.previous_secret_until = context.now + overlap if overlap else None
    found.secret_sealed = secret_box.encrypt(secret, bound_to=signing.secret_label(found.id))
    found.secret_masked, found.secret_saved_at = signing.masked(secret), context.now
    db.flush()
    _note(db, context, "secret_rotated", found, after={"secret": found.secret_masked})
    return found, secret


def delete_endpoint(db: Session, context: EndpointContext, *, endpoint_id: str) -> None:
    """Forget an endpoint and its secrets; what was not sent is dead. Raises NotFound."""
    found = endpoint(db, context.scope, endpoint_id=endpoint_id)
    # Before the endpoint, as senders do it: the two never wait for each other in a circle.
    waiting = (col(Delivery.endpoint_id) == found.id, col(Delivery.next_try_at).is_not(None))
    ended = {"status": DeliveryStatus.DEAD, "next_try_at": None, "leased_until": None}
    change_deliveries(db, context.scope, waiting, {**ended, "last_error": "The endpoint was deleted."})
    found.deleted_at = context.now
    found.secret_sealed = found.previous_secret_sealed = found.previous_secret_until = None
    db.flush()
    _note(db, context, "deleted", found, before={"url": found.url, "types": found.types})


def _checked(
    url: str, types: Sequence[str], description: str, mode: Mode, private_allowed: bool
) -> tuple[str, list[str], str]:
    url, description = url.strip(), clean_name(description)
    wrong = rules.endpoint_problems(url, types, description, mode=mode, private_allowed=private_allowed)
    if wrong:
        raise InvalidRequest(fields=wrong)
    return url, [each.value for each in EventType if each in types], description


def _secret(given: str | None) -> str:
    if given is None:
        return signing.new_secret()
    problem = rules.secret_problem(given)
    if problem is not None:
        raise InvalidRequest(fields={"secret": problem})
    return given


def _note(
    db: Session,
    context: EndpointContext,
    what: str,
    about: WebhookEndpoint,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    record(
        db,
        actor=context.actor,
        action=f"webhook_endpoint.{what}",
        about=about.id,
        before=before,
        after=after,
        now=context.now,
        project_id=context.scope.project_id,
        mode=context.scope.mode,
    )
