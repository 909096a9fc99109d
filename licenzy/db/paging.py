"""Pages of a list, newest first, each begun at a row's id: rows that arrive meanwhile shift nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlmodel import Session
from sqlmodel.sql.expression import SelectOfScalar

PAGE_SIZE = 25

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: below one row, above another, or at the newest of all."""

    older_than: str | None = None
    newer_than: str | None = None


NEWEST = Place()


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows of a list, newest first, and where the pages beside it begin."""

    rows: Sequence[R]
    newer: Place | None
    older: Place | None


def read_page(
    db: Session,
    statement: SelectOfScalar[R],
    by: Mapped[Any],
    place: Place,
    *,
    size: int = PAGE_SIZE,
) -> Page[R]:
    """The rows of `statement` at `place`, ordered by the column `by`, which is unique and rises with time."""
    upwards = place.newer_than is not None
    if upwards:
        statement = statement.where(by > place.newer_than).order_by(by.asc())
    else:
        statement = statement.order_by(by.desc())
        if place.older_than is not None:
            statement = statement.where(by < place.older_than)
    found = list(db.exec(statement.limit(size + 1)))
    rows, more = found[:size], len(found) > size
    if upwards:
        rows.reverse()
    name = cast(InstrumentedAttribute[Any], by).key
    keys = [getattr(row, name) for row in rows]
    newer = bool(keys) and (more if upwards else place.older_than is not None)
    older = bool(keys) and (upwards or more)
    return Page(
        rows,
        newer=Place(newer_than=keys[0]) if newer else None,
        older=Place(older_than=keys[-1]) if older else None,
    )
