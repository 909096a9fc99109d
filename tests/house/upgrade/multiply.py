"""Write the stored installation many times over: `python -P multiply.py COPIES`.

It is run by the older version's code, whose schema the rows get. Customers, their purchases with all facts,
and what they hold and reserved are multiplied; projects, keys, products and connections stay what they are.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, MetaData, Table, text

from licenzy.db import migrate
from licenzy.db.engine import WRITES
from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from licenzy.stripe_events.replay import replay_purchases
from tests.support.clock import StandingClock
from tests.support.stored_installation import FOLDER, StoredInstallation

TABLES = (
    "subjects",
    "checkout_attempts",
    "purchases",
    "payment_links",
    "facts",
    "entitlements",
    "usage_ledger",
    "usage_reservations",
    "usage_holds",
    "untracked_checkouts",
)
"""What is multiplied; one that refers to another stands behind it."""

_OURS = re.compile(r"\b((?:sbj|ent|fct|rsv|att|req|unt)_[0-9a-z]{21})[0-9a-z]{5}\b")
_OF_STRIPE = re.compile(
    r"\b((?:sub|si|in|inpay|pi|ch|cs_test|cs_live|cus|re|du|evt)_(?=[A-Za-z]*[0-9A-Z])[0-9A-Za-z]{8,})\b"
)
_NUMBER, _SUFFIX = "⟦", "⟧"
"""Where the number of a copy stands: in ids of ours, which have a length, and behind other names."""


def marked(written: str) -> str:
    """A text in which ids are to be those of a copy."""
    return _OF_STRIPE.sub(rf"\1{_SUFFIX}", _OURS.sub(rf"\1{_NUMBER}", written))


def of_copy(written: str, number: int) -> str:
    """A marked text as it stands in one copy."""
    # Ids are written in hexadecimal digits, so that none of the originals ends like this.
    return written.replace(_NUMBER, f"z{number:04x}").replace(_SUFFIX, f"x{number}")


def ref_of_copy(ref: str, number: int) -> str:
    """What the customer with this ref is called in one copy; copy 0 is the original."""
    return of_copy(ref + _SUFFIX, number) if number else ref


def main(copies: int) -> None:
    stored = StoredInstallation(FOLDER / "0016")
    runtime = make_runtime(load_settings(), StandingClock(stored.now))
    engine = runtime.database.engine
    stored.insert_into(engine)
    migrate.upgrade(engine)
    # Fills in what the version between did not keep yet.
    replayed = list(replay_purchases(runtime.database, clock=runtime.clock))
    assert len(replayed) > 80
    writing, counts = engine.execution_options(**{WRITES: True}), {}
    for name in TABLES:
        with writing.begin() as connection:
            counts[name] = _multiply(connection, name, copies)
    with writing.begin() as connection:
        connection.execute(text("ANALYZE"))
    runtime.database.close()
    print(json.dumps(counts))


def _multiply(connection: Connection, name: str, copies: int) -> int:
    """Write the copies of all rows of one table; how many rows it then has."""
    table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    rows = [dict(row) for row in connection.execute(table.select()).mappings()]
    originals = [marked(json.dumps(_named(row), ensure_ascii=False)) for row in rows]
    for first in range(1, copies, 20):
        numbers = range(first, min(first + 20, copies))
        connection.execute(table.insert(), list(_copies(originals, numbers)))
    return len(rows) * copies


def _copies(originals: list[str], numbers: range) -> Iterator[dict[str, Any]]:
    for number in numbers:
        for original in originals:
            yield json.loads(of_copy(original, number))


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose customer's ref is to be that of a copy."""
    ref = row.get("subject_ref")
    if ref is None:
        return row
    found = row["search_text"]
    return row | {"subject_ref": ref + _SUFFIX, "search_text": found and found.replace(ref, ref + _SUFFIX)}


if __name__ == "__main__":
    main(int(sys.argv[1]))
