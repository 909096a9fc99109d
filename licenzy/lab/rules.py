"""What a purchase's history in the lab looks like: before and after, and what is still awaited. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import (
    DefaultProduct,
    best_status,
    decide,
    in_force,
    only_entitlements,
    remaining,
    standing,
)
from licenzy.entitlements.limits import TotalLimit
from licenzy.entitlements.models import Entitlement
from licenzy.kit.clock import from_micros, to_micros
from licenzy.lab.models import LabStep
from licenzy.lab.scenarios import RECONCILE, SCENARIOS, Scenario
from licenzy.usage.window_history import WindowShown

PATIENCE = timedelta(seconds=20)
"""After this long an event that has not arrived is called missing, and nobody waits for it any more."""
_PATIENCE_FOR_EACH = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class EntitlementThen:
    """One entitlement at one instant."""

    id: str
    product_code: str
    status: str
    reason: str | None
    units: int | None
    """What is left of a pack; none for what counts no units."""
    valid_until: datetime | None
    cancels_at: datetime | None
    unit: str = "units"
    """What a pack consists of."""
    windows: tuple[WindowShown, ...] = ()
    """Of the units that it includes: those before, the present ones, and those ahead that are paid for."""
    limits: Mapping[str, int | None] = field(default_factory=dict)
    """What one of its quantity gives, by code; None is unlimited. Empty while it gives no access."""
    adds: bool = False
    """Whether its limits, times the quantity, come on top of those of others."""
    quantity: int = 1

    def present_windows(self, at: datetime) -> dict[str, WindowShown]:
        """The windows that could be used at an instant, by unit; none while it gave no access."""
        if self.reason is not None:
            return {}
        return {each.unit: each for each in self.windows if each.starts_at <= at}

    def strips(self) -> dict[str, list[WindowShown]]:
        """Its windows by unit, in order."""
        found: dict[str, list[WindowShown]] = {}
        for each in self.windows:
            found.setdefault(each.unit, []).append(each)
        return found


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a subject held at one instant of the account's time, and what the access check said."""

    at: datetime
    allowed: bool
    reason: str | None
    status: str
    owned: tuple[EntitlementThen, ...]
    limits: Mapping[str, int | None] | None = None
    """All limits by code, as the API lists them; None in steps of earlier versions, which kept none."""
    default_product: str | None = None
    """The code of the default product, while nothing that is held hides it."""

    @property
    def valid_until(self) -> datetime | None:
        """The last day that anything held is paid for."""
        return max((each.valid_until for each in self.owned if each.valid_until), default=None)

    def as_json(self) -> dict[str, Any]:
        """For the database; `from_json` reads it."""
        return {
            **asdict(self),
            "at": to_micros(self.at),
            "owned": [{**asdict(each), **_stored(each)} for each in self.owned],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Holdings:
        """What `as_json` made."""
        entries = stored["owned"] if "owned" in stored else stored["held"]  # As it was named before.
        owned = tuple(EntitlementThen(**{**each, **_read(each)}) for each in entries)
        kept = {name: value for name, value in stored.items() if name != "held"}
        return cls(**{**kept, "at": from_micros(stored["at"]), "owned": owned})


def holdings(
    entitlements: Sequence[Entitlement],
    now: datetime,
    windows: Mapping[str, Sequence[WindowShown]] | None = None,
    *,
    default: DefaultProduct | None = None,
) -> Holdings:
    """What all that a subject has is worth at `now`, oldest first.

    `windows` are those of included units, by entitlement, and `default` is the side's default product.
    """
    shown = windows or {}
    decision = decide(entitlements, now, default=default)
    counting = in_force(entitlements, now, default)
    own = only_entitlements(entitlements)
    return Holdings(
        at=now,
        allowed=decision.allowed,
        reason=decision.reason,
        status=best_status(entitlements, now),
        owned=tuple(_entitlement_then(each, now, shown.get(each.id, ())) for each in reversed(own)),
        limits=counting.limits,
        default_product=counting.default.product_code if counting.default is not None else None,
    )


class EventFate(StrEnum):
    """What became of an event that Stripe gave off."""

    ARRIVED = "arrived"
    AWAITED = "awaited"
    MISSING = "missing"
    LOST = "lost"
    FOUND = "found"
    """It was lost, and reconciliation found it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event in the inbox: how often it came, and what became of it."""

    seen: int
    status: str
    changed: bool


@dataclass(frozen=True, slots=True)
class EventShown:
    """An event of a step, as the lab shows it."""

    id: str
    type: str
    fate: EventFate
    status: str | None
    changed: bool
    times: int


@dataclass(frozen=True, slots=True)
class StateDifference:
    """One thing that changed. `what` is check, status, valid_until, cancels_at, units, included or limit.

    The values of included units are what is left of a window, and all that it began with. Those of a limit
    are a `TotalLimit`, or None where nothing named it.
    """

    what: str
    about: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class StepShown:
    """One thing that happened, what it told and what it changed."""

    number: int
    scenario: Scenario
    detail: str | None
    delivery: str
    at: datetime
    """In the account's time."""
    events: tuple[EventShown, ...]
    unneeded: tuple[str, ...]
    """The types of the events that Licenzy did not ask for."""
    before: Holdings
    after: Holdings
    differences: tuple[StateDifference, ...]
    progress: int | None = None
    """How many percent of the way the clock has moved, while it moves."""
    problem: str | None = None
    """Why the clock did not arrive."""

    @property
    def waiting(self) -> bool:
        return self.progress is not None or any(event.fate is EventFate.AWAITED for event in self.events)

    @property
    def repeatable(self) -> bool:
        """Whether it sent anything that Stripe could send again."""
        return self.delivery != "never" and bool(self.events)

    @property
    def changed_windows(self) -> bool:
        """Whether windows of included units were others after it."""
        return [each.windows for each in self.before.owned] != [each.windows for each in self.after.owned]

    @property
    def missing(self) -> bool:
        return any(event.fate is EventFate.MISSING for event in self.events)


def history(
    steps: Sequence[LabStep],
    arrivals: Mapping[str, Arrival],
    current: Holdings,
    *,
    wanted: Sequence[str],
    now: datetime,
) -> list[StepShown]:
    """The steps, newest first. What the next one found is what the one before left behind.

    `wanted` are the types of events that the endpoint asks for.
    """
    befores = [Holdings.from_json(step.before) for step in steps]
    shown = []
    for index, (step, before) in enumerate(zip(steps, befores, strict=True)):
        after = befores[index + 1] if index + 1 < len(steps) else current
        fate = [_event(step, event, arrivals.get(event["id"]), now) for event in step.events]
        needed = tuple(event for event in fate if event.type in wanted)
        shown.append(
            StepShown(
                number=index + 1,
                scenario=SCENARIOS[step.action],
                detail=step.detail,
                delivery=step.delivery,
                at=before.at,
                events=needed,
                unneeded=tuple(event.type for event in fate if event.type not in wanted),
                before=before,
                after=after,
                differences=tuple(differences(before, after)),
                progress=step.progress,
                problem=step.problem,
            )
        )
    return shown[::-1]


def differences(before: Holdings, after: Holdings) -> list[StateDifference]:
    """What changed between the two, the access check first."""
    found = []
    if (before.allowed, before.reason) != (after.allowed, after.reason):
        check = [(each.allowed, each.reason) for each in (before, after)]
        found.append(StateDifference("check", "Access check", *check))
    earlier = {each.id: each for each in before.owned}
    for each in after.owned:
        was = earlier.get(each.id)
        for what in ("product_code", "status", "valid_until", "cancels_at", "units"):
            old, new = getattr(was, what, None), getattr(each, what)
            about = was.product_code if was and what == "product_code" else each.product_code
            if old != new and not (was is None and what in {"product_code", "cancels_at"}):
                found.append(StateDifference(what, about, old, new))
        found += _included_differences(was, each, before.at, after.at)
    return found + _limit_differences(before, after)


def _limit_differences(before: Holdings, after: Holdings) -> list[StateDifference]:
    if before.limits is None or after.limits is None:
        return []
    old, new = (
        {code: TotalLimit(value) for code, value in each.items()} for each in (before.limits, after.limits)
    )
    codes = sorted({*old, *new})
    return [
        StateDifference("limit", code, old.get(code), new.get(code))
        for code in codes
        if old.get(code) != new.get(code)
    ]


def _included_differences(
    was: EntitlementThen | None, each: EntitlementThen, before: datetime, after: datetime
) -> list[StateDifference]:
    old = was.present_windows(before) if was is not None else {}
    new = each.present_windows(after)
    found = []
    for unit in sorted({*old, *new}):
        values = [
            (window.remaining, window.granted) if window is not None else None
            for window in (old.get(unit), new.get(unit))
        ]
        if values[0] != values[1]:
            found.append(StateDifference("included", f"{each.product_code}, {unit}", *values))
    return found


def ended_at(step: LabStep) -> datetime:
    """When everything that the step does at the sandbox was done."""
    return step.finished_at or step.performed_at


def out_of_step(steps: Sequence[LabStep]) -> bool:
    """Whether webhooks were lost on purpose and Stripe has not been asked about it since."""
    for step in reversed(steps):
        if step.action == RECONCILE:
            return False
        if step.delivery == "never":
            return True
    return False


def _entitlement_then(
    entitlement: Entitlement, now: datetime, windows: Sequence[WindowShown]
) -> EntitlementThen:
    status, available, reason = standing(entitlement, now)
    return EntitlementThen(
        id=entitlement.id,
        product_code=entitlement.product_code,
        status=status,
        reason=reason,
        units=remaining(entitlement) if entitlement.kind is Kind.USAGE_PACK else None,
        unit=entitlement.unit,
        valid_until=entitlement.valid_until,
        cancels_at=None if entitlement.canceled_at and status == "canceled" else entitlement.cancel_at,
        # What lies ahead of an entitlement that is not available will not come.
        windows=tuple(each for each in windows if available or each.starts_at <= now),
        limits=dict(entitlement.limits) if available else {},
        adds=entitlement.adds,
        quantity=entitlement.quantity,
    )


def _event(step: LabStep, event: Mapping[str, Any], arrival: Arrival | None, now: datetime) -> EventShown:
    arrivals = (arrival.seen if arrival else 0) - event["seen"]
    if step.delivery == "never":
        fate = EventFate.FOUND if arrivals > 0 else EventFate.LOST
    elif arrivals >= event["sent"] > 0:
        fate = EventFate.ARRIVED
    elif event["sent"] == 0:
        fate = EventFate.MISSING  # No endpoint asks for it any more.
    else:
        patience = max(PATIENCE, len(step.events) * _PATIENCE_FOR_EACH)
        fate = EventFate.AWAITED if now - ended_at(step) < patience else EventFate.MISSING
    return EventShown(
        id=event["id"],
        type=event["type"],
        fate=fate,
        status=arrival.status if arrival else None,
        changed=arrival.changed if arrival else False,
        times=max(0, arrivals),
    )


_DATES = ("valid_until", "cancels_at")


def _stored(each: EntitlementThen) -> dict[str, Any]:
    dates = {name: to_micros(value) if (value := getattr(each, name)) else None for name in _DATES}
    return {**dates, "windows": [window.to_json() for window in each.windows]}


def _read(stored: Mapping[str, Any]) -> dict[str, Any]:
    dates = {name: from_micros(stored[name]) if stored[name] is not None else None for name in _DATES}
    # Steps of earlier versions have no windows.
    return {**dates, "windows": tuple(map(WindowShown.of_json, stored.get("windows", ())))}
