"""Secrets that another encryption key sealed are told apart, not guessed at."""

from __future__ import annotations

from cryptography.fernet import Fernet

from licenzy.connections.credentials import is_locked_out
from licenzy.db.unit_of_work import Database
from licenzy.kit.secret_box import SecretBox
from licenzy.runtime import Runtime
from tests.support.cast import Cast, make_connection


def test_a_connection_is_locked_out_under_another_encryption_key(
    database: Database, runtime: Runtime, cast: Cast
) -> None:
    with database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        bare = make_connection(
            db,
            project_id=cast.stranger.project_id,
            secret_box=runtime.secret_box,
            stripe_key="",
            webhook_secret=None,
        )
    another = SecretBox([Fernet.generate_key().decode()])
    assert is_locked_out(another, connection)
    assert not is_locked_out(runtime.secret_box, connection)
    assert not is_locked_out(another, bare)
