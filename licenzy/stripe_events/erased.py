"""Which customers a Stripe object is about, however it names them: nothing is kept of who was erased."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, or_
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import PaymentLink, Purchase
from licenzy.projects.scope import Scope
from licenzy.subjects.erased import erased_among, has_erased, subjects_by_names

_OF_PURCHASES = re.compile(r"(?:att|sub|cs|pi|ch|py|in)_\w+")
_OF_CUSTOMERS = re.compile(r"cus_\w+")
_REFERENCES = frozenset({"client_reference_id", "licenzy_subject_ref", "subject_ref"})
_PURCHASES, _LINKS = table_of(Purchase).c, table_of(PaymentLink).c
_ATTEMPTS = table_of(CheckoutAttempt).c


@dataclass(frozen=True, slots=True)
class Named:
    """Whom an object names, by the kind of name."""

    purchases: set[str] = field(default_factory=set)
    """Attempts, and what Stripe calls purchases and their payments."""
    customers: set[str] = field(default_factory=set)
    refs: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    """E-mail addresses, in lower case."""


def named_in(value: Any) -> Named:
    """Everything in some JSON that may name a customer."""
    named = Named()
    for key, text in _strings(value, ""):
        if key in _REFERENCES:
            named.refs.add(text)
        if _OF_PURCHASES.fullmatch(text):
            named.purchases.add(text)
        elif _OF_CUSTOMERS.fullmatch(text) or (key == "customer" and 1 <= len(text) <= 255):
            named.customers.add(text)
        elif "@" in text:
            named.addresses.add(text.lower())
    return named


def is_of_erased(db: Session, scope: Scope, value: Mapping[str, Any]) -> bool:
    """Whether an object is about customers who were erased, and about nobody else."""
    return about_erased(db, scope, [named_in(value)])[0]


def object_kept(object_id: str | None) -> str | None:
    """The id that is kept of an object of someone who was erased: none where it is the Stripe customer."""
    is_customer = object_id is None or _OF_CUSTOMERS.fullmatch(object_id)
    return None if is_customer else object_id


def about_erased(db: Session, scope: Scope, named: Sequence[Named]) -> list[bool]:
    """Of each object whether it is about customers who were erased, and about nobody else."""
    if not named or not has_erased(db, scope):
        return [False] * len(named)
    owners = owners_of(db, scope, named)
    erased = erased_among(db, scope, subject_ids=set[str]().union(*owners))
    return [bool(each) and each <= erased for each in owners]


def owners_of(db: Session, scope: Scope, named: Sequence[Named]) -> list[set[str]]:
    """The subjects that each object is about: the buyers of what it names, else whom it names itself.

    A Stripe customer may be several subjects, so that what was bought tells more.
    """
    buyers = _buyers(db, scope, set[str]().union(*(each.purchases for each in named)))
    people = subjects_by_names(
        db,
        scope,
        refs=set[str]().union(*(each.refs for each in named)),
        customers=set[str]().union(*(each.customers for each in named)),
    )
    found = []
    for each in named:
        owners = _of(buyers, each.purchases)
        found.append(owners or _of(people, each.customers | each.refs))
    return found


def _of(subjects: Mapping[str, set[str]], names: Collection[str]) -> set[str]:
    return set[str]().union(*(subjects.get(name, ()) for name in names))


def _buyers(db: Session, scope: Scope, names: Collection[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if not names:
        return found
    wanted = sorted(names)
    for read in (_by_purchase, _by_payment):
        for row in read(db, scope, names=wanted):
            found.setdefault(row.name, set()).add(row.subject_id)
    for attempt in _by_attempt(db, scope, names=wanted):
        for name in (attempt.id, attempt.stripe_checkout_session_id):
            found.setdefault(name, set()).add(attempt.subject_id)
    return found


@read_rows
def _by_purchase(scope: Scope, *, names: Collection[str]) -> Select[Any]:
    return core_select(_PURCHASES.key.label("name"), _PURCHASES.subject_id).where(
        _PURCHASES.project_id == scope.project_id,
        _PURCHASES.mode == scope.mode,
        _PURCHASES.key.in_(names),
        _PURCHASES.subject_id.is_not(None),
    )


@read_rows
def _by_payment(scope: Scope, *, names: Collection[str]) -> Select[Any]:
    is_its_purchase = (
        (_PURCHASES.project_id == _LINKS.project_id)
        & (_PURCHASES.mode == _LINKS.mode)
        & (_PURCHASES.key == _LINKS.purchase_key)
    )
    return (
        core_select(_LINKS.ref.label("name"), _PURCHASES.subject_id)
        .join_from(_LINKS.ref.table, _PURCHASES.key.table, is_its_purchase)
        .where(
            _LINKS.project_id == scope.project_id,
            _LINKS.mode == scope.mode,
            _LINKS.ref.in_(names),
            _PURCHASES.subject_id.is_not(None),
        )
    )


@read_rows
def _by_attempt(scope: Scope, *, names: Collection[str]) -> Select[Any]:
    return core_select(_ATTEMPTS.id, _ATTEMPTS.stripe_checkout_session_id, _ATTEMPTS.subject_id).where(
        _ATTEMPTS.project_id == scope.project_id,
        _ATTEMPTS.mode == scope.mode,
        or_(_ATTEMPTS.id.in_(names), _ATTEMPTS.stripe_checkout_session_id.in_(names)),
    )


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Each text in some JSON, with the name that it has there."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _strings(each, str(name))
    elif isinstance(value, Sequence):
        for each in value:
            yield from _strings(each, key)
