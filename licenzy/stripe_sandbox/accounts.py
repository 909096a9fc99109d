"""Sandbox accounts and the keys issued for them."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass

from licenzy.stripe_sandbox.ids import new_id


@dataclass(frozen=True)
class Account:
    """One account in one mode. `offset` is how many seconds its clock is ahead of real time."""

    scope: str
    id: str
    livemode: bool
    name: str
    capability: str
    clock_id: str
    offset: int
    created: int
    faults: str
    """The rules of `fault_injection`, as JSON."""
    reference: str | None
    """What the account was opened under, such as the id of a project."""

    @property
    def now(self) -> int:
        return int(time.time()) + self.offset

    @property
    def mode(self) -> str:
        return "live" if self.livemode else "test"


@dataclass(frozen=True)
class Key:
    """`permissions` is None for a secret key, which may do everything."""

    secret: str
    permissions: frozenset[str] | None


def open_account(
    db: sqlite3.Connection, *, name: str, livemode: bool, reference: str | None
) -> tuple[Account, str]:
    """The account and its secret key. The same reference gives the same account again, and in the other mode
    the same account id, as one Stripe account has a test mode and a live mode."""
    if reference is not None:
        existing = db.execute(
            "SELECT scope FROM accounts WHERE reference = ? AND livemode = ?", (reference, livemode)
        ).fetchone()
        if existing:
            return account_of(db, existing["scope"]), secret_key_of(db, existing["scope"])
    other_mode = None
    if reference is not None:
        other_mode = db.execute("SELECT id FROM accounts WHERE reference = ?", (reference,)).fetchone()
    account_id = other_mode["id"] if other_mode else new_id("acct_1", 15)
    mode = "live" if livemode else "test"
    scope, created = f"{account_id}/{mode}", int(time.time())
    db.execute(
        "INSERT INTO accounts (scope, id, livemode, name, reference, capability, clock_id, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (scope, account_id, livemode, name, reference, new_id("", 32), new_id("clock_1"), created),
    )
    secret = new_id(f"sk_{mode}_51", 40)
    db.execute("INSERT INTO keys (secret, scope, created) VALUES (?, ?, ?)", (secret, scope, created))
    return account_of(db, scope), secret


def issue_restricted_key(db: sqlite3.Connection, account: Account, *, permissions: list[str]) -> str:
    """A key that may do only what `permissions` name, such as `rak_product_read`."""
    secret = new_id(f"rk_{account.mode}_51", 40)
    db.execute(
        "INSERT INTO keys (secret, scope, permissions, created) VALUES (?, ?, ?, ?)",
        (secret, account.scope, json.dumps(permissions), int(time.time())),
    )
    return secret


def account_of(db: sqlite3.Connection, scope: str) -> Account:
    row = db.execute(
        "SELECT scope, id, livemode, name, capability, clock_id, clock_offset AS offset, created, "
        "misbehaviour AS faults, reference"
        " FROM accounts WHERE scope = ?",
        (scope,),
    ).fetchone()
    return Account(**{**dict(row), "livemode": bool(row["livemode"])})


def find_account(db: sqlite3.Connection, account_id: str, *, livemode: bool | None = None) -> Account | None:
    """The account by its id; when both modes exist and none is asked for, test mode."""
    row = db.execute(
        "SELECT scope FROM accounts WHERE id = ? AND (? IS NULL OR livemode = ?) ORDER BY livemode",
        (account_id, livemode, livemode),
    ).fetchone()
    return account_of(db, row["scope"]) if row else None


def find_by_capability(db: sqlite3.Connection, account_id: str, capability: str) -> Account | None:
    row = db.execute(
        "SELECT scope FROM accounts WHERE id = ? AND capability = ?", (account_id, capability)
    ).fetchone()
    return account_of(db, row["scope"]) if row else None


def find_by_key(db: sqlite3.Connection, secret: str) -> tuple[Account, Key] | None:
    row = db.execute("SELECT scope, permissions FROM keys WHERE secret = ?", (secret,)).fetchone()
    if row is None:
        return None
    permissions = None if row["permissions"] is None else frozenset(json.loads(row["permissions"]))
    return account_of(db, row["scope"]), Key(secret, permissions)


def secret_key_of(db: sqlite3.Connection, scope: str) -> str:
    row = db.execute("SELECT secret FROM keys WHERE scope = ? AND permissions IS NULL", (scope,)).fetchone()
    return str(row["secret"])


def set_offset(db: sqlite3.Connection, account: Account, offset: int) -> None:
    db.execute("UPDATE accounts SET clock_offset = ? WHERE scope = ?", (offset, account.scope))
