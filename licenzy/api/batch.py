"""`POST /v1/access/check-batch`: the access check for many subjects at once."""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.api.schemas import AccessCheckBatchBody
from licenzy.usage.access import Wanted, answer
from licenzy.usage.queries import owned_by_refs


def check_batch(request: ApiRequest) -> Reply:
    """May these subjects proceed, right now? In the order in which they were asked for, from one read."""
    caller = request.authenticate()
    body = request.body(AccessCheckBatchBody)
    wanted = Wanted(body.product_code, body.feature)
    with request.runtime.database.read() as db:
        owned = owned_by_refs(db, caller.scope, subject_refs=body.subject_refs, now=caller.now)
    results = []
    for ref in body.subject_refs:
        allowed = answer(owned.get(ref, []), wanted, caller.now).allowed
        request.state.checks.note(caller, allowed)
        results.append({"subject_ref": ref, "allowed": allowed})
    return request.answer({"results": results})
