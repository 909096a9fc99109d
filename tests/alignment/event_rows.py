"""Events of Stripe's that say something about the set-up, sent to an aligned one."""

from __future__ import annotations

from tests.alignment.fixtures_alignment import ModePair
from tests.portal.fixtures_events import make_event


def thin_event(pair: ModePair) -> None:
    thin = {"id": "evt_thin", "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": False}
    assert pair.test.deliver(thin) == 400


def other_accounts(pair: ModePair) -> None:
    for number, account in enumerate(("acct_a", "acct_a", "acct_b")):
        theirs = {**pair.test.account.event(), "id": f"evt_{number}", "account": account}
        assert pair.test.deliver(theirs) == 200


def other_price(pair: ModePair) -> None:
    with pair.runtime.database.write() as db:
        connection = pair.test.connection
        for number in range(2):
            make_event(
                db,
                connection=connection,
                event_id=f"evt_{number}",
                now=pair.clock(),
                note="Also bought, without a product: price_unknown.",
            )


def broken_event(pair: ModePair) -> None:
    attempt = pair.test.checkout().json["attempt_id"]
    broken = {"id": "sub_1", "object": "subscription", "metadata": {"licenzy_attempt": attempt}}
    event = {**pair.test.account.event(), "id": "evt_broken", "type": "customer.subscription.updated"}
    assert pair.test.deliver({**event, "data": {"object": broken}}) == 200


def event_of_live(pair: ModePair) -> None:
    assert pair.test.deliver({**pair.test.account.event(), "id": "evt_live", "livemode": True}) == 200
