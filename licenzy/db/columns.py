"""Column types that mean the same on SQLite and Postgres."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Dialect, String
from sqlalchemy.types import TypeDecorator

from licenzy.kit.clock import from_micros, to_micros


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole microseconds since 1970.

    One integer compares, sorts and indexes alike on both databases and costs the hot path no parsing.
    docs/decisions/0002-instants-as-integers.md argues it.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


class Word(TypeDecorator[StrEnum]):
    """A StrEnum stored as its word; a word the enum does not know is an error, never a guess."""

    impl = String
    cache_ok = True

    def __init__(self, words: type[StrEnum], length: int = 32) -> None:
        super().__init__(length)
        self.words = words

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)
