"""May this subject proceed, right now? Pure, and the only place that says yes or no.

What the other mode and reservations add to it stands in `usage/access.py`, which every door shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import State

Moment: TypeAlias = Any
"""An instant: a datetime, or its microseconds since 1970; all that are compared are of one kind."""


class OwnedEntitlement(Protocol):
    """What a decision reads of an entitlement: a row of the table, or a line of the hot path's query.

    `kind` and `state` are a `Kind` and a `State`, or their words as they are stored: both compare alike.
    """

    @property
    def product_code(self) -> str: ...
    @property
    def features(self) -> Sequence[str]: ...
    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def starts_at(self) -> Moment: ...
    @property
    def ends_at(self) -> Moment | None: ...
    @property
    def ends_as(self) -> str | None: ...
    @property
    def granted_units(self) -> int: ...
    @property
    def used_units(self) -> int: ...
    @property
    def reserved_units(self) -> int: ...
    @property
    def voided_at(self) -> object | None: ...


H = TypeVar("H", bound=OwnedEntitlement)


class Standing(NamedTuple):
    """What one entitlement is worth at one instant."""

    status: str
    """One of: active trialing past_due paused suspended canceled expired exhausted."""
    available: bool
    reason: str | None
    """Why it is not available; none when it is."""


class Decision(NamedTuple, Generic[H]):
    """The answer, why, and the entitlement that decided it: the one that allows, or the nearest miss."""

    allowed: bool
    reason: str | None
    deciding: H | None


# Looking a member up in its enum takes longer than all comparisons of a decision.
_CANCELED, _SUSPENDED, _PAUSED, _PAST_DUE = State.CANCELED, State.SUSPENDED, State.PAUSED, State.PAST_DUE
_SUBSCRIPTION, _USAGE_PACK = Kind.SUBSCRIPTION, Kind.USAGE_PACK
_CANCELS = frozenset({"canceled", "product_changed"})
_BEST_FIRST = ("active", "trialing", "past_due", "paused", "suspended", "exhausted", "expired", "canceled")
_NEAREST_FIRST = (
    "not_started",
    "past_due",
    "renewal_unconfirmed",
    "quantity_zero",
    "paused",
    "disputed",
    "refunded",
    "suspended",
    "exhausted",
    "product_changed",
    "expired",
    "canceled",
)


def standing(owned: OwnedEntitlement, now: Moment) -> Standing:
    """The status and availability of one entitlement at `now`; intervals are half open."""
    state = owned.state
    if state == _CANCELED or owned.voided_at is not None:
        return Standing("canceled", False, owned.reason or "canceled")
    if state == _SUSPENDED:
        return _suspended(owned)
    if state == _PAUSED:
        return Standing("paused", False, "paused")
    ends_at = owned.ends_at
    if ends_at is not None and ends_at <= now:
        return _ended(owned)
    if owned.starts_at > now:
        return Standing(str(state), False, "not_started")
    if owned.kind == _USAGE_PACK and remaining(owned) <= 0:
        return Standing("exhausted", False, "exhausted")
    return Standing(str(state), True, None)


def remaining(owned: OwnedEntitlement) -> int:
    """Units left to consume; 0 once the pack is voided."""
    if owned.voided_at is not None:
        return 0
    return owned.granted_units - owned.used_units - owned.reserved_units


def decide(
    entitlements: Sequence[H],
    now: Moment,
    *,
    product_code: str | None = None,
    feature: str | None = None,
) -> Decision[H]:
    """Whether any of a subject's entitlements allows it to proceed at `now`.

    Narrowed by `product_code` or `feature`, only those that grant it count.
    """
    wanted = entitlements
    if product_code is not None:
        wanted = [owned for owned in wanted if owned.product_code == product_code]
    if feature is not None:
        wanted = [owned for owned in wanted if feature in owned.features]
    nearest: tuple[int, str, H] | None = None
    for owned in wanted:
        _status, available, reason = standing(owned, now)
        if available:
            return Decision(True, None, owned)
        assert reason is not None
        rank = _NEAREST_FIRST.index(reason) if reason in _NEAREST_FIRST else len(_NEAREST_FIRST)
        if nearest is None or rank < nearest[0]:
            nearest = (rank, reason, owned)
    if nearest is not None:
        return Decision(False, nearest[1], nearest[2])
    if not entitlements:
        return Decision(False, "no_entitlement", None)
    return Decision(False, "product_not_held" if product_code is not None else "feature_not_held", None)


def best_status(entitlements: Sequence[OwnedEntitlement], now: Moment) -> str:
    """The best status among those held, `none` when there are none."""
    statuses = {standing(owned, now).status for owned in entitlements}
    return next((status for status in _BEST_FIRST if status in statuses), "none")


def _suspended(owned: OwnedEntitlement) -> Standing:
    reason = owned.reason or "suspended"
    # Existing integrations know a refunded or disputed subscription as one that is past due.
    if owned.kind == _SUBSCRIPTION and reason in {"refunded", "disputed"}:
        return Standing("past_due", False, reason)
    return Standing("suspended", False, reason)


def _ended(owned: OwnedEntitlement) -> Standing:
    reason = owned.ends_as or "expired"
    if owned.state == _PAST_DUE:
        return Standing("past_due", False, reason)
    return Standing("canceled" if reason in _CANCELS else "expired", False, reason)
