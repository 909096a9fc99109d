"""What merchants sell: one story for each archetype, over twelve months."""

from __future__ import annotations

from collections.abc import Callable

from tests.archetypes.merchant import Merchant
from tests.archetypes.stories import credit_packs, day_passes, grandfathered_prices, seats

STORIES: dict[str, Callable[[Merchant], None]] = {
    "seats": seats.story,
    "credit_packs": credit_packs.story,
    "day_passes": day_passes.story,
    "grandfathered_prices": grandfathered_prices.story,
}
"""By the name of the configuration file that each begins with."""
