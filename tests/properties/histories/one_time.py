"""Packs and passes, which are paid for once."""

from __future__ import annotations

import random

from tests.properties.histories.catalog import Catalog
from tests.properties.histories.emitter import Emitter
from tests.properties.histories.life import DAY, PRICE, Life, Names, Right


def one_time_life(chance: random.Random, names: Names, *, spread: bool, lasts: int | None = None) -> Life:
    """A pack or a pass: paid at once or by a slow debit, perhaps given back. A pass lasts some seconds."""
    emitter = Emitter(chance, names, Catalog({}), spread=spread)
    whole = PRICE * names.quantity
    settled = True
    if chance.random() < 0.25:
        emitter.session(paid="unpaid")
        emitter.wait(4 * DAY)
        settled = chance.random() < 0.7
        kind = "async_payment_succeeded" if settled else "async_payment_failed"
        emitter.session(paid="paid" if settled else "unpaid", event_name=kind)
    else:
        emitter.session()
    paid_at = emitter.now
    if settled and chance.random() < 0.5:
        emitter.give_back(1, whole)
    if settled and chance.random() < 0.4:
        emitter.dispute(1, whole)
    emitter.life.ended_at = emitter.now
    emitter.life.granted = settled
    if settled and not emitter.taken(1, whole):
        until = None if lasts is None else paid_at + lasts * names.quantity
        emitter.life.rights[""] = Right(until)
    return emitter.life
