"""What a load balancer asks: does the process live, and can it serve?"""

from __future__ import annotations

from licenzy.api.exchange import Exchange
from licenzy.api.reply import Reply
from licenzy.db.readiness import Readiness


def healthz(exchange: Exchange) -> Reply:
    """`GET /healthz`: the process answers."""
    return exchange.answer({"status": "ok"})


def readyz(exchange: Exchange, *, readiness: Readiness) -> Reply:
    """`GET /readyz`: this version works with the schema, and the database takes writes; else 503."""
    readiness.check()
    return exchange.answer({"status": "ready"})
