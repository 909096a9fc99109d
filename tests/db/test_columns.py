"""Instants and words as columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import StatementError

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.engine import make_engine

rows = Table(
    "round_trips",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("instant", Instant),
    Column("word", Word(Mode)),
)
instants = st.none() | st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from(
        [UTC, timezone(timedelta(hours=13)), timezone(-timedelta(hours=9, minutes=30))]
    ),
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url, pool_size=1)
    with made.begin() as connection:
        rows.create(connection)
    yield made
    made.dispose()


@settings(database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(instants, st.none() | st.sampled_from(Mode)), min_size=1, max_size=8))
def test_what_is_stored_is_read_again(
    engine: Engine, stored: list[tuple[datetime | None, Mode | None]]
) -> None:
    with engine.connect() as connection:
        connection.execute(insert(rows), [{"instant": at, "word": word} for at, word in stored])
        found = connection.execute(select(rows.c.instant, rows.c.word).order_by(rows.c.id)).all()
        assert [tuple(row) for row in found] == stored
        assert all(at is None or at.tzinfo is UTC for at, _ in found)
        assert all(word is None or type(word) is Mode for _, word in found)
        sorted_there = connection.execute(
            select(rows.c.instant).where(rows.c.instant.is_not(None)).order_by(rows.c.instant)
        ).scalars()
        assert list(sorted_there) == sorted(at for at, _ in stored if at is not None)
        connection.rollback()


def test_instants_are_whole_microseconds_and_words_their_text(engine: Engine) -> None:
    at = datetime(2026, 11, 23, 9, 30, 0, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(insert(rows).values(instant=at, word=Mode.LIVE))
        assert connection.execute(text("SELECT instant, word FROM round_trips")).one() == (
            1_795_426_200_000_001,
            "live",
        )


def test_instants_are_compared_in_the_database(engine: Engine) -> None:
    at = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(insert(rows), [{"instant": at + timedelta(microseconds=n)} for n in range(3)])
        later = select(rows.c.instant).where(rows.c.instant > at.astimezone(timezone(timedelta(hours=5))))
        assert len(connection.execute(later).all()) == 2


class Odd(StrEnum):
    OTHER = "other"


@pytest.mark.parametrize("word", ["neither", "", "TEST", Odd.OTHER])
def test_a_word_that_is_not_known_is_not_stored(engine: Engine, word: str) -> None:
    with pytest.raises(StatementError), engine.begin() as connection:
        connection.execute(insert(rows).values(word=word))


def test_a_word_that_is_not_known_is_not_guessed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO round_trips (id, word) VALUES (1, 'neither')"))
        with pytest.raises(ValueError, match="neither"):
            connection.execute(select(rows.c.word)).all()


def test_an_instant_without_a_zone_is_not_stored(engine: Engine) -> None:
    with pytest.raises((StatementError, TypeError)), engine.begin() as connection:
        connection.execute(insert(rows).values(instant=datetime(2026, 11, 23)))
