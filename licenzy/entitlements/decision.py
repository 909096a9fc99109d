"""May this subject proceed, right now? Pure, and the only place that says yes or no.

What the other mode and reservations add to it stands in `usage/access.py`, which every door shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from licenzy.catalog.models import Kind
from licenzy.entitlements.limits import Limits, LimitSource, TotalLimit, limit_of, limits_of
from licenzy.entitlements.models import NO_ENTITLEMENT, OVERRIDE, State

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


class CheckedEntitlement(OwnedEntitlement, Protocol):
    """What a decision reads besides: where it comes from, and the limits that it was sold with."""

    @property
    def source(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def adds(self) -> bool: ...
    @property
    def quantity(self) -> int: ...


H = TypeVar("H", bound=CheckedEntitlement)


class DefaultProduct(NamedTuple):
    """What a subject has while it has no subscription, time pass or manual grant. No entitlement."""

    product_code: str
    grants_access: bool
    """Whether it answers a check that asks for no feature and no limit."""
    features: Sequence[str]
    limits: Limits

    @property
    def adds(self) -> bool:
        return False

    @property
    def quantity(self) -> int:
        return 1


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
    """None where nothing that was asked for is held, and where the default product decided."""
    default: DefaultProduct | None = None
    """The default product, where it decided."""
    limit: TotalLimit | None = None
    """The subject's limit, where one was asked for and it has it."""


class InForce(NamedTuple, Generic[H]):
    """What counts at one instant."""

    entitlements: Sequence[H]
    """Those that are available."""
    overrides: Sequence[H]
    """The features and limits that operators have set."""
    default: DefaultProduct | None
    """The default product, unless an entitlement hides it."""

    @property
    def features(self) -> list[str]:
        """The codes of all features, in order."""
        own = {feature for each in (*self.overrides, *self.entitlements) for feature in each.features}
        return sorted(own.union(self.default.features if self.default is not None else ()))

    @property
    def limits(self) -> dict[str, int | None]:
        """All limits by code; None is unlimited."""
        return limits_of((*self.entitlements, *self._defaults), self.overrides)

    @property
    def _defaults(self) -> tuple[DefaultProduct, ...]:
        return () if self.default is None else (self.default,)


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
    limit: str | None = None,
    value: int = 0,
    default: DefaultProduct | None = None,
) -> Decision[H]:
    """Whether what a subject has allows it to proceed at `now`; `default` is the side's default product.

    Narrowed by `product_code` or `feature`, only what grants it counts. With `limit`, whether `value`, the
    number that there is now, is below the limit.
    """
    own = only_entitlements(entitlements)
    of_product = own
    if product_code is not None:
        of_product = [owned for owned in own if owned.product_code == product_code]
    overrides = _overrides(entitlements, now) if product_code is None else []
    if limit is not None:
        shown = _shown(default, own, now)
        named = shown if shown is not None and product_code in {None, shown.product_code} else None
        found = _decide_limit(limit, value, of_product, overrides, named, now)
        missing = None if of_product or named is not None else product_code
        return found or _refused("limit_not_held", own, shown, missing)
    wanted = of_product
    if feature is not None:
        wanted = [owned for owned in of_product if feature in owned.features]
        for override in overrides:
            if feature in override.features:
                return Decision(True, None, override)
    nearest: tuple[int, str, H] | None = None
    for owned in wanted:
        _status, available, reason = standing(owned, now)
        if available:
            return Decision(True, None, owned)
        assert reason is not None
        nearest = _nearer(nearest, reason, owned)
    shown = _shown(default, own, now)
    if shown is not None and _default_allows(shown, product_code, feature):
        return Decision(True, None, None, shown)
    if nearest is not None:
        return Decision(False, nearest[1], nearest[2])
    if product_code is None and feature is None:
        return Decision(False, "no_entitlement", None)
    return _refused("feature_not_held", own, shown, product_code)


