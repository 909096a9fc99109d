"""Numbers beyond 32 bits: amounts in small currencies and durations of a lifetime, on both databases."""

from __future__ import annotations

from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import DURATION_MAX_SECONDS
from licenzy.checkout.models import CheckoutAttempt
from licenzy.runtime import Runtime
from tests.support.cast import Cast, make_connection, make_product, make_subject
from tests.support.purchases import make_attempt

RUPIAH = 3_000_000_000_00


def test_they_are_stored_as_they_are(runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        product = make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.TIME_PASS,
            duration_seconds=DURATION_MAX_SECONDS,
            unit_amount=RUPIAH,
            currency="idr",
        )
        subject = make_subject(db, project_id=cast.project_id)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        attempt.amount_total = RUPIAH * 2
    with runtime.database.read() as db:
        kept = db.exec(select(Product)).one()
        assert (kept.duration_seconds, kept.prices[0].unit_amount) == (DURATION_MAX_SECONDS, RUPIAH)
        assert db.exec(select(CheckoutAttempt)).one().amount_total == RUPIAH * 2
