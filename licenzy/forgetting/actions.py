"""Erase a customer: access ends at once, and what is stored goes in batches that any process goes on with.

A second round a while later finds what was being written while the first one ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from sqlmodel import Session, col, select

from licenzy.db.compact import compact
from licenzy.db.leases import is_free, take_lease
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import change_row
from licenzy.entitlements.queries import recorded_facts
from licenzy.errors import DatabaseUnavailable, InvalidRequest, NotFound
from licenzy.forgetting.checkouts import expire_checkouts, open_checkouts
from licenzy.forgetting.names import Names
from licenzy.forgetting.queries import all_names, erasure_of, lock_erasure, subscriptions_of
from licenzy.forgetting.steps import STEPS, step_after
from licenzy.forgetting.work import Work
from licenzy.kit.clock import Clock
from licenzy.kit.lease import Lease
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_events.untracked import latest_state
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.subjects.actions import lock_subject
from licenzy.subjects.erased import erased_name
from licenzy.subjects.models import Erasure, OtherCustomer, Subject
from licenzy.subjects.queries import subject_by_ref
from licenzy.subjects.rules import search_text
from licenzy.usage.actions import return_all_reservations
from licenzy.workspace.audit import Actor, record

SECOND_ROUND = timedelta(seconds=60)
"""After which time what was under way when the customer was erased has been written: calls, deliveries."""
_AGAIN = timedelta(minutes=5)
_LEASE = Lease(timedelta(seconds=60))
_FILE = "file"
"""The last step of a round, which no transaction can hold: the file of SQLite is written anew."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An erased customer."""

    subject_id: str
    erased_at: datetime
    was_before: bool = False
    """Whether that had been done already."""


def forget_subject(
    database: Database, secret_box: SecretBox, scope: Scope, *, subject_ref: str, actor: Actor, now: datetime
) -> Forgotten:
    """Erase a customer: from now on the ref is unknown. `go_on_erasing` removes what is stored.

    Raises NotFound, and InvalidRequest while a subscription may still be charged.
    """
    begin = partial(_begin, secret_box=secret_box, scope=scope, ref=subject_ref, actor=actor, now=now)
    return database.retrying(begin)


def _begin(
    db: Session, *, secret_box: SecretBox, scope: Scope, ref: str, actor: Actor, now: datetime
) -> Forgotten:
    found = subject_by_ref(db, scope, subject_ref=ref)
    hashed = erased_name(db, scope, ref)
    before = subject_by_ref(db, scope, subject_ref=hashed) if found is None else found
    if before is None:
        raise NotFound(
            "This customer does not exist in this project and mode.",
            hint="Compare the subject_ref with the Customers page.",
        )
    if before.erased_at is not None:
        return Forgotten(before.id, before.erased_at, was_before=True)
    _refuse_while_subscribed(db, scope, before.id)
    # Reservations are locked before their subject, here and everywhere.
    return_all_reservations(db, scope, subject_id=before.id, now=scope.at(now))
    subject = lock_subject(db, scope, subject_id=before.id)
    if subject.erased_at is not None:
        return Forgotten(subject.id, subject.erased_at, was_before=True)
    names = all_names(db, scope, subject)
    _rename(db, scope, subject, hashed, now)
    db.add(
        Erasure(
            project_id=scope.project_id,
            mode=scope.mode,
            subject_id=subject.id,
            requested_by=actor.user_id,
            requested_at=now,
            names_sealed=secret_box.encrypt(names.as_json(), bound_to=_bound_to(scope, subject.id)),
            step=next(iter(STEPS)),
            due_at=now,
        )
    )
    record(
        db,
        actor=actor,
        action="customer.forgotten",
        about=subject.id,
        after={"subject": subject.id},
        now=now,
        project_id=scope.project_id,
        mode=scope.mode,
    )
    return Forgotten(subject.id, now)


def _refuse_while_subscribed(db: Session, scope: Scope, subject_id: str) -> None:
    for key in subscriptions_of(db, scope, subject_id=subject_id):
        state = latest_state(key, recorded_facts(db, scope, purchase_key=key))
        if state is not None and not state.is_over:
            raise InvalidRequest(
                f"The customer has a live subscription ({key}), which Stripe goes on charging.",
                hint="Cancel it in Stripe at once, not at the end of the period, then erase the customer.",
            )


def _rename(db: Session, scope: Scope, subject: Subject, hashed: str, now: datetime) -> None:
    others = db.exec(
        select(OtherCustomer).where(
            OtherCustomer.project_id == scope.project_id,
            OtherCustomer.mode == scope.mode,
            OtherCustomer.subject_id == subject.id,
        )
    ).all()
    for other in others:
        db.delete(other)
        hashed_customer = erased_name(db, scope, other.stripe_customer_id)
        db.add(OtherCustomer(**other.model_dump() | {"stripe_customer_id": hashed_customer}))
    customer = subject.stripe_customer_id
    subject.subject_ref, subject.email, subject.erased_at = hashed, None, now
    subject.stripe_customer_id = erased_name(db, scope, customer) if customer is not None else None
    subject.search_text = search_text(hashed, None)
    db.flush()


def go_on_erasing(database: Database, gateway: StripeGateway, secret_box: SecretBox, *, clock: Clock) -> bool:
    """Do what is due of one erasure, as far as it goes; False when none is due. For the worker."""
    due = database.retrying(lambda db: _claim(db, clock()))
    if due is None:
        return False
    _round(database, gateway, secret_box, due, clock)
    return True


