"""CSV files that spreadsheets open as text: UTF-8, and no cell is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

FORMULA = re.compile(r"[=+\-@\t\r\n]")
"""How a cell begins that spreadsheets calculate."""

_AT_A_TIME = 500


def as_csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file that spreadsheets open as UTF-8, and in which no cell is a formula."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_safe(cell) for cell in line] for line in lines)
    return out.getvalue()


def csv_parts(header: Sequence[str], lines: Iterable[Sequence[object]]) -> Iterator[str]:
    """The text of a CSV file in parts, so that a long one is never in memory as a whole."""
    rest = iter(lines)
    yield as_csv(header, islice(rest, _AT_A_TIME))
    while part := list(islice(rest, _AT_A_TIME)):
        yield as_csv(header, part).partition("\r\n")[2]


def _safe(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if FORMULA.match(text) else text
