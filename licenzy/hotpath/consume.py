"""Consuming units: what is asked, what is known for it, and what becomes of it. Pure.

On either database a batch of calls is read and locked, decided here, and written (`consume_sql.py`). Within
a batch each call sees what those before it took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import KeyScope
from licenzy.api_keys.rules import allows, is_alive
from licenzy.entitlements.decision import hides_default
from licenzy.hotpath.grants import HolderRow, PackRow
from licenzy.hotpath.keys import KeyRow
from licenzy.idempotency.outcome import Outcome
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.usage.default_terms import DefaultUnits
from licenzy.usage.results import Consumed, Refused
from licenzy.usage.rules import burning, drawn, named, total

ENDPOINT = "usage/consume"
"""Under which name Idempotency-Keys of these calls are kept."""


Render: TypeAlias = Callable[[Consumed | Refused, Mode], Outcome]


@dataclass(frozen=True, slots=True)
class ConsumeRequest:
    """One call to consume: who presents which key, for how many units of whom."""

    key_hash: str
    subject_ref: str
    units: int
    idempotency_key: str
    body_hash: str
    request_id: str
    now: int
    """In microseconds: real time, which the clock of a sandbox account is laid over."""
    render: Render
    """Gives the answer as it is kept and sent. Pure: the writer's thread runs it, maybe twice."""
    unit: str | None = None
    """The unit to draw; none for the default unit of the side."""
    product_code: str | None = None
    """The only product whose packs may be drawn."""
    names_are_known: bool = False
    """Whether the unit and the product were looked up in the catalog, and are there."""


class Answered(NamedTuple):
    """The outcome of the call, which every repeat is given byte for byte."""

    key: KeyRow
    outcome: Outcome
    replayed: bool


class KeyRefused(NamedTuple):
    """The API key opens nothing or may not consume, or there is no such key."""

    key: KeyRow | None


class KeyReused(NamedTuple):
    """The Idempotency-Key stands for another body."""

    key: KeyRow


class NeedsEvents(NamedTuple):
    """Nothing was decided: endpoints of this side are told of consumption (`with_events.py`)."""

    key: KeyRow


class ExpiredReservations(NamedTuple):
    """Nothing was decided: reservations of the subject are over and still hold units back."""

    key: KeyRow
    subject_id: str


class UnopenedWindows(NamedTuple):
    """Nothing was decided: windows of what the subject's subscriptions include are opened before."""

    key: KeyRow
    subject_id: str | None
    """None where they are of the default product: the subject may be new then."""


class FirstWithoutUnit(NamedTuple):
    """Nothing was decided: this is the side's first call that names no unit, which is noted before."""

    key: KeyRow


class UnknownNames(NamedTuple):
    """Nothing was decided: the subject has no pack of the unit or product that the call names.

    Whether the catalog has them is looked up, and a call with names that are there comes again.
    """

    key: KeyRow


ConsumeResult: TypeAlias = (
    Answered
    | KeyRefused
    | KeyReused
    | NeedsEvents
    | ExpiredReservations
    | UnopenedWindows
    | FirstWithoutUnit
    | UnknownNames
)


class Stored(NamedTuple):
    """What is kept under the call's Idempotency-Key."""

    body_hash: str
    outcome: Outcome


@dataclass(slots=True)
class ConsumeFacts:
    """All that the database knows for one call."""

    key: KeyRow | None = None
    stored: Stored | None = None
    subject_id: str | None = None
    packs: Sequence[PackRow] = ()
    """The subject's open windows, and packs that may have units left; the same objects for all calls of a
    batch."""
    holders: Sequence[HolderRow] = ()
    """What the subject has that includes units, and where the default product does, all that may hide it."""
    default: DefaultUnits | None = None
    """What the default product of the side includes."""
    has_expired_reservations: bool = False
    needs_events: bool = False
    default_unit: str | None = None
    """Of the side; none when it has chosen nothing yet."""
    default_unit_is_fixed: bool = False
    """Whether a call without a unit was noted."""
    is_locked: bool = False
    """Others hold rows of the subject's, so that nothing can be decided now."""


LedgerTuple: TypeAlias = tuple[str, str, str, str, str, int, int, int | None, str | None]
"""Project, mode, subject, request, entitlement, units, instant, and the start and unit of a window."""
_LEDGER_KEY = itemgetter(0, 1, 2, 3, 4)


