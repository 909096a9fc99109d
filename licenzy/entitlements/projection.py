"""From the facts of one purchase to its entitlements. Pure: any order of arrival gives the same rows.

The projection never reads the catalog or the clock: facts carry what was sold at the time, and what
depends on the present moment is left to `decision`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from licenzy.entitlements.one_time import of_one_time_purchase
from licenzy.entitlements.operators import laid_over, manual_grants, overrides
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.entitlements.subscriptions import of_subscription


def project(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements of one purchase, from all of its facts in any order.

    Three layers, later over earlier: the Stripe object's state, refunds and disputes, operators.
    """
    sold = [*of_subscription(facts), *of_one_time_purchase(facts)]
    by_hand = [*manual_grants(facts), *overrides(facts)]
    return laid_over([*(_begun(each, facts) for each in sold), *by_hand], facts)


CLOCK_AHEAD = timedelta(seconds=300)
"""How far Stripe's clock may be ahead of this server's before a start counts as one in the future."""


def _begun(entitlement: Projected, facts: Sequence[FactLike]) -> Projected:
    """What Stripe says has begun has begun, although its clock is a little ahead of this server's."""
    start = entitlement.starts_at
    received = min((fact.recorded_at for fact in facts if fact.occurred_at >= start), default=start)
    if not received < start <= received + CLOCK_AHEAD:
        return entitlement
    paid_at = received if entitlement.paid_at == start else entitlement.paid_at
    return replace(entitlement, starts_at=received, paid_at=paid_at)
