"""Reads whose statement is made once: making one takes SQLAlchemy several times as long as running it.

The decorated function makes the statement; what callers get is a function that runs it in a session:

    @read_first
    def product_by_code(*, project_id: str, mode: Mode, code: str) -> SelectOfScalar[Product]:
        return select(Product).where(Product.project_id == project_id, …)

    product_by_code(db, project_id=…, mode=…, code=…)

`read_rows` and `read_row` give what was selected as it came, without making objects of the session: that
costs a quarter of the time, and is for columns that are only read.

A decorated function is called once, with a bound parameter for each of its arguments. It may compare columns
with them and limit by them, but neither branch on them nor calculate with them; and what is compared must not
be None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple, overload

from sqlalchemy import Executable, Row, bindparam
from sqlmodel import Session
from sqlmodel.sql.expression import Select, SelectOfScalar

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVarTuple("C")


@overload
def read_all(make: Callable[P, SelectOfScalar[T]]) -> Callable[Concatenate[Session, P], list[T]]: ...
@overload
def read_all(make: Callable[P, Select[*C]]) -> Callable[Concatenate[Session, P], list[tuple[*C]]]: ...
def read_all(make: Callable[..., Any]) -> Callable[..., Any]:
    """All rows: scalars of a statement that selects one thing, rows of one that selects several."""
    return _reading(make, lambda found: list(found))


@overload
def read_first(make: Callable[P, SelectOfScalar[T]]) -> Callable[Concatenate[Session, P], T | None]: ...
@overload
def read_first(make: Callable[P, Select[*C]]) -> Callable[Concatenate[Session, P], tuple[*C] | None]: ...
def read_first(make: Callable[..., Any]) -> Callable[..., Any]:
    """The first row, or None when there is none."""
    return _reading(make, lambda found: found.first())


@overload
def read_one(make: Callable[P, SelectOfScalar[T]]) -> Callable[Concatenate[Session, P], T]: ...
@overload
def read_one(make: Callable[P, Select[*C]]) -> Callable[Concatenate[Session, P], tuple[*C]]: ...
def read_one(make: Callable[..., Any]) -> Callable[..., Any]:
    """The only row. Raises NoResultFound and MultipleResultsFound."""
    return _reading(make, lambda found: found.one())


def read_rows(
    make: Callable[P, Executable],
) -> Callable[Concatenate[Session, P], Sequence[Row[Any]]]:
    """All rows, of selected columns."""
    return _plainly(make, lambda found: found.all())


def read_row(make: Callable[P, Executable]) -> Callable[Concatenate[Session, P], Row[Any] | None]:
    """The first row, of selected columns, or None when there is none."""
    return _plainly(make, lambda found: found.first())


def _plainly(make: Callable[..., Any], take: Callable[[Any], Any]) -> Callable[..., Any]:
    names = inspect.signature(make).parameters
    made: Any = None

    @wraps(make)
    def read(db: Session, /, **values: Any) -> Any:
        nonlocal made
        if made is None:
            made = make(**{name: bindparam(name) for name in names})
        # The connection knows nothing of the session's objects: what was changed of those is written first.
        db.flush()
        return take(db.connection().execute(made, values))

    return read


def _reading(make: Callable[..., Any], take: Callable[[Any], Any]) -> Callable[..., Any]:
    names = inspect.signature(make).parameters
    made: Any = None

    @wraps(make)
    def read(db: Session, /, **values: Any) -> Any:
        nonlocal made
        if made is None:
            made = make(**{name: bindparam(name) for name in names})
        return take(db.exec(made, params=values))

    return read