def forget_now(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    subject_ref: str,
    actor: Actor,
    clock: Clock,
) -> ForgottenNow:
    """Erase a customer and remove at once what can be removed; also what an earlier call left.

    Raises what `forget_subject` raises.
    """
    erased = forget_subject(database, secret_box, scope, subject_ref=subject_ref, actor=actor, now=clock())
    of = (scope, erased.subject_id)
    due = database.retrying(lambda db: _claim(db, clock(), of=of))
    if due is not None:
        _round(database, gateway, secret_box, due, clock)
    about = erased.subject_id
    with database.read() as db:
        still_open = open_checkouts(db, scope, subject_id=about, now=scope.at(clock()))
        return ForgottenNow(erased, remaining_of(db, scope, subject_id=about), still_open)


class Remaining(StrEnum):
    """What is left to do of an erasure."""

    FIRST_ROUND = "first_round"
    SECOND_ROUND = "second_round"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ForgottenNow:
    """An erased customer, and what is left to do."""

    customer: Forgotten
    remaining: Remaining
    open_checkouts: list[str]
    """Sessions that Stripe could not be made to expire."""


def remaining_of(db: Session, scope: Scope, *, subject_id: str) -> Remaining:
    """What is left to do of the erasure of someone who was erased."""
    erasure = erasure_of(db, scope, subject_id=subject_id)
    if erasure is None or erasure.finished_at is not None:
        return Remaining.NOTHING
    return Remaining.FIRST_ROUND if erasure.round == 1 else Remaining.SECOND_ROUND


def _claim(db: Session, now: datetime, *, of: tuple[Scope, str] | None = None) -> Erasure | None:
    statement = select(Erasure).where(
        col(Erasure.finished_at).is_(None),
        col(Erasure.due_at) <= now,
        is_free(col(Erasure.leased_until), now),
    )
    if of is not None:
        scope, subject_id = of
        statement = statement.where(
            Erasure.project_id == scope.project_id,
            Erasure.mode == scope.mode,
            Erasure.subject_id == subject_id,
        )
    found = db.exec(statement.order_by(col(Erasure.due_at)).limit(1)).first()
    if found is None or not take_lease(db, Erasure, _key(found), _LEASE, now=now):
        return None
    return found


def _round(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, due: Erasure, clock: Clock
) -> None:
    """The rest of a claimed round, each batch in a transaction of its own."""
    scope, subject_id = Scope(due.project_id, due.mode), due.subject_id
    expire_checkouts(database, gateway, secret_box, scope, subject_id=subject_id, now=scope.at(clock()))
    names = _names(database, secret_box, due)
    work = Work(scope, subject_id, names, names.pattern())
    step: str | None = due.step
    while step != _FILE:
        step = database.retrying(partial(_batch, work=work, now=clock()))
        if step is None:
            return  # Another process has it.
    try:
        compact(database)
    except DatabaseUnavailable:
        later = {"leased_until": None, "due_at": clock() + _AGAIN}
        database.retrying(lambda db: change_row(db, Erasure, _key(due), later))
        return
    database.retrying(partial(_end, key=_key(due), now=clock()))


def _names(database: Database, secret_box: SecretBox, due: Erasure) -> Names:
    """The names to look for. After the end nobody knows them: what is looked for then is known by hashes."""
    scope = Scope(due.project_id, due.mode)
    if due.names_sealed is None:
        with database.read() as db:
            return Names(db.get_one(Subject, (due.project_id, due.mode, due.subject_id)).subject_ref)
    bound_to = _bound_to(scope, due.subject_id)
    return Names.from_json(secret_box.decrypt(due.names_sealed, bound_to=bound_to))


def _batch(db: Session, *, work: Work, now: datetime) -> str | None:
    """One batch; the step that is next. None when the erasure has come to another place meanwhile."""
    erasure = lock_erasure(db, work.scope, subject_id=work.subject_id)
    if erasure is None or erasure.finished_at is not None or erasure.due_at > now:
        return None
    if erasure.step == _FILE:
        return _FILE
    last_key = STEPS[erasure.step](db, work, erasure.last_key)
    erasure.leased_until = _LEASE.until(now)
    erasure.last_key = last_key or ""
    if last_key is None:
        erasure.step = step_after(erasure.step) or _FILE
    db.flush()
    return erasure.step


def _end(db: Session, *, key: dict[str, str], now: datetime) -> None:
    erasure = db.get_one(Erasure, tuple(key.values()), with_for_update=True)
    if erasure.finished_at is not None or erasure.step != _FILE:
        return
    erasure.leased_until, erasure.last_key = None, ""
    if erasure.round == 1:
        erasure.round, erasure.step = 2, next(iter(STEPS))
        erasure.due_at = now + SECOND_ROUND
    else:
        erasure.names_sealed, erasure.finished_at = None, now
    db.flush()


def _key(erasure: Erasure) -> dict[str, str]:
    return {"project_id": erasure.project_id, "mode": erasure.mode, "subject_id": erasure.subject_id}


def _bound_to(scope: Scope, subject_id: str) -> str:
    return f"erasures:{scope.project_id}:{scope.mode}:{subject_id}"
