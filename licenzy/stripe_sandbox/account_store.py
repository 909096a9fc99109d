"""One account, open for one transaction: its objects, its clock, and the events that changes
give off."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

from licenzy.stripe_sandbox import fault_injection
from licenzy.stripe_sandbox.accounts import Account
from licenzy.stripe_sandbox.due import next_due
from licenzy.stripe_sandbox.errors import InvalidParameter, ResourceMissing
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.store import note_prices
from licenzy.stripe_sandbox.version import PINNED, Json

Condition = tuple[str, list[Any]]
QueuedPost = tuple[str, str]
_KIND_LABELS = {"webhook_endpoint": "webhook endpoint"}


@dataclass
class AccountStore:
    """`now` is the account's simulated time and may be moved by the clock; `caused_by` is the request to name
    in events."""

    db: sqlite3.Connection
    account: Account
    public_url: str
    now: int = 0
    request_id: str | None = None
    idempotency_key: str | None = None
    emitted: list[Json] = field(default_factory=list)
    lane: str = ""
    """Where posts wait: empty for what somebody waits for, else the subscription that renews meanwhile."""
    silent: bool = False
    """Whether what happens is kept to itself: no event is recorded, and nothing is posted."""
    _known: dict[str, Json] = field(default_factory=dict)
    """Objects read or made in this transaction, by id: whoever asks for one gets the same, with all
    changes."""

    def __post_init__(self) -> None:
        self.now = self.now or self.account.now

    # Objects -----------------------------------------------------------------------------------

    def insert(self, body: Json) -> Json:
        created = body["created"] if "created" in body else body["date"]  # As invoice items call it.
        inserted = self.db.execute(
            "INSERT INTO objects (scope, id, kind, created, body, due) VALUES (?, ?, ?, ?, ?, ?)",
            (self.account.scope, body["id"], body["object"], created, json.dumps(body), next_due(body)),
        )
        assert inserted.lastrowid is not None
        note_prices(self.db, self.account.scope, inserted.lastrowid, body)
        if body["object"] != "event":
            self._known[body["id"]] = body
        return body

    def forget(self) -> None:
        """Hold on to no object any longer, so that many can be gone through one after another."""
        self._known.clear()

    def change(self, body: Json, **changes: Any) -> Json:
        """Write the changes into the object and its row; returns what they replaced, as events show it."""
        previous = {k: body.get(k) for k, v in changes.items() if body.get(k) != v}
        body.update(changes)
        rows = self.db.execute(
            "UPDATE objects SET body = ?, due = ?, version = version + 1 WHERE scope = ? AND id = ?"
            " RETURNING seq",
            (json.dumps(body), next_due(body), self.account.scope, body["id"]),
        ).fetchall()
        if "items" in changes:
            note_prices(self.db, self.account.scope, rows[0]["seq"], body)
        return {k: v for k, v in previous.items() if not k.startswith("_")}

    def remove(self, body: Json) -> None:
        self.db.execute(
            "UPDATE objects SET deleted = 1, version = version + 1 WHERE scope = ? AND id = ?",
            (self.account.scope, body["id"]),
        )

    def find(self, kind: str, object_id: str | None) -> Json | None:
        row = self.db.execute(
            "SELECT body FROM objects WHERE scope = ? AND id = ? AND kind = ? AND deleted = 0",
            (self.account.scope, object_id, kind),
        ).fetchone()
        return self._one(row["body"]) if row else None

    def _one(self, text: str) -> Json:
        body: Json = json.loads(text)
        return body if body["object"] == "event" else self._known.setdefault(body["id"], body)

    def get(self, kind: str, object_id: str, *, param: str, in_address: bool = False) -> Json:
        """The object, or Stripe's refusal, which says when the other mode of the account has it."""
        found = self.find(kind, object_id)
        if found is not None:
            return found
        message = f"No such {_KIND_LABELS.get(kind, kind)}: '{object_id}'"
        if self._in_other_mode(kind, object_id):
            mine, other = ("live", "test") if self.account.livemode else ("test", "live")
            message += f"; a similar object exists in {other} mode, but a {mine} mode key was used to make "
            message += "this request."
        raise ResourceMissing(message, param=param, in_address=in_address)

    def _in_other_mode(self, kind: str, object_id: str) -> bool:
        row = self.db.execute(
            "SELECT 1 FROM objects JOIN accounts USING (scope)"
            " WHERE objects.id = ? AND kind = ? AND livemode <> ? AND deleted = 0",
            (object_id, kind, self.account.livemode),
        ).fetchone()
        return row is not None

    def find_any(self, object_id: str) -> Json | None:
        """By id alone, deleted objects included as Stripe shows them: for expanding references."""
        row = self.db.execute(
            "SELECT body, kind, deleted FROM objects WHERE scope = ? AND id = ?",
            (self.account.scope, object_id),
        ).fetchone()
        if row is None:
            return None
        return (
            {"id": object_id, "object": row["kind"], "deleted": True}
            if row["deleted"]
            else json.loads(row["body"])
        )

    def is_deleted(self, kind: str, object_id: str) -> bool:
        row = self.db.execute(
            "SELECT deleted FROM objects WHERE scope = ? AND id = ? AND kind = ?",
            (self.account.scope, object_id, kind),
        ).fetchone()
        return bool(row and row["deleted"])

    def select(self, kind: str, *conditions: Condition, limit: int = -1) -> list[Json]:
        """Objects newest first. A condition is a piece of SQL over `body`, `created` or `id`, with its
        values."""
        rows = self._rows(kind, list(conditions), "seq DESC", limit)
        return [self._one(row["body"]) for row in rows]

    def next_due(self, *, until: int) -> Json | None:
        """What falls due first by `until`; of the same second, what was made first."""
        row = self.db.execute(
            "SELECT body FROM objects WHERE scope = ? AND due <= ? AND deleted = 0 ORDER BY due, seq LIMIT 1",
            (self.account.scope, until),
        ).fetchone()
        return self._one(row["body"]) if row else None

    def page(self, kind: str, params: Json, *conditions: Condition) -> tuple[list[Json], bool]:
        """One page as Stripe's cursors cut it: newest first, and whether more lies beyond it."""
        all_conditions = [*conditions, *_created_conditions(params.get("created"))]
        limit, order, backwards = params.get("limit", 10), "seq DESC", False
        if "starting_after" in params:
            all_conditions.append(("seq < ?", [self._seq(kind, params["starting_after"], "starting_after")]))
        if "ending_before" in params:
            all_conditions.append(("seq > ?", [self._seq(kind, params["ending_before"], "ending_before")]))
            order, backwards = "seq ASC", True
        rows = self._rows(kind, all_conditions, order, limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        found = [self._one(row["body"]) for row in rows]
        return (found[::-1] if backwards else found), more

    def _rows(self, kind: str, conditions: list[Condition], order: str, limit: int) -> list[sqlite3.Row]:
        sql = "SELECT body FROM objects WHERE scope = ? AND kind = ? AND deleted = 0"
        values: list[Any] = [self.account.scope, kind]
        for piece, more in conditions:
            sql += f" AND {piece}"
            values += more
        return self.db.execute(f"{sql} ORDER BY {order} LIMIT ?", [*values, limit]).fetchall()

    def _seq(self, kind: str, object_id: str, param: str) -> int:
        row = self.db.execute(
            "SELECT seq FROM objects WHERE scope = ? AND id = ? AND kind = ?",
            (self.account.scope, object_id, kind),
        ).fetchone()
        if row is None:
            raise InvalidParameter(f"No such {kind}: '{object_id}'", code="resource_missing", param=param)
        return int(row["seq"])

    # Events ------------------------------------------------------------------------------------

    def emit(self, type_: str, body: Json, previous: Json | None = None) -> Json:
        """Record that something happened, with the object as it is at this moment, and a post for each
        endpoint."""
        data: Json = {"object": public(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        endpoints = self._subscribed(type_)
        event: Json = {
            "id": new_id("evt_1"),
            "object": "event",
            "api_version": PINNED,
            "created": self.now,
            "data": data,
            "livemode": self.account.livemode,
            "pending_webhooks": len(endpoints),
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": type_,
        }
        if self.silent:
            return event
        self.insert(event)
        for endpoint in reversed(endpoints):
            self.queue_post(str(event["id"]), endpoint["id"])
        self.emitted.append(event)
        return event

    def _subscribed(self, type_: str) -> list[Json]:
        endpoints = [] if self.silent else self.select("webhook_endpoint")
        return [endpoint for endpoint in endpoints if _is_subscribed(endpoint, type_)]

    def queue_post(self, event_id: str, endpoint_id: str) -> None:
        due = time.time() + fault_injection.webhook_delay(self.account.faults)
        self.db.execute(
            "INSERT INTO posts (scope, event, endpoint, due, lane) VALUES (?, ?, ?, ?, ?)",
            (self.account.scope, event_id, endpoint_id, due, self.lane),
        )

    def last_post(self) -> int:
        """The number of the newest post of all; later ones have higher numbers."""
        row = self.db.execute("SELECT COALESCE(MAX(number), 0) AS n FROM posts").fetchone()
        return int(row["n"])

    def posts(self, *, after: int) -> list[QueuedPost]:
        """The account's posts queued since, as event and endpoint, in their order; none in the background."""
        rows = self.db.execute(
            "SELECT event, endpoint FROM posts WHERE scope = ? AND number > ? AND lane = '' ORDER BY number",
            (self.account.scope, after),
        )
        return [(row["event"], row["endpoint"]) for row in rows]

    def lose_posts(self, *, after: int) -> None:
        self.db.execute(
            "UPDATE posts SET status = 'lost', last_error = 'lost on purpose' WHERE scope = ? AND number > ?",
            (self.account.scope, after),
        )

    def requeue_posts(self, posts: list[QueuedPost], *, after: int) -> None:
        """Send these, in this order, instead of what was queued since."""
        self.db.execute(
            "DELETE FROM posts WHERE scope = ? AND number > ? AND lane = ''", (self.account.scope, after)
        )
        for event_id, endpoint_id in posts:
            self.queue_post(event_id, endpoint_id)

    def undelivered(self, event_id: str) -> int:
        """How many endpoints have not yet answered this event with a 2xx."""
        row = self.db.execute(
            "SELECT COUNT(*) AS n FROM posts WHERE scope = ? AND event = ? AND status <> 'sent'",
            (self.account.scope, event_id),
        ).fetchone()
        return int(row["n"])


def public(body: Json) -> Json:
    """The object without the sandbox's own notes, whose names begin with an underscore."""
    return {k: v for k, v in body.items() if not k.startswith("_")}


def where(field_name: str, value: Any) -> Condition:
    """Objects whose field has this value; nested fields with dots."""
    return (f"json_extract(body, '$.{field_name}') = ?", [value])


def _is_subscribed(endpoint: Json, type_: str) -> bool:
    return endpoint["status"] == "enabled" and (
        "*" in endpoint["enabled_events"] or type_ in endpoint["enabled_events"]
    )


def _created_conditions(created: int | Json | None) -> list[Condition]:
    if created is None:
        return []
    if isinstance(created, int):
        return [("created = ?", [created])]
    signs = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
    return [(f"created {signs[name]} ?", [value]) for name, value in created.items()]
