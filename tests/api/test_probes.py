"""What load balancers ask."""

from __future__ import annotations

from flask.testing import FlaskClient
from sqlalchemy import text

from licenzy.db.unit_of_work import Database


def test_a_migrated_installation_lives_and_is_ready(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ready"}


def test_an_unmigrated_database_is_not_ready(client: FlaskClient, database: Database) -> None:
    with database.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = 'before'"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["error"]) == (503, "database_unavailable")
    assert client.get("/healthz").status_code == 200
