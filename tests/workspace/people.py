"""What the tests of this room do again and again."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError
from licenzy.workspace import actions, queries
from licenzy.workspace.actions import Device
from licenzy.workspace.models import AuditEntry
from licenzy.workspace.passwords import Passwords, passwords
from licenzy.workspace.sessions import KnownDevice, renewed_device
from tests.support.cast import PASSWORD
from tests.support.clock import START

HASHER = passwords(cheap=True)
HOME = Device("198.51.100.7", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")


def claim(database: Database, email: str = "first@example.com") -> actions.Opened:
    return actions.claim_install(
        database, email=email, name="First Owner", password=PASSWORD, device=HOME, hasher=HASHER, now=START
    )


def sign_in(
    database: Database,
    email: str,
    password: str = PASSWORD,
    *,
    ip: str = "198.51.100.7",
    known: KnownDevice | None = None,
    hasher: Passwords = HASHER,
    now: datetime = START,
) -> actions.Opened:
    opened = actions.sign_in(
        database,
        email=email,
        password=password,
        device=Device(ip, known=[known] if known else []),
        hasher=hasher,
        now=now,
    )
    assert isinstance(opened, actions.Opened)
    return opened


def actions_recorded(database: Database) -> list[str]:
    with database.read() as db:
        return list(db.exec(select(AuditEntry.action).order_by(col(AuditEntry.id))))


def guess(
    database: Database,
    *addresses: str,
    email: str = "owner@example.com",
    known: KnownDevice | None = None,
    now: datetime = START,
) -> list[str]:
    """Try a wrong password from each of the addresses; how each was refused."""
    outcomes = []
    for ip in addresses:
        with pytest.raises(LicenzyError) as refusal:
            sign_in(database, email, "not the password", ip=ip, known=known, now=now)
        outcomes.append(refusal.value.code)
    return outcomes


def device_of(database: Database, user_id: str, *, now: datetime = START) -> KnownDevice:
    """A device in which this person signs in now, as the portal's cookie remembers it."""
    with database.read() as db:
        return renewed_device(queries.user_by_id(db, user_id=user_id), Device(), now=now)


def session_of(database: Database, opened: actions.Opened) -> queries.SignedIn:
    with database.read() as db:
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
    assert found is not None
    return found
