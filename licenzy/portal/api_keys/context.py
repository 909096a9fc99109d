"""What the pages of API keys show, as template context."""

from __future__ import annotations

from typing import Any

from licenzy.alignment.findings import Part
from licenzy.api_keys import queries
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.api_keys.forms import ApiKeyForm
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
        "now": runtime().clock(),
        "key_form": ApiKeyForm(formdata=None, name="" if keys else "backend"),
        "try_form": TryForm(formdata=None),
        "sample_response": None,
        "token": take_secret(side, of=NEW_KEY),
        "base_url": runtime().settings.base_url,
        "findings": side_findings(side, Part.API_KEY),
        **overrides,
    }
