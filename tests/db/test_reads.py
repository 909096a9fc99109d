"""Statements that are made once and run again and again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import NoResultFound, StatementError
from sqlmodel import col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKey
from licenzy.db.reads import read_all, read_first, read_one
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from tests.support.cast import Cast, make_key

made: list[str] = []


@read_all
def keys(scope: Scope) -> SelectOfScalar[ApiKey]:
    """The keys of one side, by name."""
    made.append("keys")
    return (
        select(ApiKey)
        .where(ApiKey.project_id == scope.project_id, ApiKey.mode == scope.mode)
        .order_by(col(ApiKey.name))
    )


@read_all
def some_names(*, key_ids: list[str], most: int) -> Select[str, Mode]:
    return (
        select(ApiKey.name, col(ApiKey.mode))
        .where(col(ApiKey.id).in_(key_ids))
        .order_by(col(ApiKey.name))
        .limit(most)
    )


@read_first
def key(*, key_id: str) -> SelectOfScalar[ApiKey]:
    return select(ApiKey).where(ApiKey.id == key_id)


@dataclass(frozen=True)
class Place:
    """Where among the keys of a side somebody is."""

    project_id: str
    last_four: str | None = None


@read_all
def names_at(place: Place, *, mode: Mode, but: str | None, most: int) -> SelectOfScalar[str]:
    return (
        select(ApiKey.name)
        .where(ApiKey.project_id == place.project_id, ApiKey.mode == mode)
        .where(
            col(ApiKey.last_four).is_not_distinct_from(place.last_four), col(ApiKey.id).is_distinct_from(but)
        )
        .limit(most)
    )


@read_one
def name(*, key_id: str) -> SelectOfScalar[str]:
    return select(ApiKey.name).where(ApiKey.id == key_id)


def test_each_call_reads_with_values_of_its_own(database: Database, cast: Cast) -> None:
    ours, theirs = cast.owner.project_id, cast.stranger.project_id
    made.clear()
    with database.write() as db:
        assert keys(db, Scope(ours, Mode.TEST)) == []
        a, _ = make_key(db, project_id=ours, name="a")
        b, _ = make_key(db, project_id=ours, name="b")
        other_side, _ = make_key(db, project_id=ours, name="c", mode=Mode.LIVE)
        other_project, _ = make_key(db, project_id=theirs, name="d")
    with database.read() as db:
        assert [each.id for each in keys(db, Scope(ours, Mode.TEST))] == [a.id, b.id]
        assert [each.id for each in keys(db, Scope(ours, Mode.LIVE))] == [other_side.id]
        assert [each.id for each in keys(db, Scope(theirs, Mode.TEST))] == [other_project.id]
        assert keys(db, Scope("' OR ''='", Mode.TEST)) == []
    assert len(made) <= 1, "its statement was made anew"


def test_lists_and_limits_are_values_too(database: Database, cast: Cast) -> None:
    with database.write() as db:
        ids = [make_key(db, project_id=cast.project_id, name=name)[0].id for name in "abc"]
        assert some_names(db, key_ids=ids, most=2) == [("a", Mode.TEST), ("b", Mode.TEST)]
        assert some_names(db, key_ids=ids[2:], most=9) == [("c", Mode.TEST)]
        assert some_names(db, key_ids=[], most=9) == []


def test_one_row_or_none(database: Database, cast: Cast) -> None:
    with database.write() as db:
        made_key, _ = make_key(db, project_id=cast.project_id, name="a")
        assert key(db, key_id=made_key.id) is made_key
        assert key(db, key_id="key_none") is None
        assert name(db, key_id=made_key.id) == "a"
        with pytest.raises(NoResultFound):
            name(db, key_id="key_none")


def test_a_value_that_is_left_out_is_an_error(database: Database) -> None:
    with database.read() as db, pytest.raises(StatementError, match="key_id"):
        key(db)  # type: ignore[call-arg]


def test_of_a_dataclass_only_the_fields_that_the_statement_uses_are_sent(
    database: Database, cast: Cast
) -> None:
    scope, sent = Scope(cast.project_id, Mode.TEST, timedelta(days=1)), list[set[str]]()
    with database.read() as db:
        event.listen(db, "do_orm_execute", lambda state: sent.append(set(state.parameters)))
        assert keys(db, scope) == keys(db, scope=scope) == []
    assert sent == [{"scope_project_id", "scope_mode"}] * 2


def test_none_is_refused_by_name_unless_the_statement_is_written_for_it(
    database: Database, cast: Cast
) -> None:
    nobody: Any = None
    with database.write() as db:
        made_key, _ = make_key(db, project_id=cast.project_id, name="a")
        with pytest.raises(TypeError, match="key_id"):
            key(db, key_id=nobody)
        with pytest.raises(TypeError, match="scope_project_id"):
            keys(db, Scope(nobody, Mode.TEST))
        with pytest.raises(TypeError, match="most"):
            names_at(db, Place(cast.project_id), mode=Mode.TEST, but=None, most=nobody)
        place = Place(cast.project_id, made_key.last_four)
        assert names_at(db, place, mode=Mode.TEST, but=None, most=9) == ["a"]
        assert names_at(db, place, mode=Mode.TEST, but=made_key.id, most=9) == []
        assert names_at(db, Place(cast.project_id), mode=Mode.TEST, but=None, most=9) == []


def test_what_was_read_is_what_was_declared() -> None:
    assert keys.__doc__ == "The keys of one side, by name."
