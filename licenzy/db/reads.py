"""Reads whose statement is made once: making one takes SQLAlchemy several times as long as running it.

The decorated function makes the statement; what callers get is a function that runs it in a session:

    @read_first
    def product_by_code(scope: Scope, *, code: str) -> SelectOfScalar[Product]:
        return select(Product).where(Product.project_id == scope.project_id, …)

    product_by_code(db, scope, code=…)

`read_rows` and `read_row` give what was selected as it came, without making objects of the session: that
costs a quarter of the time, and is for columns that are only read.

A decorated function is called once, with a bound parameter for each of its arguments. It may compare columns
with them and limit by them, but neither branch on them nor calculate with them.

An argument that is a dataclass by its annotation is made of bound parameters itself, one for each field; of
those a call sends what the statement uses.

A value of None is refused, since nothing equals NULL: a comparison with it would silently find nothing. Where
the statement is written for it (`is_not_distinct_from`), the annotation says `| None`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from types import NoneType
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple, get_args, get_type_hints, overload

from sqlalchemy import BindParameter, Executable, Row, bindparam
from sqlalchemy.sql.visitors import iterate
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
    def run(db: Session, statement: Any, values: dict[str, Any]) -> Any:
        # The connection knows nothing of the session's objects: what was changed of those is written first.
        db.flush()
        return take(db.connection().execute(statement, values))

    return _created_once(make, run)


def _reading(make: Callable[..., Any], take: Callable[[Any], Any]) -> Callable[..., Any]:
    return _created_once(make, lambda db, statement, values: take(db.exec(statement, params=values)))


def _created_once(
    make: Callable[..., Any], run: Callable[[Session, Any, dict[str, Any]], Any]
) -> Callable[..., Any]:
    made: _Made | None = None

    @wraps(make)
    def read(db: Session, /, *given: Any, **values: Any) -> Any:
        nonlocal made
        if made is None:
            made = _Made(make)
        for at, value in enumerate(given):
            values[made.positional[at]] = value
        for name, parts in made.unfolded:
            whole = values.pop(name)
            for parameter, field in parts:
                values[parameter] = getattr(whole, field)
        if None in values.values():
            made.refuse_none(values)
        return run(db, made.statement, values)

    return read


class _Made:
    """A statement, and how a call's arguments become its parameters."""

    def __init__(self, make: Callable[..., Any]) -> None:
        parameters = inspect.signature(make).parameters
        hints = get_type_hints(make)
        self._name = make.__name__
        self.positional = [each.name for each in parameters.values() if each.kind is not each.KEYWORD_ONLY]
        self._nullable: set[str] = set()
        bound: dict[str, Any] = {}
        unfolded: list[tuple[str, list[tuple[str, str]]]] = []
        for name in parameters:
            whole = hints.get(name)
            if isinstance(whole, type) and is_dataclass(whole):
                types = get_type_hints(whole)
                parts = [(f"{name}_{field.name}", field.name) for field in fields(whole)]
                bound[name] = whole(**{field: self._bound(part, types[field]) for part, field in parts})
                unfolded.append((name, parts))
            else:
                bound[name] = self._bound(name, whole)
        self.statement = make(**bound)
        used = {each.key for each in iterate(self.statement) if isinstance(each, BindParameter)}
        self.unfolded = [(name, [each for each in parts if each[0] in used]) for name, parts in unfolded]

    def _bound(self, name: str, annotation: Any) -> BindParameter[Any]:
        if NoneType in get_args(annotation):
            self._nullable.add(name)
        return bindparam(name)

    def refuse_none(self, values: dict[str, Any]) -> None:
        """Raises TypeError when None is given for what may not be None."""
        for name, value in values.items():
            if value is None and name not in self._nullable:
                raise TypeError(f"{self._name}() compares with {name}, which is None")
