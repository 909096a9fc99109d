"""What the pages of API keys show, as template context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request

from licenzy.alignment.findings import Part
from licenzy.api_keys import queries
from licenzy.api_keys.models import ApiKey
from licenzy.api_keys.rules import is_alive
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.api_keys.forms import SCOPE_MEANINGS, ApiKeyForm, KeyRotationForm
from licenzy.portal.guards import Side
from licenzy.portal.one_time_secrets import take_secret
from licenzy.portal.setup.forms import TryForm
from licenzy.runtime import runtime

NEW_KEY = "new API key"
"""Names the one-time secret that the page of keys shows."""


def api_keys_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """The API keys of this side, and what a first call needs."""
    with runtime().database.read() as db:
        keys = queries.keys(db, side.scope)
    return {
        "keys": keys,
        "by_id": {key.id: key for key in keys},
        "still_used": still_used(keys),
        "now": runtime().clock(),
        "key_form": ApiKeyForm(formdata=None, name="" if keys else "backend"),
        "scope_meanings": SCOPE_MEANINGS,
        "try_form": TryForm(formdata=None),
        "sample_response": None,
        "token": take_secret(side, of=NEW_KEY),
        "base_url": runtime().settings.base_url,
        "findings": side_findings(side, Part.API_KEY),
        **overrides,
    }


def api_key_context(side: Side, key_id: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """One key: how it lives, what replaces it, and which of its calls were refused. Raises NotFound."""
    searched = request.args.get("q", "").strip()[:200]
    with runtime().database.read() as db:
        keys = queries.keys(db, side.scope)
        key = queries.key(db, side.scope, key_id=key_id)
        refusals = queries.refusals(db, side.scope, key_id=key_id)
    by_id = {each.id: each for each in keys}
    now = runtime().clock()
    return {
        "key": key,
        "alive": is_alive(key, now),
        "now": now,
        "successor": by_id.get(key.replaced_by or ""),
        "predecessor": next((each for each in keys if each.replaced_by == key.id), None),
        "still_used": key.id in still_used(keys),
        "scope_meanings": SCOPE_MEANINGS,
        "searched": searched,
        "refusals": [each for each in refusals if searched in ("", each.request_id)],
        "kept": len(refusals),
        "token": take_secret(side, of=key_id),
        "rotation_form": KeyRotationForm(formdata=None),
        "typed_error": None,
        **overrides,
    }


def still_used(keys: Sequence[ApiKey]) -> set[str]:
    """The ids of living keys that made calls after they were replaced."""
    now, by_id = runtime().clock(), {key.id: key for key in keys}
    return {
        key.id
        for key in keys
        if key.replaced_by in by_id
        and is_alive(key, now)
        and key.last_used_at is not None
        and key.last_used_at > by_id[key.replaced_by].created_at
    }
