"""CSV files: read as spreadsheets save them, and written so that no cell is a formula."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from licenzy.catalog.unit_names import UNITS_MAX, unit_problem
from licenzy.errors import InvalidRequest
from licenzy.kit.csv_text import FORMULA
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.subjects.rules import ref_problem

MAX_BYTES = 20 * 1024 * 1024
MAX_LINES = 500_000
_MOST_PROBLEMS = 5
_DELIMITERS = (",", ";", "\t")
_HINT = "Nothing was changed. Save the sheet as CSV UTF-8 with a header line, and try again."


@dataclass(frozen=True, slots=True)
class MapLine:
    """A line that says whose a subscription, a Stripe customer or an e-mail address is."""

    number: int
    """Its line in the file, the header's being 1."""
    subject_ref: str
    stripe_subscription_id: str | None = None
    stripe_customer_id: str | None = None
    email: str | None = None
    unit: str = DEFAULT_UNIT
    used_units: int = 0

    def names_one_of(self, names: Collection[str]) -> bool:
        """Whether it says whose something with one of these names is."""
        return any(
            each is not None and each in names
            for each in (self.stripe_subscription_id, self.stripe_customer_id, self.email)
        )


@dataclass(frozen=True, slots=True)
class AccessLine:
    """A line of the merchant's own list of who has access, perhaps to one product."""

    number: int
    subject_ref: str
    product_code: str | None = None


_NAMING = ("stripe_subscription_id", "stripe_customer_id", "email")


def read_map(text: str) -> Iterator[MapLine]:
    """The lines of a CSV with `subject_ref`, and the subscription, Stripe customer or e-mail that it owns.

    Optional columns are `unit` and `used_units`; others are ignored. Raises InvalidRequest, in the end with
    the lines that are wrong.
    """
    problems: list[str] = []
    lines = _lines(text, required=("subject_ref",), one_of=_NAMING, optional=("unit", "used_units"))
    for number, cells in lines:
        problem = _problem_of(cells)
        if problem is not None:
            problems.append(f"line {number}: {problem}")
            continue
        yield MapLine(
            number,
            cells["subject_ref"],
            cells.get("stripe_subscription_id") or None,
            cells.get("stripe_customer_id") or None,
            (cells.get("email") or "").lower() or None,
            cells.get("unit") or DEFAULT_UNIT,
            int(cells.get("used_units") or 0),
        )
    _refuse(problems)


def read_access(text: str) -> Iterator[AccessLine]:
    """The lines of a CSV with `subject_ref`, and perhaps `product_code`. Raises InvalidRequest."""
    problems: list[str] = []
    for number, cells in _lines(text, required=("subject_ref",), optional=("product_code",)):
        if not cells["subject_ref"]:
            problems.append(f"line {number}: subject_ref is empty")
        else:
            yield AccessLine(number, cells["subject_ref"], cells.get("product_code") or None)
    _refuse(problems)


def _as_meant(cell: str) -> str:
    """A cell without the apostrophe that keeps it from being a formula, and without spaces around it."""
    text = cell.strip()
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def _problem_of(cells: Mapping[str, str]) -> str | None:
    ref, used = cells["subject_ref"], cells.get("used_units") or "0"
    if (problem := ref_problem(ref)) is not None:
        return f"subject_ref {problem}"
    if not any(cells.get(name) for name in _NAMING):
        return f"one of {', '.join(_NAMING)} is needed"
    if (unit := cells.get("unit")) and unit_problem(unit) is not None:
        return f"unit {unit_problem(unit)}"
    if not (used.isascii() and used.isdigit() and len(used) <= 16 and int(used) <= UNITS_MAX):
        return f"used_units must be a whole number from 0 to {UNITS_MAX}"
    return None


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f", and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        raise InvalidRequest(f"The CSV has {'; '.join(problems[:_MOST_PROBLEMS])}{more}.", hint=_HINT)