@dataclass(slots=True)
class Writes:
    """What a batch writes; each list in the order of its table's primary key once `in_order`."""

    draws: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Units taken of each pack, by its project, mode and id."""
    window_draws: dict[tuple[str, str, str, str, int], int] = field(default_factory=dict)
    """Units taken of each window, by its project, mode, entitlement, unit and start."""
    ledger: list[LedgerTuple] = field(default_factory=list)
    keys: list[tuple[str, str, str, str, int, str, int]] = field(default_factory=list)
    """Project, mode, key, hash of the body, status, body and instant."""

    def in_order(self) -> Writes:
        """The same, sorted: whoever writes rows of one table does so in one order."""
        return Writes(
            dict(sorted(self.draws.items())),
            dict(sorted(self.window_draws.items())),
            sorted(self.ledger, key=_LEDGER_KEY),
            sorted(self.keys),
        )


def decide_batch(
    requests: Iterable[ConsumeRequest], facts: Iterable[ConsumeFacts], *, with_events: bool = False
) -> tuple[list[ConsumeResult], Writes]:
    """What becomes of each call, decided one after another, and what is to be written for all of them.

    `with_events` when the caller tells of what is consumed in the same transaction.
    """
    writes = Writes()
    kept: dict[tuple[str, str, str], Stored] = {}
    results: list[ConsumeResult] = []
    for request, fact in zip(requests, facts, strict=True):
        results.append(_decide(request, fact, kept, writes, with_events))
    return results, writes.in_order()


def _decide(
    request: ConsumeRequest,
    facts: ConsumeFacts,
    kept: dict[tuple[str, str, str], Stored],
    writes: Writes,
    with_events: bool,
) -> ConsumeResult:
    key = facts.key
    if key is None or not is_alive(key, request.now) or not allows(key.scopes, KeyScope.RUNTIME):
        return KeyRefused(key)
    name = (key.project_id, key.mode, request.idempotency_key)
    # The earlier outcome is looked for first: decided anew, a repeat would be refused once all is spent.
    earlier = facts.stored or kept.get(name)
    if earlier is not None:
        same = earlier.body_hash == request.body_hash
        return Answered(key, earlier.outcome, replayed=True) if same else KeyReused(key)
    if facts.has_expired_reservations and facts.subject_id is not None:
        return ExpiredReservations(key, facts.subject_id)
    if request.unit is None and not facts.default_unit_is_fixed:
        return FirstWithoutUnit(key)
    now = key.instant(request.now)
    if any(each.is_due(now) for each in facts.holders if not each.is_default):
        return UnopenedWindows(key, facts.subject_id)
    unit = request.unit or facts.default_unit or DEFAULT_UNIT
    draws_default = _draws_default(facts, unit, request.product_code, now)
    if draws_default and _default_is_due(facts, now):
        return UnopenedWindows(key, None)
    theirs = named(facts.packs, unit, request.product_code)
    if not draws_default:
        theirs = [each for each in theirs if not each.is_default]
    names = request.unit is not None or request.product_code is not None
    if names and not theirs and not request.names_are_known:
        return UnknownNames(key)
    packs = burning(theirs, now)
    left = total(packs)
    enough = left >= request.units and facts.subject_id is not None
    if enough and facts.needs_events and not with_events:
        return NeedsEvents(key)
    decided = Consumed(request.units, left - request.units) if enough else Refused(left)
    outcome = request.render(decided, key.scope.mode)
    if enough:
        _draw(request, facts, key, packs, now, writes)
    kept[name] = Stored(request.body_hash, outcome)
    writes.keys.append((*name, request.body_hash, outcome.status, outcome.body, request.now))
    return Answered(key, outcome, replayed=False)


def _draws_default(facts: ConsumeFacts, unit: str, product_code: str | None, now: int) -> bool:
    """Whether a call draws what the default product includes: nothing that the subject has hides it."""
    if facts.default is None or not facts.default.includes(unit, product_code):
        return False
    return not any(hides_default(each, now) for each in facts.holders if not each.is_default)


def _default_is_due(facts: ConsumeFacts, now: int) -> bool:
    """Whether a window of the default product is opened, or fitted to other terms, before it is drawn."""
    row = next((each for each in facts.holders if each.is_default), None)
    return row is None or facts.default is None or not facts.default.is_of(row) or row.is_due(now)


def _draw(
    request: ConsumeRequest,
    facts: ConsumeFacts,
    key: KeyRow,
    packs: Sequence[PackRow],
    now: int,
    writes: Writes,
) -> None:
    assert facts.subject_id is not None
    whose = (key.project_id, key.mode, facts.subject_id)
    by_name = {(pack.id, pack.window_starts_at): pack for pack in packs}
    for pack_id, units, starts_at in drawn(packs, request.units):
        pack = by_name[pack_id, starts_at]
        pack.used_units += units
        of_pack = (key.project_id, key.mode, pack_id)
        if starts_at is None:
            writes.draws[of_pack] = writes.draws.get(of_pack, 0) + units
            writes.ledger.append((*whose, request.request_id, pack_id, units, now, None, None))
        else:
            window = (*of_pack, pack.unit, starts_at)
            writes.window_draws[window] = writes.window_draws.get(window, 0) + units
            writes.ledger.append((*whose, request.request_id, pack_id, units, now, starts_at, pack.unit))
