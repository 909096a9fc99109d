"""Leases in statements: the condition under which a row may be taken, and taking it. See `kit/lease.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, or_

from licenzy.db.tables import Table
from licenzy.db.upsert import table_of
from licenzy.kit.lease import Lease


def is_free(leased_until: Any, now: datetime) -> ColumnElement[bool]:
    """What `kit.lease.is_free` says of a row, as a condition on its column."""
    return or_(leased_until.is_(None), leased_until <= now)


def take_lease(
    db: Session, model: type[Table], key: Mapping[str, Any], lease: Lease, *, now: datetime
) -> bool:
    """Take the lease of the row with this primary key; False when there is no such row or another has it.

    Of several that try at once one gets it: on Postgres the others wait for its commit and compare again.
    Objects that the session has of the row do not notice.
    """
    columns = table_of(model).c
    here = [columns[name] == value for name, value in key.items()]
    statement = update(table_of(model)).where(*here, is_free(columns.leased_until, now))
    db.flush()
    return db.connection().execute(statement.values(leased_until=lease.until(now))).rowcount == 1
