"""What merchants sell: one story for each archetype, over twelve months."""

from __future__ import annotations

from collections.abc import Callable

from tests.archetypes.merchant import Merchant
from tests.archetypes.stories import (
    add_ons,
    ai_assistant,
    annual_plan,
    changes_of_mind,
    credit_packs,
    day_passes,
    developer_platform,
    grandfathered_prices,
    image_generator,
    seats,
    terms_for_holders,
    trial_once,
)

Story = Callable[[Merchant], None]

STORIES: dict[str, tuple[str, Story]] = {
    "AI assistant": ("ai_assistant", ai_assistant.story),
    "image generator": ("image_generator", image_generator.story),
    "developer platform": ("developer_platform", developer_platform.story),
    "seats": ("seats", seats.story),
    "credit packs": ("credit_packs", credit_packs.story),
    "day passes": ("day_passes", day_passes.story),
    "annual plan": ("annual_plan", annual_plan.story),
    "trial once": ("trial_once", trial_once.story),
    "add-ons": ("add_ons", add_ons.story),
    "grandfathered prices": ("grandfathered_prices", grandfathered_prices.story),
    "changes of mind": ("changes_of_mind", changes_of_mind.story),
    "terms for holders": ("grandfathered_prices", terms_for_holders.story),
}
"""Each with the configuration file that it begins with."""
