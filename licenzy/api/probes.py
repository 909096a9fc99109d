"""What a load balancer asks: does the process live, and can it serve?"""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.db.readiness import Readiness


def healthz(request: ApiRequest) -> Reply:
    """`GET /healthz`: the process answers."""
    return request.answer({"status": "ok"})


def readyz(request: ApiRequest, *, readiness: Readiness) -> Reply:
    """`GET /readyz`: this version works with the schema, and the database takes writes; else 503."""
    readiness.check()
    return request.answer({"status": "ready"})
