"""What the rows of a database say of reservations and purchases, held against what clients were told.

Read with the drivers alone, as `exactness.raw_rows` and `faults.raw_rows` do, which say the rest.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg

from tests.exactness import raw_rows as consumption
from tests.faults import raw_rows as events

Answered = dict[str, Any]
Rows = list[dict[str, Any]]


def problems(url: str, answered: Mapping[str, Iterable[Answered]], *, buyer: str) -> list[str]:
    """Everything that is wrong, in sentences; `answered` is the answers that each client got, by its name."""
    said = consumption.problems(url, answered["consume"])
    said += _of_reservations(url, list(answered["reserve and commit"]))
    return said + _of_events(url, list(answered["webhook"]), buyer)


def _of_reservations(url: str, answered: list[Answered]) -> list[str]:
    """What was set aside and committed is there once, and packs hold back what is still set aside."""
    stored = {row["key"]: row for row in _rows(url, "idempotency_keys") if row["endpoint"] == "usage/reserve"}
    reserved = {row["id"]: row for row in _rows(url, "usage_reservations")}
    ledger: Counter[str] = Counter()
    for row in _rows(url, "usage_ledger"):
        if row["reservation_id"] is not None:
            ledger[row["reservation_id"]] += row["units"]
    said = []
    for each in answered:
        if each.get("status") == 201:
            said += _of_reserve(each, stored.get(each["key"]), reserved)
        if each.get("status") == 200:
            closed = reserved.get(each["commit"], {})
            if (closed.get("closed_as"), closed.get("committed_units")) != ("committed", each["units"]):
                said.append(f"{each['key']} was acknowledged and is lost: {closed}")
    made = [row for row in stored.values() if row["response_status"] == 201]
    if len(made) != len(reserved):
        said.append(f"{len(made)} calls were stored as done, {len(reserved)} reservations were made")
    said += [
        f"{name} committed {row['committed_units']} units, its ledger {ledger[name]}"
        for name, row in reserved.items()
        if (row["committed_units"] or 0) != ledger[name]
    ]
    return said + _of_holds(url, reserved)


def _of_reserve(each: Answered, row: dict[str, Any] | None, reserved: Mapping[str, Any]) -> list[str]:
    if row is None:
        return [f"{each['key']} was acknowledged and is lost"]
    if (row["response_status"], row["response_body"]) != (each["status"], each["body"]):
        return [f"{each['key']} was answered otherwise than is stored"]
    found = reserved.get(json.loads(each["body"])["reservation_id"])
    return [] if found and found["units"] == each["units"] else [f"{each['key']} reserved {found}"]


def _of_holds(url: str, reserved: Mapping[str, Any]) -> list[str]:
    held: Counter[str] = Counter()
    for row in _rows(url, "usage_holds"):
        if reserved[row["reservation_id"]]["closed_at"] is None:
            held[row["entitlement_id"]] += row["units"]
    return [
        f"{pack['id']} holds {pack['reserved_units']} back, its reservations {held[pack['id']]}"
        for pack in _rows(url, "entitlements")
        if pack["reserved_units"] != held[pack["id"]]
    ]


def _of_events(url: str, answered: list[Answered], buyer: str) -> list[str]:
    """Each payment that was acknowledged is kept, applied, and granted once."""
    rows = events.read(url)
    (subject,) = (row["id"] for row in rows["subjects"] if row["subject_ref"] == buyer)
    for table in ("entitlements", "purchases"):  # The other customers were given theirs without any event.
        rows[table] = [row for row in rows[table] if row["subject_id"] == subject]
    acknowledged = {each["key"] for each in answered if each.get("status") == 200}
    said = events.complaints(rows, acknowledged=acknowledged, sent={each["key"] for each in answered})
    applied = {row["event_id"] for row in rows["stripe_events"] if row["status"] == "applied"}
    said += [f"{key} was acknowledged and is not applied" for key in acknowledged - applied]
    if len(rows["entitlements"]) != len(applied):
        said.append(f"{len(applied)} payments were applied, {len(rows['entitlements'])} granted something")
    return said


def _rows(url: str, table: str) -> Rows:
    connection: Any
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)
    try:
        cursor = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        connection.close()
