"""Twelve months of each archetype over HTTP: what customers have is what was worked out by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.archetypes.files import content
from tests.archetypes.installation import running
from tests.archetypes.stories import STORIES, Story

ONLY = os.environ.get("LICENZY_TESTS_STORY")
"""One story instead of all of them."""


@pytest.mark.slow
def test_twelve_months(tmp_path: Path, database_url: str, subtests: pytest.Subtests) -> None:
    with running(tmp_path, database_url) as installation:
        for name, (file, story) in chosen().items():
            with subtests.test(name), installation.merchant(name) as shop:
                shop.apply(content(file))
                story(shop)


def chosen() -> dict[str, tuple[str, Story]]:
    return {ONLY: STORIES[ONLY]} if ONLY else STORIES
