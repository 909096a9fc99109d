"""The checker: what the rows of a database say, read with the drivers alone.

It shares no code with the product, so that a mistake there cannot excuse itself here.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import psycopg

Row = dict[str, Any]
Rows = dict[str, list[Row]]
Key = tuple[str, str]

TABLES = (
    "stripe_events",
    "facts",
    "purchases",
    "payment_links",
    "entitlements",
    "checkout_attempts",
    "subjects",
    "settling_reads",
)
DONE = {"applied", "ignored"}
WAITING = {"received", "failed"}

# What differs from run to run without meaning anything: our own ids, and when something was noticed.
_CHANCE = {
    "facts": {"id", "recorded_at"},
    # Announced or not depends on the order of telling: what is refunded first never was available.
    "purchases": {"created_at", "finalized_at"},
    "payment_links": set[str](),
    "entitlements": {"id", "updated_at"},
    "checkout_attempts": {"updated_at"},
    "subjects": set[str](),
}
_JSON = {"data", "features", "sold", "stripe_params", "changes", "items_sold", "trialed_products"}


def read(url: str) -> Rows:
    """All rows of all tables that events change."""
    with _connect(url) as connection:
        rows = {table: _table(connection, table) for table in TABLES}
    connection.close()
    return rows


def damage(url: str) -> list[str]:
    """What SQLite's own check finds wrong with its file; nothing on Postgres, which has no such check."""
    if not url.startswith("sqlite"):
        return []
    with _connect(url) as connection:
        found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        found += [f"foreign key: {line}" for line in connection.execute("PRAGMA foreign_key_check")]
    connection.close()
    return found


def picture(rows: Rows) -> dict[str, list[str]]:
    """The rows that say who may do what and why, in an order of their own and without what is chance."""
    return {
        table: sorted(
            json.dumps({name: value for name, value in row.items() if name not in chance}, sort_keys=True)
            for row in rows[table]
            if row.get("source") != "snapshot"  # How often Stripe was read depends on when.
        )
        for table, chance in _CHANCE.items()
    }


