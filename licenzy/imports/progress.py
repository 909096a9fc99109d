"""How an import goes on by itself: one page read, one batch matched or written at a time, under a lease.

What is done is committed with how far it came, so that a process that is killed loses one page at most, and
whoever takes the lease next goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import bindparam, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.connections.queries import connection_by_id
from licenzy.connections.rate_limit import paced_access
from licenzy.db.leases import is_free, take_lease
from licenzy.db.reads import read_first
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import insert_new, table_of
from licenzy.errors import LicenzyError
from licenzy.imports import queries
from licenzy.imports.actions import forget_content, require_same_account
from licenzy.imports.known import known_of
from licenzy.imports.matching import MapLines, match
from licenzy.imports.models import UNDER_WAY, Import, ImportOutcome, ImportRow, ImportStep
from licenzy.imports.read_objects import ReadPurchase, read_payment, read_subscription
from licenzy.imports.writing import write_purchase
from licenzy.kit.backoff import Backoff, Random
from licenzy.kit.clock import Clock
from licenzy.kit.lease import Lease
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.queries import is_worked_on
from licenzy.projects.scope import Scope
from licenzy.stripe_events.erased import Named, about_erased, named_in
from licenzy.stripe_gateway import values
from licenzy.stripe_gateway.client import ListPage, StripeAccess, StripeGateway
from licenzy.stripe_gateway.values import id_of, mapping

LEASE = Lease(timedelta(seconds=120))
MATCHED_AT_A_TIME = 500
WRITTEN_AT_A_TIME = 50
_MATCHING_SECONDS = 30.0
"""How long one process matches before it takes the lease anew: much shorter than that lasts."""
_BACKOFF = Backoff(first=5.0, longest=300.0, jitter=(1.0, 1.2))
_ROWS = table_of(ImportRow)


@dataclass(frozen=True, slots=True)
class Importer:
    """What an import is carried on with."""

    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    clock: Clock
    random: Random


def claim_due_import(parts: Importer) -> Import | None:
    """The import of any project that can go on, under a lease; for the worker.

    While there is none, nobody waits for the lock of writers on its account.
    """
    with parts.database.read() as db:
        due = _due_import(db, now=parts.clock())
    if due is None:
        return None
    claim = partial(claim_import, scope=Scope.of(due), import_id=due.id, now=parts.clock())
    return parts.database.retrying(claim)


@read_first
def _due_import(*, now: datetime) -> SelectOfScalar[Import]:
    return (
        select(Import)
        .where(
            col(Import.step).in_(UNDER_WAY),
            col(Import.ended_at).is_(None),
            is_free(col(Import.leased_until), now),
            is_free(col(Import.next_try_at), now),
            is_worked_on(Import.project_id),
        )
        .order_by(col(Import.started_at), col(Import.id))
        .limit(1)
    )


def claim_import(db: Session, scope: Scope, *, import_id: str, now: datetime) -> Import | None:
    """One import under a lease; None when it needs nobody, or another process is at it."""
    found = queries.import_by_id(db, scope, import_id=import_id)
    if found is None or found.step not in UNDER_WAY or found.ended_at is not None:
        return None
    key = {"project_id": found.project_id, "mode": found.mode, "id": found.id}
    if not take_lease(db, Import, key, LEASE, now=now):
        return None
    found.leased_until = LEASE.until(now)
    return found


def go_on(parts: Importer, claimed: Import) -> None:
    """The next part of a claimed import: a page, or a batch. What fails is noted and tried again later.

    Raises what goes wrong otherwise than at Stripe.
    """
    scope = Scope.of(claimed)
    try:
        if claimed.step is ImportStep.MATCH:
            _match(parts, scope, claimed)
        elif claimed.step is ImportStep.RUN:
            _write_batch(parts, scope, claimed)
        else:
            _read_page(parts, claimed)
    except LicenzyError as problem:
        parts.database.retrying(partial(_put_off, parts=parts, scope=scope, claimed=claimed, problem=problem))
    else:
        parts.database.retrying(lambda db: _release(db, scope, claimed))


def _put_off(db: Session, *, parts: Importer, scope: Scope, claimed: Import, problem: LicenzyError) -> None:
    import_ = queries.locked_import(db, scope, import_id=claimed.id)
    if import_ is None or import_.leased_until != claimed.leased_until:
        return  # Another process has taken it meanwhile, or it is over.
    import_.tries += 1
    delay = _BACKOFF.delay(import_.tries, parts.random, at_least=problem.retry_after or 0.0)
    import_.problem, import_.leased_until = problem.message[:500], None
    import_.next_try_at = parts.clock() + delay
    db.flush()


def _release(db: Session, scope: Scope, claimed: Import) -> None:
    import_ = queries.locked_import(db, scope, import_id=claimed.id)
    if import_ is not None and import_.leased_until == claimed.leased_until:
        import_.leased_until = import_.problem = import_.next_try_at = None
        import_.tries = 0
        db.flush()


# --- reading ---------------------------------------------------------------------------------------------


def _read_page(parts: Importer, claimed: Import) -> None:
    """One page of the list under way, its purchases kept."""
    with parts.database.read() as db:
        connection = connection_by_id(db, connection_id=claimed.connection_id)
    require_same_account(claimed, connection)
    assert connection is not None
    at = paced_access(parts.database, parts.gateway, parts.secret_box, connection)
    began = parts.clock()
    if claimed.step is ImportStep.SUBSCRIPTIONS:
        page = parts.gateway.subscriptions_page(at, with_ended=claimed.with_ended, after=claimed.after)
        read_at = page.at or began + timedelta(seconds=connection.clock_offset_seconds)
        found: list[ReadPurchase | None] = [_subscription(parts, at, obj, read_at) for obj in page.entries]
        references: dict[str, dict[str, str]] = {}
    else:
        page, found, references = _sessions(parts, at, claimed)
    purchases = [each for each in found if each is not None]
    keep = partial(_keep_page, claimed=claimed, page=page, purchases=purchases, references=references)
    parts.database.retrying(keep)


def _subscription(
    parts: Importer, at: StripeAccess, obj: Mapping[str, Any], read_at: datetime
) -> ReadPurchase:
    if mapping(obj.get("items")).get("has_more"):
        items = parts.gateway.subscription_items(at, str(obj["id"]))
        obj = {**obj, "items": {**obj["items"], "data": items, "has_more": False}}
    return read_subscription(obj, read_at=read_at)


def _sessions(
    parts: Importer, at: StripeAccess, claimed: Import
) -> tuple[ListPage, list[ReadPurchase | None], dict[str, dict[str, str]]]:
    """A page of sessions: what was sold once, and by subscription which session made it for whom."""
    starts = [each for each in (claimed.sessions_from, claimed.payments_since) if each is not None]
    if not starts:
        return ListPage([], None), [], {}
    page = parts.gateway.completed_sessions_page(
        at,
        created_from=max(0, int((min(starts) - timedelta(days=2)).timestamp())),
        with_payments=claimed.payments_since is not None,
        after=claimed.after,
    )
    found: list[ReadPurchase | None] = []
    references: dict[str, dict[str, str]] = {}
    for obj in page.entries:
        subscription, reference = id_of(obj.get("subscription")), obj.get("client_reference_id")
        if subscription is not None:
            named = values.reference(reference)
            references[subscription] = {"session": obj["id"], **({"reference": named} if named else {})}
        elif subscription is None and _is_wanted(obj, claimed):
            found.append(_payment(parts, at, obj))
    return page, found, references


def _is_wanted(obj: Mapping[str, Any], claimed: Import) -> bool:
    since, created = claimed.payments_since, obj.get("created")
    is_paid = obj.get("mode") == "payment" and obj.get("payment_status") in {"paid", "no_payment_required"}
    return is_paid and since is not None and isinstance(created, int) and created >= since.timestamp()


def _payment(parts: Importer, at: StripeAccess, obj: Mapping[str, Any]) -> ReadPurchase | None:
    listed = mapping(obj.get("line_items"))
    lines = listed.get("data") or []
    if listed.get("has_more") or not listed:
        lines = parts.gateway.session_lines(at, str(obj["id"]))
    intent = mapping(obj.get("payment_intent"))
    charge = mapping(intent.get("latest_charge"))
    refunds, disputes = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    if charge.get("amount_refunded") or charge.get("disputed"):
        refunds += parts.gateway.refunds_of(at, str(intent["id"]))
        disputes += parts.gateway.disputes_of(at, str(intent["id"]))
    return read_payment(obj, lines=lines, refunds=refunds, disputes=disputes)


def _keep_page(
    db: Session,
    *,
    claimed: Import,
    page: ListPage,
    purchases: Sequence[ReadPurchase],
    references: Mapping[str, Mapping[str, str]],
) -> None:
    """Write a page down, unless another process has been quicker, or somebody has stopped the import."""
    scope = Scope.of(claimed)
    import_ = queries.locked_import(db, scope, import_id=claimed.id)
    if import_ is None or (import_.step, import_.after) != (claimed.step, claimed.after):
        return
    purchases = _of_nobody_erased(db, scope, import_, purchases)
    rows = [
        {
            "project_id": scope.project_id,
            "mode": scope.mode,
            "import_id": import_.id,
            "number": import_.rows + place,
            **_EMPTY,
            **each._asdict(),
        }
        for place, each in enumerate(purchases)
    ]
    insert_new(db, ImportRow, *rows, returning=("key",))
    import_.rows += len(rows)  # One that was there already leaves its number free: none is given twice.
    _keep_references(db, scope, import_.id, references)
    if import_.step is ImportStep.SUBSCRIPTIONS and purchases:
        oldest = min(each.made_at for each in purchases)
        import_.sessions_from = min(oldest, import_.sessions_from or oldest)
    import_.seen += len(page.entries)
    import_.after = page.after
    if page.after is None:
        following = {ImportStep.SUBSCRIPTIONS: ImportStep.SESSIONS, ImportStep.SESSIONS: ImportStep.MATCH}
        import_.step, import_.seen = following[import_.step], 0
    db.flush()


def _of_nobody_erased(
    db: Session, scope: Scope, import_: Import, purchases: Sequence[ReadPurchase]
) -> list[ReadPurchase]:
    """Without the purchases of customers who were erased: nothing of them is stored again."""
    named = [_named(each, import_.metadata_keys) for each in purchases]
    erased = about_erased(db, scope, named)
    return [each for each, is_erased in zip(purchases, erased, strict=True) if not is_erased]


def _named(purchase: ReadPurchase, metadata_keys: Sequence[str]) -> Named:
    named = named_in({"customer": purchase.stripe_customer_id, **purchase.named})
    for metadata in ("subscription", "customer"):
        values_ = mapping(purchase.named.get(metadata))
        named.refs.update(str(values_[key]) for key in metadata_keys if key in values_)
    named.refs.update({str(purchase.named["reference"])} if purchase.named.get("reference") else ())
    named.purchases.add(purchase.key)
    return named


_EMPTY: dict[str, Any] = {
    "outcome": ImportOutcome.UNMATCHED,
    "candidates": [],
    "used": {},
    "chosen": False,
    "left_out": False,
    "is_newest": False,
}


def _keep_references(
    db: Session, scope: Scope, import_id: str, references: Mapping[str, Mapping[str, str]]
) -> None:
    """Note of subscriptions which session made each, and what that calls its buyer."""
    for row in queries.rows_of(db, scope, import_id=import_id, keys=sorted(references)):
        row.named = {**row.named, **references[row.key]}
        db.add(row)
    db.flush()


# --- matching --------------------------------------------------------------------------------------------


def _match(parts: Importer, scope: Scope, claimed: Import) -> None:
    """Match purchases for a while; after the last ones the import waits for a person.

    The merchant's CSV is read once for many of them, and not while others wait to write.
    """
    ends_at = time.monotonic() + _MATCHING_SECONDS
    with parts.database.read() as db:
        file = queries.map_file(db, scope, import_id=claimed.id)
    lines = MapLines(file.lines)
    work = partial(_match_batch, scope=scope, import_id=claimed.id, lines=lines, version=file.version)
    while parts.database.retrying(work) and time.monotonic() < ends_at:
        pass


def _match_batch(db: Session, *, scope: Scope, import_id: str, lines: MapLines, version: int | None) -> bool:
    """Match the next purchases; False where there are no more, or another CSV was given meanwhile."""
    import_ = queries.locked_import(db, scope, import_id=import_id)
    if import_ is None or import_.step is not ImportStep.MATCH:
        return False
    if queries.map_version(db, scope, import_id=import_id) != version:
        return False
    rows = queries.rows_from(db, scope, import_id=import_id, number=import_.seen, limit=MATCHED_AT_A_TIME)
    if rows:
        shared = queries.shared_emails(db, scope, import_id=import_id)
        known = known_of(db, scope, rows, shared_emails=shared)
        for row in rows:
            found = match(row, lines, import_.metadata_keys, known, with_ended=import_.with_ended)
            row.outcome, row.reason, row.matched_by = found.outcome, found.reason, found.matched_by
            row.subject_ref, row.candidates = found.subject_ref, list(found.candidates)
            row.used = dict(found.used)
            db.add(row)
        import_.seen = rows[-1].number + 1
    if len(rows) < MATCHED_AT_A_TIME:
        import_.step, import_.seen = ImportStep.PREVIEW, 0
    db.flush()
    return import_.step is ImportStep.MATCH


def note_newest(db: Session, scope: Scope, *, import_id: str) -> None:
    """Note of each customer which of the matched purchases is the newest, one that is not over if any is."""
    mine = {"project_id": scope.project_id, "mode": scope.mode, "import_id": import_id}
    here = [_ROWS.c[name] == value for name, value in mine.items()]
    db.connection().execute(update(_ROWS).where(*here).values(is_newest=False))
    seen: set[str] = set()
    newest: list[dict[str, str]] = []
    for row in queries.matched_newest_first(db, scope, import_id=import_id):
        if row.subject_ref not in seen:
            seen.add(row.subject_ref)
            newest.append({"row_key": row.key})
    if newest:
        statement = update(_ROWS).where(*here, _ROWS.c.key == bindparam("row_key")).values(is_newest=True)
        db.connection().execute(statement, newest)


# --- writing ---------------------------------------------------------------------------------------------


def _write_batch(parts: Importer, scope: Scope, claimed: Import) -> None:
    """Write the next purchases, each in a transaction of its own; after the last ones the import is done."""
    with parts.database.read() as db:
        keys = queries.next_to_write(db, scope, import_id=claimed.id, limit=WRITTEN_AT_A_TIME)
    if keys and not claimed.seen:
        parts.database.retrying(partial(note_newest, scope=scope, import_id=claimed.id))
    for row in keys:
        parts.database.retrying(
            partial(write_purchase, scope=scope, import_id=claimed.id, key=row.key, clock=parts.clock)
        )
    if keys:
        parts.database.retrying(lambda db: _count_written(db, scope, claimed.id, len(keys)))
    else:
        parts.database.retrying(lambda db: _finish(db, scope, claimed.id, parts.clock()))


def _count_written(db: Session, scope: Scope, import_id: str, count: int) -> None:
    import_ = queries.locked_import(db, scope, import_id=import_id)
    if import_ is not None and import_.step is ImportStep.RUN:
        import_.seen += count
        db.flush()


def _finish(db: Session, scope: Scope, import_id: str, now: datetime) -> None:
    import_ = queries.locked_import(db, scope, import_id=import_id)
    if import_ is not None and import_.step is ImportStep.RUN:
        import_.step, import_.ended_at = ImportStep.DONE, now
        forget_content(db, import_)
        db.flush()
