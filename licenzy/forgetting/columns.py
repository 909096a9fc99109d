"""What becomes of each column that could name a customer, when one is erased. Pure.

A test compares it with all tables: a new column of text has to be put in its place here.
"""

from __future__ import annotations

from collections.abc import Mapping

ERASED_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "audit_log": {
        "about": "the ref becomes the `sbj_` ID; other names within it are replaced",
        "before": "removed where the row is about the customer; names in other rows are replaced",
        "after": "as `before`",
    },
    "checkout_attempts": {
        "stripe_params": "emptied",
        "checkout_url": "removed",
    },
    "deliveries": {"last_error": "removed"},
    "delivery_attempts": {"error": "removed", "answer": "removed"},
    "erasures": {"names_sealed": "encrypted while the removal runs, then removed"},
    "event_polls": {"problem": "names are replaced"},
    "facts": {
        "object_id": "the ref of a grant becomes the `sbj_` ID",
        "data": "customer, e-mail address, reference and the operator's note are removed; numbers stay",
    },
    "finished_walks": {"problem": "names are replaced", "report": "names are replaced"},
    "idempotency_keys": {
        "key": "a hash, for checkouts of the customer and keys that contain a name",
        "body_hash": "emptied together with the key",
        "response_body": "removed together with the key",
    },
    "import_files": {"content": "lines that name the customer are removed"},
    "import_rows": {
        "stripe_customer_id": "removed",
        "email": "removed",
        "named": "emptied",
        "found": "removed",
        "subject_ref": "removed",
        "candidates": "emptied; in other rows the ref is taken out",
    },
    "imports": {"problem": "names are replaced"},
    "lab_steps": {
        "detail": "names are replaced",
        "events": "names are replaced",
        "before": "names are replaced",
        "problem": "names are replaced",
    },
    "other_customers": {"stripe_customer_id": "a hash"},
    "outbound_events": {"body": "emptied; what was not sent yet is not sent"},
    "reconciliations": {"report": "names are replaced"},
    "settling_reads": {"problem": "removed"},
    "sightings": {"about": "names are replaced", "detail": "names are replaced"},
    "stripe_events": {
        "object_id": "removed where it is the Stripe customer",
        "payload": "emptied",
        "note": "names are replaced; replaced as a whole where the event was never applied",
    },
    "stripe_probes": {"problem": "names are replaced", "answers": "names are replaced"},
    "subjects": {
        "subject_ref": "a hash",
        "email": "removed",
        "stripe_customer_id": "a hash",
        "search_text": "made of the hash",
    },
    "untracked_checkouts": {"customer": "removed", "email": "removed", "reference": "removed"},
}
"""By table and column: what names a customer, and what becomes of it."""

KEPT_COLUMNS: Mapping[str, str] = {
    "audit_log": "actor_user_id ip action workspace_id",
    "checkout_attempts": "product_code sold price_label items_sold reason stripe_checkout_session_id "
    "stripe_subscription_id stripe_payment_intent_id currency",
    "entitlements": "purchase_key item_key product_code features limits source reason ends_as unit included "
    "stripe_subscription_id stripe_checkout_session_id stripe_price_id attempt_id",
    "erasures": "requested_by step last_key",
    "event_polls": "permission",
    "facts": "source_id kind purchase_key waiting_for",
    "finished_walks": "requested_by",
    "idempotency_keys": "endpoint holder attempt_id",
    "import_files": "import_id kind name",
    "import_rows": "import_id key status items reason matched_by used result",
    "imports": "account_id metadata_keys after started_by run_by",
    "lab_steps": "action delivery",
    "payment_links": "ref purchase_key",
    "purchases": "key attempt_id trialed_products",
    "reconciliations": "last_event_id requested_by step",
    "settling_reads": "object_id",
    "stripe_events": "event_id type api_version changes",
    "subjects": "another_trial_attempt_id",
    "unmapped_items": "purchase_key stripe_price_id stripe_product_id",
    "untracked_checkouts": "session_id purchase_key payment_status currency event_id adopted_by status items",
    "usage_ledger": "subject_id request_id unit reservation_id",
    "usage_reservations": "subject_id unit answer",
    "usage_windows": "unit subject_id holder_id",
}
"""Columns beside them that stay: products, states, numbers, IDs of purchases and of the merchant's people."""

TABLES_WITHOUT_CUSTOMERS = frozenset(
    {
        "account_paces",
        "alerts",
        "api_key_refusals",
        "api_keys",
        "audit_repeats",
        "connections",
        "invitations",
        "mails",
        "passkeys",
        "password_resets",
        "password_tries",
        "price_backfills",
        "product_prices",
        "product_terms",
        "products",
        "project_sides",
        "projects",
        "provider_identities",
        "recovery_codes",
        "resolved_findings",
        "sign_in_challenges",
        "sign_in_sessions",
        "term_changes",
        "totp_factors",
        "users",
        "webhook_endpoints",
        "workspaces",
    }
)
"""Tables of the merchant's own people, set-up and catalog."""