def _lines(
    text: str, *, required: Sequence[str], one_of: Sequence[str] = (), optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines below the header with their cells by column; empty lines are left out.

    One at a time: a large file of half a million lines is never in memory as cells.
    """
    reader = csv.reader(_physical_lines(text), delimiter=_delimiter(text), strict=True)
    count = 0
    try:
        header = [_column(cell) for cell in next((cells for cells in reader if cells), [])]
        _check_header(header, required, one_of, optional)
        empty = dict.fromkeys(header, "")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if (count := count + 1) > MAX_LINES:
                raise InvalidRequest(f"The CSV has more than {MAX_LINES:,} lines.", hint=_HINT)
            if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
                raise InvalidRequest(
                    f"Line {reader.line_num} of the CSV has more cells than the header.", hint=_HINT
                )
            yield reader.line_num, empty | dict(zip(header, map(_as_meant, cells), strict=False))
    except csv.Error as problem:
        raise InvalidRequest(
            f"The CSV cannot be read at line {reader.line_num}: {problem}.", hint=_HINT
        ) from None


_PHYSICAL_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def _physical_lines(text: str) -> Iterator[str]:
    return (found.group() for found in _PHYSICAL_LINE.finditer(text))


def without_lines_of(text: str, names: Collection[str]) -> str:
    """A CSV that was read before, without the lines of which a cell is one of the names, or is in lower case.

    The header stays, whatever it says, and the other lines are as they were.
    """
    # Both count the same lines, of which a cell in quotes may have several.
    lines = list(_physical_lines(text))
    reader, kept, begin, below = csv.reader(lines, delimiter=_delimiter(text)), list[str](), 0, False
    for cells in reader:
        line, begin = "".join(lines[begin : reader.line_num]), reader.line_num
        meant = map(_as_meant, cells)
        if not below or not any(cell in names or cell.lower() in names for cell in meant):
            kept.append(line)
        below = below or bool(cells)
    return "".join(kept)


def text_of(content: bytes) -> str:
    """What a file says that spreadsheets save as CSV. Raises InvalidRequest."""
    if len(content) > MAX_BYTES:
        raise InvalidRequest(f"The CSV is larger than {MAX_BYTES // 1024 // 1024} MB.", hint=_HINT)
    is_wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The CSV is not encoded in UTF-8.", hint=_HINT) from None
    if "\x00" in text:
        raise InvalidRequest("The file is not a CSV.", hint=_HINT)
    return text


def _delimiter(text: str) -> str:
    """What separates the columns of the header; Excel writes semicolons in many countries."""
    header = next((line for line in _physical_lines(text) if line.strip()), "")
    return max(_DELIMITERS, key=header.count)


def _column(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _check_header(
    header: Sequence[str], required: Sequence[str], one_of: Sequence[str], optional: Sequence[str]
) -> None:
    wanted = [*required, *one_of, *optional]
    twice = sorted({name for name in wanted if header.count(name) > 1})
    if twice:
        raise InvalidRequest(f"The CSV has the column {twice[0]} more than once.", hint=_HINT)
    missing = [name for name in required if name not in header]
    if missing or (one_of and not set(one_of) & set(header)):
        needed = f"{', '.join(required)}" + (f" and one of {', '.join(one_of)}" if one_of else "")
        raise InvalidRequest(f"The CSV’s first line must name the columns {needed}.", hint=_HINT)


class CheckedCsv(NamedTuple):
    """A CSV that was read to its end and has nothing wrong in it."""

    kind: str
    """`map`, which names the customers, or `compare`, the merchant's list of who has access."""
    name: str
    text: str


def checked_csv(kind: str, name: str, content: bytes) -> CheckedCsv:
    """A file as a person gave it. It takes seconds for a long one, so no transaction may be open.

    Raises InvalidRequest.
    """
    text = text_of(content)
    if not sum(1 for _ in _READERS[kind](text)):
        raise InvalidRequest("The CSV has no line below its header.", hint="Nothing was changed.")
    return CheckedCsv(kind, name[:200] or "file.csv", text)


_READERS: dict[str, Callable[[str], Iterator[Any]]] = {"map": read_map, "compare": read_access}
