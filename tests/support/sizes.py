"""Which database a large proof is made on: one of them in `make test`, both in `make soak`."""

from __future__ import annotations

import pytest

LARGE_ON_SQLITE = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.soak)], indirect=True
)
"""For a test that has smaller ones beside it, which run on both."""


def sizes(
    names: str, *, sqlite: tuple[int, ...], postgres: tuple[int, ...], soak: tuple[int, ...] = ()
) -> pytest.MarkDecorator:
    """One size for each database; in `make soak` that of SQLite on Postgres, or a larger one on both."""
    large = [("sqlite", soak), ("postgres", soak)] if soak else [("postgres", sqlite)]
    return pytest.mark.parametrize(
        f"database_url,{names}",
        [
            pytest.param("sqlite", *sqlite, id="sqlite"),
            pytest.param("postgres", *postgres, id="postgres"),
            *(pytest.param(kind, *size, id=f"{kind}-large", marks=pytest.mark.soak) for kind, size in large),
        ],
        indirect=["database_url"],
    )
