"""At most so many calls a second to one Stripe account, by all threads and processes together.

Stripe allows 25 a second to a sandbox account and 100 to a live one, the merchant's own calls included.
Settling reads and reconciliation, for which nobody waits, keep this bound; a checkout does not stand in
line behind them.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.connections.credentials import access
from licenzy.connections.models import AccountPace, Connection
from licenzy.db.reads import read_one
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import insert_unless_there
from licenzy.errors import StripeUnavailable
from licenzy.kit.clock import EPOCH, from_micros, utc_now
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.pace import Pace

CALLS_A_SECOND = 20
_APART = timedelta(seconds=1) / CALLS_A_SECOND


def paced_access(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    connection: Connection,
    *,
    within: float | None = None,
) -> StripeAccess:
    """The connection's key for calls that nobody waits for. Raises StripeNotConnected.

    With `within` a turn that comes later than so many seconds from now is refused with StripeUnavailable.
    """
    at = access(gateway, secret_box, connection)
    account = connection.account_id or connection.id
    ends_at = None if within is None else time.monotonic() + within

    def wait() -> None:
        seconds = database.retrying(lambda db: take_turn(db, account=account))
        if ends_at is not None and time.monotonic() + seconds > ends_at:
            raise StripeUnavailable("Stripe is limiting the rate of calls right now.")
        time.sleep(seconds)

    def pause(seconds: float) -> None:
        database.retrying(lambda db: pause_account(db, account=account, seconds=seconds))

    return StripeAccess(at.api_key, at.base, Pace(wait, pause))


def take_turn(db: Session, *, account: str) -> float:
    """In how many seconds the caller may call the account; the turn after it is one step later.

    Turns are evenly spaced instead of gathered in bursts, so that no second of any clock has more of them.
    """
    row = _locked_pace(db, account)
    now = _database_now(db)
    turn = max(row.next_at, now)
    row.next_at = turn + _APART
    db.flush()
    return (turn - now).total_seconds()


def pause_account(db: Session, *, account: str, seconds: float) -> None:
    """Let nobody who waits for a turn call the account for so long."""
    row = _locked_pace(db, account)
    row.next_at = max(row.next_at, _database_now(db) + timedelta(seconds=seconds))
    db.flush()


def _locked_pace(db: Session, account: str) -> AccountPace:
    insert_unless_there(db, AccountPace, {"account": account, "next_at": EPOCH})
    return _locked(db, account=account)


@read_one
def _locked(*, account: str) -> SelectOfScalar[AccountPace]:
    return (
        select(AccountPace)
        .where(col(AccountPace.account) == account)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _database_now(db: Session) -> datetime:
    """The present instant by the one clock that all who share the database share.

    SQLite has none of its own, and one machine.
    """
    if db.get_bind().dialect.name == "sqlite":
        return utc_now()
    statement = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    return from_micros(int(db.execute(statement).scalar_one()))
