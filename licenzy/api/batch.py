"""`POST /v1/access/check-batch`: the access check for many subjects at once."""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.api.schemas import AccessCheckBatchBody
from licenzy.usage.access import answer, names_limit, require_known_limit
from licenzy.usage.queries import default_of, owned_by_refs


def check_batch(request: ApiRequest) -> Reply:
    """May these subjects proceed, right now? In the order in which they were asked for, from one read."""
    caller = request.authenticate()
    body = request.body(AccessCheckBatchBody)
    wanted = body.wanted
    with request.runtime.database.read() as db:
        owned = owned_by_refs(db, caller.scope, subject_refs=body.subject_refs, now=caller.now)
        default = default_of(db, caller.scope)
        found = {
            ref: answer(owned.get(ref, []), wanted, caller.now, default=default) for ref in body.subject_refs
        }
        if wanted.limit is not None and not any(map(names_limit, found.values())):
            require_known_limit(db, caller.scope, wanted.limit)
    results = []
    for ref in body.subject_refs:
        allowed = found[ref].allowed
        request.state.checks.note(caller, allowed)
        results.append({"subject_ref": ref, "allowed": allowed})
    return request.answer({"results": results})
