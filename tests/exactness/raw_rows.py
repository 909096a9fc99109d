"""What the rows of a database say of consumption, held against what clients were told.

Read with the drivers alone: this file shares no code with the product, so that a mistake of the product
cannot hide in its own queries.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import psycopg

Answered = dict[str, Any]


def read(url: str) -> dict[str, list[dict[str, Any]]]:
    """The rows that consumption writes."""
    connection: Any
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)
    try:
        rows = {}
        for table in ("entitlements", "subjects", "usage_ledger", "idempotency_keys"):
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            rows[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        rows["damage"] = []
        if isinstance(connection, sqlite3.Connection):
            said = connection.execute("PRAGMA integrity_check").fetchall()
            rows["damage"] = [{"said": line} for (line,) in said if line != "ok"]
        return rows
    finally:
        connection.close()


def problems(url: str, answered: Iterable[Answered]) -> list[str]:
    """Everything that is wrong, in sentences; none when all is exact."""
    rows, answered = read(url), list(answered)
    said = [f"the file is damaged: {each['said']}" for each in rows["damage"]]
    said += _packs(rows)
    said += _answers(answered)
    said += _effects(rows, answered)
    return said


def _packs(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """No pack gives more than it has, and its ledger adds up to what it says is used."""
    said = []
    noted: Counter[str] = Counter()
    for row in rows["usage_ledger"]:
        noted[row["entitlement_id"]] += row["units"]
    for pack in rows["entitlements"]:
        left = pack["granted_units"] - pack["used_units"] - pack["reserved_units"]
        if left < 0:
            said.append(f"{pack['id']} is oversold by {-left}")
        if noted[pack["id"]] != pack["used_units"]:
            said.append(f"{pack['id']} says {pack['used_units']} used, its ledger {noted[pack['id']]}")
    return said


def _answers(answered: list[Answered]) -> list[str]:
    """Every call was answered in the end, never by a failure, and always in the same words."""
    said = [f"{each['key']} was never answered" for each in answered if each.get("given_up")]
    by_key: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for each in answered:
        if "status" in each and each["status"] not in {429, 503}:
            by_key[each["key"]].add((each["status"], each["body"]))
    for key, answers in by_key.items():
        if len(answers) > 1:
            said.append(f"{key} was answered in {len(answers)} ways: {sorted(answers)}")
        for status, body in answers:
            if status not in {200, 409} or (status == 409 and "insufficient_usage" not in body):
                said.append(f"{key} was answered {status}: {body[:200]}")
    return said


def _effects(rows: dict[str, list[dict[str, Any]]], answered: list[Answered]) -> list[str]:
    """What was acknowledged is there, once."""
    stored = {row["key"]: row for row in rows["idempotency_keys"] if row["endpoint"] == "usage/consume"}
    ledger = [row for row in rows["usage_ledger"] if row["reservation_id"] is None]
    refs = {row["id"]: row["subject_ref"] for row in rows["subjects"]}
    asked = {each["key"]: (each["subject"], each["units"]) for each in answered}
    said = []
    for each in answered:
        if each.get("status") not in {200, 409}:
            continue
        row = stored.get(each["key"])
        if row is None:
            said.append(f"{each['key']} was acknowledged and is lost")
        elif (row["response_status"], row["response_body"]) != (each["status"], each["body"]):
            said.append(f"{each['key']} was answered otherwise than is stored")
    due: Counter[str] = Counter()
    consumed = [key for key, row in stored.items() if row["response_status"] == 200]
    for key in consumed:
        if key in asked:
            due[asked[key][0]] += asked[key][1]
    taken: Counter[str] = Counter()
    for row in ledger:
        taken[refs[row["subject_id"]]] += row["units"]
    for subject in due.keys() | taken.keys():
        if due[subject] != taken[subject]:
            said.append(f"{subject} should have used {due[subject]} and has used {taken[subject]}")
    calls = len({row["request_id"] for row in ledger})
    if calls != len(consumed):
        said.append(f"{len(consumed)} calls were stored as done, {calls} had an effect")
    return said


def granted(url: str) -> dict[str, int]:
    """Units that each subject's packs were granted."""
    rows = read(url)
    refs = {row["id"]: row["subject_ref"] for row in rows["subjects"]}
    sums: Counter[str] = Counter()
    for pack in rows["entitlements"]:
        sums[refs[pack["subject_id"]]] += pack["granted_units"]
    return dict(sums)


def lines(text: str) -> list[Answered]:
    """A client's log; the last line of one that was cut off is left out."""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
