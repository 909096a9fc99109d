"""Installations that an older version wrote: the rows of all tables, and how that version answered.

The files stand in `tests/house/stored/<revision>`; the README there describes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Engine, MetaData, Table, text

from licenzy.db import migrate
from licenzy.db.engine import WRITES

FOLDER = Path(__file__).parents[1] / "house" / "stored"
_ALIAS = re.compile(r"~(\w+)~")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API with the key of one side, and the older version's answer to it."""

    side: str
    method: str
    path: str
    body: Json | None
    key: str | None
    """The Idempotency-Key."""
    status: int
    answer: Json

    def __str__(self) -> str:
        return f"{self.side}: {self.method} {self.path} {json.dumps(self.body)}"


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event that Stripe sends to one connection."""

    connection_id: str
    event: Json


@dataclass(frozen=True, slots=True)
class Continuation:
    """What happens after the upgrade, and what the customers are answered then."""

    name: str
    steps: tuple[Call | SentEvent, ...]
    answers: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class StoredTable:
    """The rows of one table, by column."""

    name: str
    rows: list[Json]


@dataclass(frozen=True)
class StoredInstallation:
    """The files of one folder."""

    folder: Path

    @cached_property
    def facts(self) -> Json:
        """The revision, the instant, and the secrets."""
        return dict(json.loads((self.folder / "installation.json").read_text(encoding="utf-8")))

    @property
    def now(self) -> datetime:
        """When the older version was stopped and asked."""
        return datetime.fromisoformat(self.facts["now"])

    @cached_property
    def tables(self) -> list[StoredTable]:
        """Every table that had rows; one that refers to another stands behind it."""
        found: list[StoredTable] = []
        columns: list[str] = []
        for line in self._lines("rows.jsonl"):
            if isinstance(line, dict):
                found.append(StoredTable(line["table"], []))
                columns = line["columns"]
            else:
                found[-1].rows.append(dict(zip(columns, map(_value, line), strict=True)))
        return found

    def rows(self, table: str) -> list[Json]:
        return next(each.rows for each in self.tables if each.name == table)

    @cached_property
    def calls(self) -> list[Call]:
        return [Call(*line) for line in self._lines("answers.jsonl")]

    @cached_property
    def continuations(self) -> list[Continuation]:
        return [
            Continuation(
                line["what"], tuple(map(_step, line["steps"])), tuple(Call(*each) for each in line["answers"])
            )
            for line in self._lines("later.jsonl")
        ]

    def insert_into(self, engine: Engine) -> None:
        """Make the schema of that time in an empty database, and write the rows there."""
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            command.upgrade(migrate.alembic_config(connection), self.facts["revision"])
            for stored in self.tables:
                table = Table(stored.name, MetaData(), autoload_with=connection, resolve_fks=False)
                connection.execute(table.insert(), stored.rows)
            if connection.dialect.name == "postgresql":
                # A row that was numbered by the database has moved its counter.
                connection.execute(
                    text(
                        "SELECT setval(pg_get_serial_sequence('stripe_events', 'sequence'), max(sequence)) "
                        "FROM stripe_events"
                    )
                )

    def _lines(self, name: str) -> Iterator[Any]:
        content = (self.folder / name).read_text(encoding="utf-8")
        while "~" in content:
            content = _ALIAS.sub(lambda found: self._names[found[1]], content)
        return map(json.loads, content.splitlines())

    @cached_property
    def _names(self) -> dict[str, str]:
        lines = (self.folder / "names.txt").read_text(encoding="utf-8").splitlines()
        return dict(line.split(" ", 1) for line in lines)


def _value(stored: Any) -> Any:
    """A column's value. JSON that is stored as text stands there as `{"json": …}`."""
    if isinstance(stored, dict) and set(stored) == {"json"}:
        return json.dumps(stored["json"], separators=(",", ":"), ensure_ascii=False)
    return stored


def _step(line: Json) -> Call | SentEvent:
    if "event" in line:
        return SentEvent(line["to"], line["event"])
    return Call(
        *(line[name] for name in ("by", "method", "path", "body", "key", "status", "answer")),
    )
