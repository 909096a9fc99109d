"""`POST /v1/access/check-batch`: the access check for many subjects at once."""

from __future__ import annotations

from licenzy.api.exchange import Exchange
from licenzy.api.reply import Reply
from licenzy.api.schemas import AccessCheckBatchBody
from licenzy.entitlements.decision import decide
from licenzy.usage.queries import held_by_refs


def check_batch(exchange: Exchange) -> Reply:
    """May these subjects proceed, right now? In the order in which they were asked for, from one read."""
    caller = exchange.authenticate()
    wanted = exchange.body(AccessCheckBatchBody)
    with exchange.runtime.database.read() as db:
        held = held_by_refs(
            db,
            project_id=caller.project_id,
            mode=caller.mode,
            subject_refs=wanted.subject_refs,
            now=caller.now,
        )
    results = []
    for ref in wanted.subject_refs:
        decision = decide(
            held.get(ref, []), caller.now, product_code=wanted.product_code, feature=wanted.feature
        )
        exchange.desk.checked.note(caller, decision.allowed)
        results.append({"subject_ref": ref, "allowed": decision.allowed})
    return exchange.answer({"results": results})
