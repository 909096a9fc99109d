"""What the bench measures on: a project with many subjects, usage packs, and subscriptions at Stripe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db import migrate
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.runtime import Runtime
from tests.support.cast import make_connection, make_key, make_product, make_project, make_workspace
from tests.support.purchases import event, signed

PACKS = 5000
"""Subjects that hold a usage pack: `pack_0`, `pack_1`, …; `pack_hot` is the one everybody draws from."""
UNITS = 10**12
_SECRET = "whsec_of_the_bench_0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Shop:
    """How to call a project as its merchant does, and as Stripe does."""

    key: str
    connection_id: str
    price_id: str
    subjects: int

    def events(self, count: int, *, now: datetime) -> Iterator[str]:
        """Signed events of subscriptions that hold nothing, each a line of signature, tab and body.

        Nothing says that these were paid for: what a check is held against stays as it was made.
        """
        second = now.replace(microsecond=0)
        for number in range(count):
            subscription = _subscription(f"sub_{(4 * number + 3) % self.subjects}", self.price_id, second)
            told = event("customer.subscription.updated", subscription, at=second, event_id=new_id("evt"))
            body, headers = signed(told, _SECRET, at=second)
            yield f"{headers['Stripe-Signature']}\t{body.decode()}\n"


def make_shop(runtime: Runtime, *, subjects: int) -> Shop:
    """Fill an empty database. Even subjects are allowed; of the odd ones half hold something ended."""
    migrate.upgrade(runtime.database.engine)
    now = datetime.now(UTC)
    with runtime.database.write() as db:
        project_id = make_project(db, workspace_id=make_workspace(db, now=now), now=now)
        _key, token = make_key(db, project_id=project_id, now=now)
        connection = make_connection(
            db, project_id=project_id, secret_box=runtime.secret_box, webhook_secret=_SECRET, now=now
        )
        product = make_product(db, project_id=project_id, now=now)
        make_product(db, project_id=project_id, product_code="CREDITS", kind=Kind.USAGE_PACK, now=now)
    with runtime.database.write() as db:
        _fill(db, project_id, subjects, now)
    if not runtime.database.is_sqlite:
        with runtime.database.engine.begin() as connected:
            connected.exec_driver_sql("ANALYZE")  # Which Postgres would soon do by itself.
    return Shop(token, connection.id, product.prices[0].stripe_price_id, subjects)


def write_events(shop: Shop, file: Path, *, count: int) -> None:
    """Sign them just before they are sent: Stripe's signatures are good for five minutes."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(shop.events(count, now=datetime.now(UTC)))


def _fill(db: Session, project_id: str, subjects: int, now: datetime) -> None:
    """By the database itself: a million rows through objects would take longer than the bench."""
    sqlite = db.get_bind().dialect.name == "sqlite"
    numbers = (
        "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < :count) "
        "SELECT n FROM s)"
        if sqlite
        else "(SELECT n FROM generate_series(0, :count - 1) AS n)"
    )
    wide = "printf('%026d', n)" if sqlite else "lpad(n::text, 26, '0')"
    values = {
        "project": project_id,
        "mode": Mode.TEST.value,
        "now": to_micros(now),
        "began": to_micros(now - timedelta(days=3)),
        "until": to_micros(now + timedelta(days=27)),
        "ends": to_micros(now + timedelta(days=30)),
        "features": json.dumps(["export"]),
        "units": UNITS,
    }
    for statement, count in (
        (_SUBJECTS.format(ref="'user_' || n", first="sbj_", wide=wide, numbers=numbers), subjects),
        (_PURCHASES.format(wide=wide, numbers=numbers), subjects),
        (_SUBSCRIPTIONS.format(wide=wide, numbers=numbers), subjects),
        (_SUBJECTS.format(ref="'pack_' || n", first="sbj_p", wide=wide, numbers=numbers), PACKS),
        (_PACKS.format(of="n", wide=wide, numbers=numbers), PACKS),
        (_SUBJECTS.format(ref="'pack_hot'", first="sbj_h", wide=wide, numbers=numbers), 1),
        (_PACKS.format(of="'hot'", wide=wide, numbers=numbers).replace("sbj_p", "sbj_h"), 1),
    ):
        db.execute(text(statement), {**values, "count": count})


_SUBJECTS = """
    INSERT INTO subjects (id, project_id, mode, subject_ref, created_at)
    SELECT '{first}' || {wide}, :project, :mode, {ref}, :now FROM {numbers} AS numbers
"""
_PURCHASES = """
    INSERT INTO purchases (project_id, mode, key, subject_id, created_at)
    SELECT :project, :mode, 'sub_' || n, 'sbj_' || {wide}, :now FROM {numbers} AS numbers
"""
_COLUMNS = """
    INSERT INTO entitlements (id, project_id, mode, subject_id, purchase_key, item_key, product_code, kind,
        features, quantity, source, state, starts_at, valid_until, ends_at, ends_as, granted_units,
        used_units, reserved_units, created_at, updated_at)
"""
_SUBSCRIPTIONS = (
    _COLUMNS
    + """
    SELECT 'ent_' || {wide}, :project, :mode, 'sbj_' || {wide}, 'sub_' || n, 'si_' || n, 'PRO_MONTHLY',
        'subscription', :features, 1, 'stripe', CASE WHEN n % 2 = 0 THEN 'active' ELSE 'canceled' END, :began,
        :until, :ends, 'renewal_unconfirmed', 0, 0, 0, :now, :now FROM {numbers} AS numbers WHERE n % 4 <> 3
"""
)
_PACKS = (
    _COLUMNS
    + """
    SELECT 'ent_p' || {of} || {wide}, :project, :mode, 'sbj_p' || {wide}, 'cs_pack_' || {of}, '', 'CREDITS',
        'usage_pack', :features, 1, 'stripe', 'active', :began, NULL, NULL, 'expired', :units, 0,
        0, :now, :now FROM {numbers} AS numbers
"""
)


def _subscription(subscription_id: str, price_id: str, second: datetime) -> dict[str, object]:
    start = int(second.timestamp())
    item = {
        "id": subscription_id.replace("sub_", "si_"),
        "price": {"id": price_id},
        "quantity": 1,
        "current_period_start": start,
        "current_period_end": start + 30 * 86_400,
    }
    return {
        "id": subscription_id,
        "object": "subscription",
        "status": "active",
        "customer": "cus_bench",
        "items": {"object": "list", "data": [item]},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "trial_end": None,
        "start_date": start,
        "pause_collection": None,
        "latest_invoice": None,
        "metadata": {},
    }
