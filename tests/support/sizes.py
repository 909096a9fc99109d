"""Which database a large proof is made on: one of them in `make test`, both in `make soak`."""

from __future__ import annotations

import pytest

LARGE_ON_SQLITE = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.soak)], indirect=True
)
"""For a test that has a small one beside it, which runs on both."""


def sizes(names: str, *, sqlite: tuple[int, ...], postgres: tuple[int, ...]) -> pytest.MarkDecorator:
    """The large size on SQLite and a smaller one on Postgres, whose large one is part of `make soak`."""
    return pytest.mark.parametrize(
        f"database_url,{names}",
        [
            pytest.param("sqlite", *sqlite, id="sqlite"),
            pytest.param("postgres", *postgres, id="postgres"),
            pytest.param("postgres", *sqlite, id="postgres-large", marks=pytest.mark.soak),
        ],
        indirect=["database_url"],
    )