def only_entitlements(entitlements: Sequence[H]) -> Sequence[H]:
    """The entitlements proper, without what operators have set and the row of the default product's units."""
    return [owned for owned in entitlements if owned.source not in NO_ENTITLEMENT]


def in_force(entitlements: Sequence[H], now: Moment, default: DefaultProduct | None = None) -> InForce[H]:
    """What of a subject's entitlements counts at `now`; the default product unless one of them hides it."""
    own = only_entitlements(entitlements)
    available = [owned for owned in own if standing(owned, now).available]
    return InForce(available, _overrides(entitlements, now), _shown(default, own, now))


def best_status(entitlements: Sequence[CheckedEntitlement], now: Moment) -> str:
    """The best status among those held, `none` when there are none."""
    statuses = {standing(owned, now).status for owned in only_entitlements(entitlements)}
    return next((status for status in _BEST_FIRST if status in statuses), "none")


def _decide_limit(
    code: str,
    value: int,
    owned_of_product: Sequence[H],
    overrides: Sequence[H],
    default: DefaultProduct | None,
    now: Moment,
) -> Decision[H] | None:
    """The answer for a limit; None where nothing names it."""
    for override in overrides:
        if code in override.limits:
            return _compared(TotalLimit(override.limits[code]), value, override, None)
    nearest: tuple[int, str, H] | None = None
    available: list[H] = []
    for owned in owned_of_product:
        if code not in owned.limits:
            continue
        _status, is_available, reason = standing(owned, now)
        if is_available:
            available.append(owned)
        else:
            assert reason is not None
            nearest = _nearer(nearest, reason, owned)
    sources: list[H | DefaultProduct] = [*available]
    if default is not None and code in default.limits:
        sources.append(default)
    found = limit_of(code, sources)
    if found is not None:
        largest = max(sources, key=lambda source: _weight(code, source))
        if isinstance(largest, DefaultProduct):
            return _compared(found, value, None, largest)
        return _compared(found, value, largest, None)
    return Decision(False, nearest[1], nearest[2]) if nearest is not None else None


def _compared(
    limit: TotalLimit, value: int, deciding: H | None, default: DefaultProduct | None
) -> Decision[H]:
    allowed = limit.allows(value)
    return Decision(allowed, None if allowed else "limit_reached", deciding, default, limit)


def _weight(code: str, source: LimitSource) -> tuple[bool, bool, int]:
    """By which the source is chosen that explains a limit: unlimited, then a base, then the largest."""
    value = source.limits[code]
    return value is None, not source.adds, value or 0


def _refused(
    reason: str, own: Sequence[H], default: DefaultProduct | None, product_code: str | None
) -> Decision[H]:
    """Why nothing that was asked for is held."""
    if not own and default is None:
        return Decision(False, "no_entitlement", None)
    return Decision(False, "product_not_held" if product_code is not None else reason, None)


def _nearer(nearest: tuple[int, str, H] | None, reason: str, owned: H) -> tuple[int, str, H]:
    rank = _NEAREST_FIRST.index(reason) if reason in _NEAREST_FIRST else len(_NEAREST_FIRST)
    return (rank, reason, owned) if nearest is None or rank < nearest[0] else nearest


def _overrides(entitlements: Sequence[H], now: Moment) -> list[H]:
    return [each for each in entitlements if each.source == OVERRIDE and standing(each, now).available]


def _shown(default: DefaultProduct | None, own: Sequence[H], now: Moment) -> DefaultProduct | None:
    """The default product, unless a subscription, a time pass or a manual grant is available.

    Usage packs do not hide it, however they were given.
    """
    if default is None or any(hides_default(owned, now) for owned in own):
        return None
    return default


def hides_default(owned: OwnedEntitlement, now: Moment) -> bool:
    """Whether an entitlement takes the place of the default product."""
    return owned.kind != _USAGE_PACK and standing(owned, now).available


def _default_allows(default: DefaultProduct, product_code: str | None, feature: str | None) -> bool:
    if product_code not in {None, default.product_code}:
        return False
    return default.grants_access if feature is None else feature in default.features


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
