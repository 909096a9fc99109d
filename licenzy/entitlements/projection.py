"""From the facts of one purchase to its entitlements. Pure: any order of arrival gives the same rows.

The projection never reads the catalog or the clock: facts carry what was sold at the time, and what
depends on the present moment is left to `decision`.
"""

from __future__ import annotations

from collections.abc import Sequence

from licenzy.entitlements.one_time import of_one_time_purchase
from licenzy.entitlements.operators import laid_over, manual_grants
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.entitlements.subscriptions import of_subscription


def project(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements of one purchase, from all of its facts in any order.

    Three layers, later over earlier: the Stripe object's state, refunds and disputes, operators.
    """
    sold = [*of_subscription(facts), *of_one_time_purchase(facts)]
    return laid_over([*sold, *manual_grants(facts)], facts)
