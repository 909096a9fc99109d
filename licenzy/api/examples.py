"""What the API's description shows as examples."""

from __future__ import annotations

from typing import Any

REF: dict[str, Any] = {"subject_ref": "user_123"}
ENTITLEMENT: dict[str, Any] = {
    "id": "ent_01jd8m7k4b0000000000000000",
    "product_code": "PRO_MONTHLY",
    "kind": "subscription",
    "status": "active",
    "available": True,
    "usage_remaining": None,
    "valid_until": "2026-12-26T09:30:00Z",
}
IN_FULL: dict[str, Any] = ENTITLEMENT | {
    "source": "stripe",
    "reason": None,
    "quantity": 1,
    "features": ["export"],
    "limits": {"projects": 10},
    "adds": False,
    "unit": None,
    "granted_units": None,
    "included": [
        {
            "unit": "images",
            "granted": 1000,
            "remaining": 820,
            "carried": 0,
            "starts_at": "2026-11-26T09:30:00Z",
            "renews_at": "2026-12-26T09:30:00Z",
        }
    ],
    "starts_at": "2026-11-26T09:30:00Z",
    "cancel_at": None,
    "canceled_at": None,
    "stripe_subscription_id": "sub_1Qexample",
    "stripe_checkout_session_id": "cs_test_a1example",
    "attempt_id": "att_01jd8m7k4b0000000000000000",
    "terms_version": 1,
    "created_at": "2026-11-26T09:30:00Z",
    "updated_at": "2026-11-26T09:30:00Z",
}
EVENT: dict[str, Any] = {
    "id": "evt_1Qexample",
    "object": "event",
    "type": "invoice.paid",
    "created": 1_764_149_400,
    "livemode": False,
    "data": {"object": {"id": "in_1Qexample", "object": "invoice"}},
}
AUDIT_ENTRY: dict[str, Any] = {
    "id": "aud_01jd8m7k4b0000000000000000",
    "at": "2026-11-26T09:30:00Z",
    "actor": {"type": "user", "user_id": "usr_01jd8m7k4b0000000000000000", "ip": "192.0.2.1"},
    "action": "api_key.created",
    "project_id": "prj_01jd8m7k4b0000000000000000",
    "mode": "test",
    "about": "key_01jd8m7k4b0000000000000000",
    "before": None,
    "after": {"name": "backend", "key": "lz_test_…a1B2", "scopes": "runtime", "expires_at": None},
}
