"""Reads of what a subject holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import request as flask_request

from licenzy.api.query import given_once, requested_limit
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import best_status, in_force, only_entitlements, remaining, standing
from licenzy.entitlements.models import Entitlement
from licenzy.errors import InvalidRequest
from licenzy.kit.clock import rfc3339
from licenzy.subjects.rules import ref_problem
from licenzy.usage.access import Wanted, answer
from licenzy.usage.default_units import grants_with_default
from licenzy.usage.grants import Included, shown_included
from licenzy.usage.queries import default_of, owned_by_ref
from licenzy.usage.rules import balances
from licenzy.usage.window_queries import window_grants_of


def customer_access(request: ApiRequest, **_path: str) -> Reply:
    """`GET /v1/customer/access/<subject_ref>`: what the subject holds and whether it has access."""
    caller = request.authenticate()
    subject_ref = _subject_ref("/v1/customer/access/")
    with request.runtime.database.read() as db:
        owned = owned_by_ref(db, caller.scope, subject_ref=subject_ref, now=caller.now)
        windows = grants_with_default(db, caller.scope, owned, now=caller.now)
        default = default_of(db, caller.scope)
    counting = in_force(owned, caller.now, default)
    return request.answer(
        {
            "subject_ref": subject_ref,
            "has_access": answer(owned, Wanted(), caller.now, default=default).allowed,
            "status": best_status(owned, caller.now),
            "entitlements": [summary(each, caller.now) for each in only_entitlements(owned)],
            "features": counting.features,
            "limits": counting.limits,
            "default_product": counting.default.product_code if counting.default is not None else None,
            "balances": {
                unit: {
                    "remaining": balance.remaining,
                    "granted": balance.granted,
                    "renews_at": _instant(balance.renews_at),
                }
                for unit, balance in balances([*owned, *windows], caller.now).items()
            },
        }
    )


def entitlements(request: ApiRequest, **_path: str) -> Reply:
    """`GET /v1/entitlements/<subject_ref>`: everything, newest first, in pages."""
    caller = request.authenticate()
    subject_ref = _subject_ref("/v1/entitlements/")
    given_once("limit", "starting_after")
    limit = requested_limit()
    with request.runtime.database.read() as db:
        found = owned_by_ref(db, caller.scope, subject_ref=subject_ref, now=caller.now)
        owned = only_entitlements(found)
        windows = window_grants_of(db, caller.scope, owned, now=caller.now)
    start = _start(owned)
    page = owned[start : start + limit]
    included = shown_included(windows, caller.now)
    return request.answer(
        {
            "subject_ref": subject_ref,
            "entitlements": [_full(each, caller.now, included.get(each.id, ())) for each in page],
            "has_more": len(owned) > start + limit,
        }
    )


def _subject_ref(prefix: str) -> str:
    """The ref at the end of the path, byte for byte: Flask would replace bad UTF-8 by U+FFFD."""
    path = flask_request.environ["PATH_INFO"]
    try:
        ref = path.encode("latin-1").decode("utf-8")[len(prefix) :]
    except UnicodeDecodeError:
        raise InvalidRequest(fields={"subject_ref": "must be percent-encoded UTF-8"}) from None
    problem = ref_problem(ref)
    if problem:
        raise InvalidRequest(fields={"subject_ref": problem})
    return str(ref)


def _start(owned: Sequence[Entitlement]) -> int:
    cursor = flask_request.args.get("starting_after")
    if cursor is None:
        return 0
    for index, each in enumerate(owned):
        if each.id == cursor:
            return index + 1
    raise InvalidRequest(fields={"starting_after": "must be the ID of an entitlement of this subject"})


def summary(entitlement: Entitlement, now: datetime) -> dict[str, Any]:
    """An entitlement as the reads of one customer show it."""
    status, available, _reason = standing(entitlement, now)
    return {
        "id": entitlement.id,
        "product_code": entitlement.product_code,
        "kind": entitlement.kind.value,
        "status": status,
        "available": available,
        "usage_remaining": remaining(entitlement) if entitlement.kind is Kind.USAGE_PACK else None,
        "valid_until": _instant(entitlement.valid_until),
    }


def _full(entitlement: Entitlement, now: datetime, included: Sequence[Included]) -> dict[str, Any]:
    pack = entitlement.kind is Kind.USAGE_PACK
    return summary(entitlement, now) | {
        "source": entitlement.source,
        "reason": standing(entitlement, now).reason,
        "quantity": entitlement.quantity,
        "features": entitlement.features,
        "limits": entitlement.limits,
        "adds": entitlement.adds,
        "unit": entitlement.unit if pack else None,
        "granted_units": entitlement.granted_units if pack else None,
        "included": [
            {
                "unit": each.unit,
                "granted": each.granted,
                "remaining": each.remaining,
                "carried": each.carried,
                "starts_at": _instant(each.starts_at),
                "renews_at": _instant(each.renews_at),
            }
            for each in included
        ],
        "starts_at": _instant(entitlement.starts_at),
        "cancel_at": _instant(entitlement.cancel_at),
        "canceled_at": _instant(entitlement.canceled_at),
        "stripe_subscription_id": entitlement.stripe_subscription_id,
        "stripe_checkout_session_id": entitlement.stripe_checkout_session_id,
        "attempt_id": entitlement.attempt_id,
        "terms_version": entitlement.terms_version,
        "created_at": _instant(entitlement.created_at),
        "updated_at": _instant(entitlement.updated_at),
    }


def _instant(value: datetime | None) -> str | None:
    return rfc3339(value) if value is not None else None
