"""Mistakes that the proof must find: each is planted in the processes that are killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
from sqlmodel import Session

from licenzy.entitlements.actions import project_purchase
from licenzy.hooks import stripe as hooks
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events import pipeline
from licenzy.stripe_events import receive as inbox
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.queries import count_repeat
from tests.support.patches import replace


def dedupe_off() -> None:
    """What was told before is taken for news, and the facts' table has lost its constraint."""
    count = count_repeat

    def count_as_new(db: Session, scope: Scope, **named: str) -> Any:
        return count(db, scope, **named)._replace(status=EventStatus.RECEIVED)

    replace(inbox, count_repeat=count_as_new)


def two_transactions() -> None:
    """The facts are committed first, and the projection follows in a transaction that nobody repeats."""
    whole, project = inbox.receive, project_purchase

    def facts_then_projection(db: Session, **named: Any) -> Any:
        touched: list[Any] = []

        def only_note(_db: Session, purchase: Any, **_: Any) -> list[Any]:
            touched.append(purchase)
            return []

        replace(pipeline, project_purchase=only_note)
        row = whole(db, **named)
        replace(pipeline, project_purchase=project)
        db.commit()
        for purchase in touched:
            project(db, purchase, now=named["now"])
        return row

    replace(hooks, receive=facts_then_projection)


def answer_before_the_commit() -> None:
    """Stripe is told 2xx, and the transaction is committed afterwards."""

    def receive_now_commit_later(parts: Runtime, posted: Any, find: Any) -> None:
        block = parts.database.write()
        db = block.__enter__()
        hooks._take(db, hooks._signer(parts, find(db), posted.body, parts.clock()), posted, parts.clock())

        @flask.after_this_request
        def commit_at_the_end(response: flask.Response) -> flask.Response:
            response.call_on_close(lambda: block.__exit__(None, None, None))
            return response

    hooks._receive = receive_now_commit_later


MISTAKES: dict[str, Callable[[], None]] = {
    mistake.__name__: mistake for mistake in (dedupe_off, two_transactions, answer_before_the_commit)
}
