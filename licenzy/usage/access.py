"""The one answer to "may this subject proceed, right now?", with its reason and the evidence for it.

It stands here and not among the entitlements because reservations are part of it: units that a reservation
holds are not free, and are free again once its time is up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from sqlmodel import Session

from licenzy.catalog.queries import limits_named
from licenzy.connections.queries import with_clock
from licenzy.entitlements.decision import CheckedEntitlement, Decision, DefaultProduct, Moment, decide
from licenzy.entitlements.limits import TotalLimit
from licenzy.entitlements.models import Entitlement
from licenzy.errors import LimitNotFound
from licenzy.projects.scope import Scope
from licenzy.usage.queries import default_of, owned_by_refs, units_set_aside

H = TypeVar("H", bound=CheckedEntitlement)


class UnitsWanted(NamedTuple):
    """So many units, of the default unit of the side where none is named."""

    units: int
    unit: str | None = None


class Wanted(NamedTuple):
    """What access is asked for: anything at all, a product's, a feature, one more in a limit, or units."""

    product_code: str | None = None
    feature: str | None = None
    limit: str | None = None
    value: int = 0
    """The number that there is now, for `limit`."""
    units: UnitsWanted | None = None
    """Answered by `units_left`, which reads windows too."""


ANYTHING = Wanted()


class ReservedUnits(NamedTuple):
    """Units of a pack that a reservation holds until its time is up."""

    pack_id: str
    units: int
    expires_at: Moment


@dataclass(frozen=True, slots=True)
class Access(Generic[H]):
    """Whether a subject may proceed, and why."""

    allowed: bool
    reason: str | None
    """One of the reasons in docs/entitlements.md; None when allowed."""
    evidence: H | None
    """The entitlement that allows it, or the nearest miss; none where nothing that was asked for is held.

    Of a feature or limit that an operator set it is that row.
    """
    decided_by_default: DefaultProduct | None
    """The default product, where it decided; `evidence` is none then."""
    limit: TotalLimit | None
    """The limit that was asked for, where the subject has it."""
    owned: Sequence[H]
    """Everything that the subject holds or held in this mode, newest first."""
    wanted: Wanted
    now: Moment
    default: DefaultProduct | None = None
    """The default product of the side, hidden or not."""
    set_aside: Sequence[ReservedUnits] = ()
    """What open reservations hold; as far as it is known, `changes_at` counts it."""

    @property
    def changes_at(self) -> Moment | None:
        """The next instant at which the answer would be another by time alone; none if it never would.

        The answer: whether, why, and by which entitlement.
        """
        present = self._as_of(self.now)
        for instant in sorted({each for each in self._instants() if each > self.now}):
            if self._as_of(instant) != present:
                return instant
        return None

    def _as_of(self, instant: Moment) -> tuple[Any, ...]:
        """What is decided at `instant`, when some reservations are over; entitlements compare by identity."""
        freed: Counter[str] = Counter()
        for each in self.set_aside:
            if each.expires_at <= instant:
                freed[each.pack_id] += each.units
        rows: list[Any] = [_given_back(row, freed) if freed else row for row in self.owned]
        decision = _decision(rows, self.wanted, instant, self.default)
        deciding = decision.deciding
        return decision.allowed, decision.reason, id(getattr(deciding, "row", deciding)), decision.default

    def _instants(self) -> Iterator[Moment]:
        """All at which something of it begins or ends."""
        for each in self.owned:
            yield each.starts_at
            if each.ends_at is not None:
                yield each.ends_at
        for units in self.set_aside:
            yield units.expires_at


def answer(
    owned: Sequence[H],
    wanted: Wanted,
    now: Moment,
    *,
    default: DefaultProduct | None = None,
    set_aside: Sequence[ReservedUnits] = (),
) -> Access[H]:
    """The answer for who holds these, as of `now`: the instant that they were read for. Pure.

    `default` is the default product of the side. Their `reserved_units` count what open reservations hold;
    `set_aside` tells until when, where known.
    """
    decision = _decision(owned, wanted, now, default)
    return Access(*decision, owned=owned, wanted=wanted, now=now, default=default, set_aside=set_aside)


def _decision(owned: Sequence[H], wanted: Wanted, now: Moment, default: DefaultProduct | None) -> Decision[H]:
    return decide(
        owned,
        now,
        product_code=wanted.product_code,
        feature=wanted.feature,
        limit=wanted.limit,
        value=wanted.value,
        default=default,
    )


def names_limit(access: Access[Any]) -> bool:
    """Whether anything that the subject has or had, or the default product, names the limit asked for."""
    if access.default is not None and access.wanted.limit in access.default.limits:
        return True
    return any(access.wanted.limit in each.limits for each in access.owned)


def require_known_limit(db: Session, scope: Scope, code: str) -> None:
    """Refuse a limit that no product of the side names. Raises LimitNotFound.

    For who has nothing that names it, to tell a wrong code from a limit that is not part of the plan.
    """
    known = limits_named(db, scope)
    if code not in known:
        raise LimitNotFound(extra={"limits": known})


def access_of(
    db: Session,
    scope: Scope,
    *,
    subject_refs: Sequence[str],
    now: datetime,
    asked_at: datetime,
    wanted: Wanted = ANYTHING,
) -> dict[str, Access[Entitlement]]:
    """The answer for each of these subjects, known or not, in few reads of each mode.

    `now` is the time of this mode, and `asked_at` the installation's own, from which the other mode's is
    told. Where nothing that was asked for is held here, but the same ref would be allowed in the project's
    other mode, the reason is `held_in_other_mode`: a test key asking for what was bought in live, or the
    reverse. Nothing else is told of the other mode.
    """
    default = default_of(db, scope)
    owned = owned_by_refs(db, scope, subject_refs=subject_refs, now=now)
    reserved = [row.id for rows in owned.values() for row in rows if row.reserved_units]
    found = units_set_aside(db, scope, pack_ids=reserved, now=now) if reserved else []
    set_aside = [ReservedUnits(*each) for each in found]
    answers = {
        ref: answer(owned.get(ref, []), wanted, now, default=default, set_aside=set_aside)
        for ref in subject_refs
    }
    elsewhere = [
        ref for ref, each in answers.items() if each.evidence is None and each.decided_by_default is None
    ]
    if not elsewhere:
        return answers
    other = with_clock(db, scope.other)
    there = other.at(asked_at)
    # Without the other mode's default product, which every subject has there.
    for ref, rows in owned_by_refs(db, other, subject_refs=elsewhere, now=there).items():
        if answer(rows, wanted, there).allowed:
            answers[ref] = replace(answers[ref], reason="held_in_other_mode")
    return answers


def _given_back(row: Any, freed: Mapping[str, int]) -> Any:
    units = freed.get(row.id, 0)
    return _Freed(row, units) if units else row


class _Freed:
    """A pack with units given back to it, for deciding."""

    def __init__(self, row: Any, units: int) -> None:
        self.row, self._units = row, units

    @property
    def reserved_units(self) -> int:
        return int(self.row.reserved_units) - self._units

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)