def differences(found: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> list[str]:
    """Where two pictures differ, row by row."""
    said = []
    for table in wanted:
        less, more = Counter(found[table]), Counter(wanted[table])
        said += [f"{table}: should not be there: {row}" for row in (less - more).elements()]
        said += [f"{table}: is missing: {row}" for row in (more - less).elements()]
    return said


def complaints(rows: Rows, *, acknowledged: Collection[str], sent: Collection[str]) -> list[str]:
    """What must hold at every moment, a moment after a crash included."""
    inbox = {row["event_id"]: row for row in rows["stripe_events"]}
    told = [fact for fact in rows["facts"] if fact["source"] == "event"]
    said = [f"{one} was acknowledged and is lost" for one in acknowledged if one not in inbox]
    said += _doubled("event", (row["event_id"] for row in rows["stripe_events"]))
    said += _doubled("fact", ((fact["source_id"], fact["kind"]) for fact in rows["facts"]))
    said += _doubled("entitlement", (_key(row) for row in rows["entitlements"]))
    said += _doubled("attempt's entitlement", (each["attempt_id"] for each in _one_time(rows)))
    said += [f"nobody sent {one}" for one in inbox if one not in sent]
    for one, row in inbox.items():
        facts = [fact for fact in told if fact["source_id"] == one]
        said += _of_event(row, facts)
    said += [f"a fact of {f['source_id']}, which is not kept" for f in told if f["source_id"] not in inbox]
    said += _of_entitlements(rows, list(inbox.values()))
    return said + _of_payments(rows)


def unfinished(rows: Rows, *, sent: Collection[str], expected: Mapping[Key, Row], settled: bool) -> list[str]:
    """What must hold once everything was sent again and the worker had its turn."""
    inbox = {row["event_id"]: row for row in rows["stripe_events"]}
    said = [f"{one} was sent until acknowledged and is lost" for one in sent if one not in inbox]
    said += [f"{one} is still {row['status']}" for one, row in inbox.items() if row["status"] not in DONE]
    held = {_key(row): row for row in rows["entitlements"]}
    said += [f"lost: nothing was granted for {key}" for key in expected if key not in held]
    said += [f"doubled: something was granted for {key}" for key in held if key not in expected]
    for key in expected.keys() & held.keys():
        said += [
            f"{key}: {name} is {held[key][name]!r} instead of {value!r}"
            for name, value in expected[key].items()
            if held[key][name] != value
        ]
    return said + _of_settling(rows, settled)


def _of_event(row: Row, facts: list[Row]) -> list[str]:
    name, status = row["event_id"], row["status"]
    said = []
    if status in WAITING and row["next_try_at"] is None:
        said.append(f"{name} is {status} and nobody will try it again")
    if status in WAITING and facts:
        said.append(f"{name} is {status} and has told something")
    if status in DONE and len(facts) != 1:
        said.append(f"{name} is {status} and told {len(facts)} facts")
    if status not in DONE | WAITING:
        said.append(f"{name} is {status}")
    return said


def _of_entitlements(rows: Rows, inbox: list[Row]) -> list[str]:
    known = {row["id"] for row in rows["entitlements"]}
    keys = {row["purchase_key"] for row in rows["entitlements"]}
    subjects = {row["key"] for row in rows["purchases"] if row["subject_id"]}
    changes = [change for row in inbox for change in row["changes"]]
    made = Counter(change["entitlement"] for change in changes if change["before"] is None)
    said = [f"{one} is told of and not there" for one in {c["entitlement"] for c in changes} - known]
    said += [f"{one} was made {times} times" for one, times in made.items() if times != 1]
    paid = {
        fact["purchase_key"]
        for fact in rows["facts"]
        if fact["kind"] == "session"
        and fact["data"]["mode"] == "payment"
        and fact["data"]["payment_status"] == "paid"
    }
    said += [f"{key} is paid and nothing is granted" for key in (paid & subjects) - keys]
    reasons = {fact["purchase_key"] for fact in rows["facts"]}
    return said + [f"{key} is granted without a reason" for key in keys - reasons]


def _of_payments(rows: Rows) -> list[str]:
    known = {row["ref"] for row in rows["payment_links"] if row["purchase_key"]}
    return [
        f"{fact['source_id']} still waits for {fact['waiting_for']}, which is known"
        for fact in rows["facts"]
        if fact["waiting_for"] in known
    ]


def _of_settling(rows: Rows, settled: bool) -> list[str]:
    """Every subscription that an event told of is to be read again, or was."""
    reads = {row["object_id"]: row for row in rows["settling_reads"]}
    subscriptions = {row["key"] for row in rows["purchases"] if row["key"].startswith("sub_")}
    told = Counter(fact["purchase_key"] for fact in rows["facts"] if fact["source"] == "event")
    said = []
    for key in subscriptions:
        read = reads.get(key)
        if read is None:
            said.append(f"nobody will read {key} from Stripe")
        elif not 1 <= read["requests"] <= told[key]:
            said.append(f"{told[key]} events asked {read['requests']} times for a read of {key}")
        elif settled and (read["due_at"] is not None or read["snapshot"] < 1):
            said.append(f"{key} was not read from Stripe: {read['problem']}")
        elif not settled and read["due_at"] is None:
            said.append(f"{key} is no longer due to be read")
    return said


def _one_time(rows: Rows) -> list[Row]:
    return [row for row in rows["entitlements"] if row["kind"] != "subscription"]


def _doubled(what: str, names: Any) -> list[str]:
    return [f"{what} {name} is there {times} times" for name, times in Counter(names).items() if times > 1]


def _key(row: Row) -> Key:
    return row["purchase_key"], row["item_key"]


def _connect(url: str) -> Any:
    if url.startswith("sqlite:///"):
        return sqlite3.connect(url.removeprefix("sqlite:///"))
    return psycopg.connect(url)


def _table(connection: Any, table: str) -> list[Row]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    return [
        {name: _value(name, value) for name, value in zip(names, row, strict=True)}
        for row in cursor.fetchall()
    ]


def _value(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON and isinstance(value, str) else value
