"""What the Stripe connection's pages show, as template context."""

from __future__ import annotations

from typing import Any

from licenzy.alignment.findings import Part
from licenzy.catalog.queries import has_trials
from licenzy.connections import rules as connection_rules
from licenzy.connections.event_polls import fetch_facts
from licenzy.connections.models import Provider
from licenzy.connections.queries import connection_of
from licenzy.portal.alignment.findings import side_findings
from licenzy.portal.connections.forms import (
    EXISTING_CUSTOMERS,
    SandboxForm,
    StripeEndpointForm,
    StripeKeyForm,
    WebhookSecretForm,
)
from licenzy.portal.guards import Side
from licenzy.runtime import runtime


def connection_context(side: Side, overrides: dict[str, Any]) -> dict[str, Any]:
    """The connection without its secrets, its forms, and how events can reach it."""
    settings = runtime().settings
    with runtime().database.read() as db:
        connection = connection_of(db, side.scope)
        sells_trials = has_trials(db, side.scope)
        fetch = fetch_facts(db, connection, base_url=settings.base_url) if connection is not None else None
    address = problem = forwarding = None
    if connection is not None:
        address = connection_rules.endpoint_address(settings.base_url, connection.id)
        problem = connection_rules.registration_problem(connection.provider, side.mode, settings.base_url)
        forwarding = connection_rules.forwarding_command(address) if problem else None
    return {
        "connection": connection,
        "is_sandbox": connection is not None and connection.provider is Provider.SANDBOX,
        "sandbox_offered": settings.sandbox and not side.mode.livemode,
        "webhook_address": address,
        "registration_problem": problem,
        "forwarding_command": forwarding,
        "fetch": fetch,
        "overlap_until": connection_rules.overlap_until(connection, runtime().clock()),
        "overlap_error": None,
        "findings": side_findings(side, Part.CONNECTION, Part.ACCOUNT, Part.SECRET, Part.ENDPOINT),
        "required_events": connection_rules.required_events(has_trials=sells_trials),
        "key_form": StripeKeyForm(formdata=None),
        "key_verdict": None,
        "existing_count": EXISTING_CUSTOMERS,
        "sandbox_form": SandboxForm(formdata=None),
        "secret_form": WebhookSecretForm(formdata=None),
        "endpoint_form": StripeEndpointForm(formdata=None),
        **overrides,
    }
