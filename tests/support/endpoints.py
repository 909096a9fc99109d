"""Webhook endpoints and deliveries for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.deliveries.actions import EndpointContext, create_endpoint
from licenzy.deliveries.models import EventType, Source, WebhookEndpoint
from licenzy.deliveries.outbox import announce
from licenzy.deliveries.rules import Data, EventDraft
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from tests.support.clock import START

ALL = [each.value for each in EventType]


def make_endpoint(
    db: Session,
    *,
    project_id: str,
    secret_box: SecretBox,
    url: str = "http://127.0.0.1:9999/hook",
    types: Sequence[str] = tuple(ALL),
    mode: Mode = Mode.TEST,
    now: datetime = START,
) -> tuple[WebhookEndpoint, str]:
    """The row, and the secret in the clear."""
    context = EndpointContext(Scope(project_id, mode), Actor(), now)
    return create_endpoint(db, secret_box, context, url=url, types=types, private_allowed=True)


def tell(
    db: Session,
    *,
    project_id: str,
    count: int = 1,
    mode: Mode = Mode.TEST,
    event_type: EventType = EventType.ENTITLEMENT_UPDATED,
    subject_id: str | None = None,
    now: datetime = START,
) -> None:
    """Something happens `count` times."""
    happened = [
        EventDraft(event_type, Source.PORTAL, "manual_grant", subject_id, Data(units=number))
        for number in range(count)
    ]
    announce(db, Scope(project_id, mode), drafts=lambda: happened, now=now)
