"""The merchant's own list of who has access, held against what an import gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select as CoreSelect
from sqlalchemy import select as core_select
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement, FactSource
from licenzy.entitlements.projected import Projected, RecordedFact
from licenzy.entitlements.projection import project
from licenzy.entitlements.queries import recorded_facts_by_purchase
from licenzy.imports import queries
from licenzy.imports.csv_files import AccessLine
from licenzy.imports.models import Import, ImportOutcome, ImportRow
from licenzy.imports.writing import import_fact_of
from licenzy.kit.clock import from_micros
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject

_AT_A_TIME = 200
_READ_AT_A_TIME = 2000


class Difference(NamedTuple):
    """A customer, or a customer and product, of which the list and the import say different things."""

    subject_ref: str
    product_code: str | None
    """None where the line names none: then any product counts."""
    is_listed: bool
    """Whether the list says that there is access; the import says the opposite."""
    why: str


def compare(
    db: Session, scope: Scope, import_: Import, lines: Iterable[AccessLine], *, now: datetime
) -> Iterator[Difference]:
    """Every difference between a list and the access after the import, at `now` of the account."""
    access = access_after(db, scope, import_, now=now)
    outcomes = _Outcomes.of(db, scope, import_)
    listed: dict[str, set[str | None]] = {}
    for line in lines:
        listed.setdefault(line.subject_ref, set()).add(line.product_code)
    for ref, codes in listed.items():
        own = access.get(ref, set())
        missing = sorted(code for code in codes if code is not None and code not in own)
        if None in codes and not own:
            yield Difference(ref, None, True, outcomes.why(ref))
        for code in missing:
            yield Difference(ref, code, True, outcomes.why(ref))
    for ref, own in sorted(access.items()):
        codes = listed.get(ref, set())
        if None in codes:
            continue
        for code in sorted(own - codes):
            yield Difference(ref, code, False, "Your list does not name it.")


def access_after(db: Session, scope: Scope, import_: Import, *, now: datetime) -> dict[str, set[str]]:
    """The products that each customer has access to once the import is written."""
    access: dict[str, set[str]] = {}
    last = "~"  # Behind every id.
    while present := _present(db, scope, before=last, limit=_READ_AT_A_TIME):
        for each in present:
            if standing(each, now).available:
                access.setdefault(each.subject_ref, set()).add(each.product_code)
        last = present[-1].id
    terms = _Terms(db, scope)
    batch: list[ImportRow] = []
    for row in queries.all_rows(db, scope, import_id=import_.id):
        if row.outcome is ImportOutcome.MATCHED and not row.left_out and row.found is not None:
            batch.append(row)
        if len(batch) == _AT_A_TIME:
            _add_prospects(db, scope, batch, terms, access, now)
            batch = []
    _add_prospects(db, scope, batch, terms, access, now)
    return access


def _add_prospects(
    db: Session,
    scope: Scope,
    rows: list[ImportRow],
    terms: _Terms,
    access: dict[str, set[str]],
    now: datetime,
) -> None:
    facts = recorded_facts_by_purchase(db, scope, purchase_keys=[row.key for row in rows])
    for row in rows:
        assert row.subject_ref is not None
        for each in project([*facts[row.key], *_prospective_facts(db, scope, row, terms, now)]):
            if standing(_entitlement(each), now).available:
                access.setdefault(row.subject_ref, set()).add(each.product_code)


def _prospective_facts(
    db: Session, scope: Scope, row: ImportRow, terms: _Terms, now: datetime
) -> Iterator[RecordedFact]:
    """The facts that writing a purchase would record."""
    stored: Mapping[str, Any] = row.found or {"readings": []}
    at = from_micros(stored["read_at"]) if stored.get("read_at") else now
    made_at = from_micros(stored["occurred_at"]) if stored.get("occurred_at") else at
    data = import_fact_of(db, scope, row, stored)
    yield RecordedFact("operator", FactSource.OPERATOR, "import", row.key, at, data, now)
    for kind, object_id, reading in stored["readings"]:
        yield RecordedFact(
            kind, FactSource.SNAPSHOT, "snapshot", object_id, made_at, terms.with_sold(kind, reading), now
        )
    for kind, object_id, reading in stored.get("reversing", ()):
        reversing = {**reading, "event": "snapshot"}
        yield RecordedFact(kind, FactSource.SNAPSHOT, object_id, object_id, at, reversing, now)


class _Terms:
    """What prices mean now, each looked up once."""

    def __init__(self, db: Session, scope: Scope) -> None:
        self._db, self._scope = db, scope
        self._sold: dict[str, dict[str, Any] | None] = {}

    def with_sold(self, kind: str, reading: Mapping[str, Any]) -> Mapping[str, Any]:
        data = {**reading, "event": "snapshot", "snapshot": 1}
        if kind != "subscription":
            return data
        return data | {"items": [{**item, "sold": self._of(item["price"])} for item in reading["items"]]}

    def _of(self, price_id: str) -> dict[str, Any] | None:
        if price_id not in self._sold:
            product = product_by_price(self._db, self._scope, price_id=price_id)
            is_sold = product is not None and product.kind is Kind.SUBSCRIPTION
            self._sold[price_id] = (
                dict(as_sold(product, price_id=price_id)) if is_sold and product is not None else None
            )
        return self._sold[price_id]


_COLUMNS = frozenset(Entitlement.model_fields) & frozenset(Projected.__dataclass_fields__)


def _entitlement(projected: Projected) -> Entitlement:
    """The row that would be written, as far as its standing needs it."""
    return Entitlement(
        used_units=0, reserved_units=0, **{name: getattr(projected, name) for name in _COLUMNS}
    )


@read_rows
def _present(scope: Scope, *, before: str, limit: int) -> CoreSelect[Any]:
    """Entitlements of the side with whose they are, the newest first."""
    entitlements, subjects = table_of(Entitlement), table_of(Subject)
    same = (
        (subjects.c.project_id == entitlements.c.project_id)
        & (subjects.c.mode == entitlements.c.mode)
        & (subjects.c.id == entitlements.c.subject_id)
    )
    return (
        core_select(
            subjects.c.subject_ref,
            entitlements.c.id,
            *(
                entitlements.c[name]
                for name in (
                    "product_code",
                    "kind",
                    "state",
                    "reason",
                    "starts_at",
                    "ends_at",
                    "ends_as",
                    "voided_at",
                    "granted_units",
                    "used_units",
                    "reserved_units",
                )
            ),
        )
        .join_from(entitlements, subjects, same)
        .where(
            entitlements.c.project_id == scope.project_id,
            entitlements.c.mode == scope.mode,
            entitlements.c.source.not_in(NO_ENTITLEMENT),
            entitlements.c.id < before,
        )
        .order_by(entitlements.c.id.desc())
        .limit(limit)
    )


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """What the import makes of the purchases of each customer that was found."""

    by_ref: Mapping[str, set[str]]

    @classmethod
    def of(cls, db: Session, scope: Scope, import_: Import) -> _Outcomes:
        found: dict[str, set[str]] = {}
        for row in queries.all_rows(db, scope, import_id=import_.id):
            said = "left_out" if row.left_out else row.result or row.outcome.value
            for ref in {row.subject_ref, *row.candidates} - {None}:
                found.setdefault(str(ref), set()).add(f"{said}:{row.status}")
        return cls(found)

    def why(self, ref: str) -> str:
        """Why a customer of the list has no access, as a sentence."""
        found = self.by_ref.get(ref)
        if not found:
            return "No purchase of the account is matched with this customer."
        states = sorted({each.split(":", 1)[1].replace("_", " ") for each in found})
        if any(each.startswith("ambiguous") for each in found):
            return "A purchase of this customer is ambiguous."
        if any(each.startswith("left_out") for each in found):
            return "A purchase of this customer was left out."
        return f"What this customer bought is {', '.join(states)} in Stripe."
