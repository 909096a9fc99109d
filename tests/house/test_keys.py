"""What grows with use is keyed by its project first, so that a database can be shared out by project."""

from __future__ import annotations

import pytest
from sqlalchemy import Index, Table, UniqueConstraint

from licenzy.db.tables import metadata
from licenzy.factory import load_models

load_models()

OF_THE_INSTALLATION = {
    "account_paces",
    "audit_log",
    "audit_repeats",
    "installation",
    "invitations",
    "mails",
    "memberships",
    "passkeys",
    "password_resets",
    "password_tries",
    "projects",
    "provider_identities",
    "recovery_codes",
    "schema_compatibility",
    "sign_in_challenges",
    "sign_in_sessions",
    "totp_factors",
    "users",
    "workspaces",
    "write_probe",
}
"""Of people and workspaces, or of the process that serves: small, or of no project."""

CONFIGURED = {
    "api_keys",
    "connections",
    "event_polls",
    "reconciliations",
    "stripe_probes",
    "webhook_endpoints",
}
"""As many rows as somebody configured; found by a key or an id before the project is known."""

KEYED = [
    table for name, table in sorted(metadata.tables.items()) if name not in OF_THE_INSTALLATION | CONFIGURED
]


@pytest.mark.parametrize("table", KEYED, ids=lambda table: table.name)
def test_every_key_begins_with_the_project(table: Table) -> None:
    assert next(iter(table.primary_key)).name == "project_id"
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            assert next(iter(constraint.columns)).name == "project_id", constraint.name
    for index in table.indexes:
        if index.unique:
            assert first_column(index) == "project_id", index.name


@pytest.mark.parametrize("table", KEYED, ids=lambda table: table.name)
def test_a_row_refers_to_rows_of_its_own_project(table: Table) -> None:
    for key in table.foreign_key_constraints:
        if key.referred_table in KEYED:
            assert next(iter(key.column_keys)) == "project_id", key.name
            assert key.elements[0].column.name == "project_id", key.name


def first_column(index: Index) -> str:
    return next(iter(index.columns)).name


def test_every_table_named_here_exists() -> None:
    assert set(metadata.tables) >= OF_THE_INSTALLATION | CONFIGURED
