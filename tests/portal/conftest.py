"""Which tests of pages run on Postgres."""

from __future__ import annotations

from pathlib import Path

import pytest

ON_BOTH = {
    *("test_activity", "test_audit", "test_customers", "test_events", "test_imports"),
    *("test_operator_actions", "test_search", "test_untracked", "test_usage"),
}
"""Lists, searches, charts and forms that race, whose statements are read by each database in its own way."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What pages call is tested on both databases where it stands; other pages on Postgres in `make soak`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.stem not in ON_BOTH and "[postgres" in item.name:
            item.add_marker(pytest.mark.soak)
