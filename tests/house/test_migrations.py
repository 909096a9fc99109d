"""The migrations lead to exactly the tables that the models describe, on both databases."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from licenzy.catalog.models import Product, ProductTerms
from licenzy.db import migrate, schema
from licenzy.db.engine import WRITES, make_engine
from licenzy.db.schema import Fit
from licenzy.db.tables import metadata
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.factory import load_models
from licenzy.kit.clock import to_micros
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.subjects.rules import search_text
from tests.support.databases import PostgresServer
from tests.support.next_version import migrate_further

VERSIONS = sorted((schema.FOLDER / "versions").glob("*.py"))
HEAD = schema.head()
NEXT = f"{schema.number_of(HEAD) + 1:04}_next"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        (tmp_path / "empty.sqlite3").touch()
        engine = make_engine(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
        yield engine
        engine.dispose()
        return
    server = request.getfixturevalue("postgres")
    name = server.empty()
    engine = make_engine(server.url(name))
    yield engine
    engine.dispose()
    server.drop(name)


def test_migrations_equal_the_metadata(database: Database) -> None:
    load_models()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    assert differences == [], "run `make migration`"


def test_upgrading_twice_changes_nothing(empty_engine: Engine) -> None:
    assert schema.check(empty_engine) is Fit.OUTDATED
    for _again in range(2):
        assert migrate.upgrade(empty_engine) == (schema.head(), False)
    assert schema.check(empty_engine) is Fit.CURRENT


def test_rows_outlast_the_change_of_their_table(empty_engine: Engine) -> None:
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), "0009_tell_of_walks")
        for statement in (
            "INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'ours', 1)",
            "INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'w', 'shop', 1)",
            "INSERT INTO subjects (id, project_id, mode, subject_ref, created_at) "
            "VALUES ('s', 'p', 'test', 'user_1', 1)",
            "INSERT INTO purchases (project_id, mode, key, subject_id, created_at) "
            "VALUES ('p', 'test', 'sub_1', 's', 1)",
        ):
            connection.execute(text(statement))
    migrate.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        held = connection.execute(
            text("SELECT key, ref.subject_ref FROM purchases JOIN subjects ref ON ref.id = subject_id")
        )
        assert [tuple(row) for row in held] == [("sub_1", "user_1")]
    with (
        empty_engine.execution_options(**{WRITES: True}).begin() as connection,
        pytest.raises(IntegrityError),
    ):
        connection.execute(
            text(
                "INSERT INTO subjects (id, project_id, mode, subject_ref, created_at) "
                "SELECT 's2', project_id, mode, subject_ref, created_at FROM subjects"
            )
        )


def test_the_newest_migration_is_known_without_alembic() -> None:
    scripts = ScriptDirectory(str(schema.FOLDER))
    names = [each.revision for each in scripts.walk_revisions()][::-1]
    assert schema.head() == names[-1] == scripts.get_current_head()
    assert [schema.number_of(name) for name in names] == list(range(1, len(names) + 1))
    assert sorted(path.stem for path in VERSIONS) == names, "a file has the name of its migration"


@pytest.mark.parametrize("path", VERSIONS[11:], ids=lambda path: path.stem)
def test_a_migration_states_which_older_code_works_with_it(path: Path) -> None:
    """By `compatible_since`: with '0012', say, or with `revision` where no older code does."""
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "compatible_since"
    ]
    assert len(calls) == 1, "it states it once"
    (stated,) = calls[0].args
    oldest = path.stem if ast.unparse(stated) == "revision" else ast.literal_eval(stated)
    assert 1 <= schema.number_of(oldest) <= schema.number_of(path.stem)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["0001"], Fit.NEWER_COMPATIBLE),
        ([HEAD], Fit.NEWER_COMPATIBLE),
        ([HEAD, "0001"], Fit.NEWER_COMPATIBLE),
        ([NEXT], Fit.TOO_NEW),
        ([NEXT, HEAD], Fit.TOO_NEW),
        ([HEAD, NEXT], Fit.TOO_NEW),
    ],
)
def test_a_newer_schema_fits_when_each_of_its_migrations_says_so(
    empty_engine: Engine, stated: list[str], expected: Fit
) -> None:
    migrate.upgrade(empty_engine)
    for oldest in stated:
        newest = migrate_further(empty_engine, compatible_since=oldest)
    assert schema.check(empty_engine) is expected
    if expected is Fit.TOO_NEW:
        with pytest.raises(DatabaseUnavailable, match="is newer than this version"):
            migrate.upgrade(empty_engine)
    else:
        assert migrate.upgrade(empty_engine) == (newest, True)
    with empty_engine.connect() as connection:
        assert schema.revision_of(connection) == newest, "it is left as it was"


@pytest.mark.parametrize("revision", ["before", "0011_of_others", f"{HEAD[:4]}_of_others"])
def test_a_schema_of_unknown_making_is_refused(empty_engine: Engine, revision: str) -> None:
    migrate.upgrade(empty_engine)
    set_revision(empty_engine, revision)
    assert schema.check(empty_engine) is Fit.UNKNOWN
    with pytest.raises(DatabaseUnavailable, match="no version of Licenzy creates"):
        migrate.upgrade(empty_engine)


def test_a_newer_schema_that_says_nothing_is_too_new(empty_engine: Engine) -> None:
    migrate.upgrade(empty_engine)
    set_revision(empty_engine, NEXT)
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("DELETE FROM schema_compatibility"))
    assert schema.check(empty_engine) is Fit.TOO_NEW
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("DROP TABLE schema_compatibility"))
    assert schema.check(empty_engine) is Fit.TOO_NEW


def test_an_address_loses_nothing_on_its_way_to_the_migrations(postgres: PostgresServer) -> None:
    name = postgres.empty()
    address = make_url(postgres.url(name, options="-c default_transaction_read_only=on"))
    address = address.set(username=address.username or "postgres", password="a word/with @ and %20")
    engine = make_engine(address)
    with pytest.raises(DatabaseUnavailable, match="Postgres is read-only"):
        migrate.upgrade(engine)
    engine.dispose()
    postgres.drop(name)


def test_the_first_of_several_servers_that_answers_is_migrated(postgres: PostgresServer) -> None:
    name = postgres.empty()
    address = make_url(postgres.url(name))
    host = address.query.get("host", address.host)
    several = ["127.0.0.1:1", f"{host}:{address.port}" if address.port else str(host)]
    engine = make_engine(address.set(host=None, port=None).update_query_dict({"host": several}))
    assert migrate.upgrade(engine).revision == schema.head()
    engine.dispose()
    postgres.drop(name)


def test_an_option_that_there_is_not_is_told_in_a_sentence(postgres: PostgresServer) -> None:
    engine = make_engine(postgres.url("postgres", no_such="option"))
    for verb in (migrate.upgrade, schema.check):
        with pytest.raises(DatabaseUnavailable, match=r"cannot be opened: .*no_such"):
            verb(engine)
    engine.dispose()


def set_revision(engine: Engine, revision: str) -> None:
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": revision})


def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "damaged.sqlite3"
    file.write_bytes(b"no database" * 1000)
    engine = make_engine(f"sqlite:///{file}")
    for verb in (migrate.upgrade, schema.check):
        with pytest.raises(DatabaseUnavailable, match="is damaged"):
            verb(engine)
    engine.dispose()


def test_a_lost_file_is_not_taken_for_a_first_run(tmp_path: Path) -> None:
    file = tmp_path / "lost.sqlite3"
    engine = make_engine(f"sqlite:///{file}")
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    engine.dispose()
    file.unlink()
    with pytest.raises(DatabaseUnavailable, match="is missing"):
        migrate.upgrade(engine)
    assert not file.exists()
    (tmp_path / "lost.sqlite3.made").unlink()
    migrate.upgrade(engine)
    assert schema.check(engine) is Fit.CURRENT
    engine.dispose()


def test_a_migration_that_breaks_leaves_nothing_behind(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_args: Any) -> None:
        raise RuntimeError("pulled the plug")

    real = command.upgrade

    def upgrade_and_break(*args: Any) -> None:
        real(*args)
        breaks()

    monkeypatch.setattr(command, "upgrade", upgrade_and_break)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        migrate.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        assert not empty_engine.dialect.has_table(connection, "projects")
        assert not empty_engine.dialect.has_table(connection, "alembic_version")


def test_every_pooled_sqlite_connection_has_its_pragmas(tmp_path: Path) -> None:
    (tmp_path / "pragmas.sqlite3").touch()
    engine = make_engine(f"sqlite:///{tmp_path / 'pragmas.sqlite3'}", pool_size=3)
    connections = [engine.connect() for _ in range(4)]
    for connection in connections:
        told = {
            pragma: connection.execute(text(f"PRAGMA {pragma}")).scalar_one()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        assert 14_000 < told.pop("busy_timeout") <= 15_000
        assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for connection in connections:
        connection.close()
    engine.dispose()


def test_subjects_of_before_are_searched_by_folded_text(empty_engine: Engine) -> None:
    refs = {
        f"s{number:05}": (f"Ünit_{number}", "Zoë@Example.com" if number % 2 else None)
        for number in range(5003)
    }
    refs["odd"] = ("ﬁ ℡ Straße a\u200bb ❤\ufe0f İ", None)
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), "0013_wrong_passwords")
        connection.execute(text("INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'ours', 1)"))
        connection.execute(
            text("INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'w', 'shop', 1)")
        )
        connection.execute(
            text(
                "INSERT INTO subjects (id, project_id, mode, subject_ref, email, created_at) "
                "VALUES (:id, 'p', 'test', :ref, :email, 1)"
            ),
            [{"id": key, "ref": ref, "email": email} for key, (ref, email) in refs.items()],
        )
    migrate.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        rows = connection.execute(text("SELECT id, search_text FROM subjects"))
        assert {row.id: row.search_text for row in rows} == {
            key: search_text(*value) for key, value in refs.items()
        }


def test_the_price_and_terms_of_each_product_outlast_their_move(empty_engine: Engine) -> None:
    price = {
        "stripe_product_id": "prod_1",
        "stripe_product_name": "Pro",
        "unit_amount": 150_000_000_000,
        "currency": "idr",
        "interval": "month",
        "interval_count": 1,
        "lookup_key": "pro",
        "price_livemode": False,
        "price_active": True,
        "product_active": False,
        "checked_at": 7,
    }
    terms = {"units": 5, "duration_seconds": 86_400 * 36_500, "features": ["a", "b"], "grace_days": 3}
    product = {
        **price,
        **terms,
        "project_id": "p",
        "mode": "test",
        "kind": "subscription",
        "features": json.dumps(terms["features"]),
        "allow_promotion_codes": False,
        "automatic_tax": False,
        "adjustable_quantity": True,
        "updated_at": 9,
    }
    rows = [
        {**product, "id": "prd_1", "product_code": "PRO", "stripe_price_id": "price_1", "created_at": 1},
        {**product, "id": "prd_2", "product_code": "TWO", "stripe_price_id": "price_1", "created_at": 2},
        {**product, "id": "prd_3", "product_code": "OLD", "stripe_price_id": "plan_3", "created_at": 3},
    ]
    columns = list(rows[0])
    values = ", ".join(f":{each}" for each in columns)
    insert = f"INSERT INTO products ({', '.join(columns)}) VALUES ({values})"
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), "0016_lab_steps_in_background")
        connection.execute(text("INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'ours', 1)"))
        connection.execute(
            text("INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'w', 'shop', 1)")
        )
        connection.execute(text(insert), rows)
        connection.execute(text("UPDATE products SET archived_at = 8 WHERE id = 'prd_3'"))
    migrate.upgrade(empty_engine)
    with Session(empty_engine) as db:
        products = db.exec(select(Product).order_by(Product.id)).all()
        numbered = db.exec(select(ProductTerms).order_by(ProductTerms.product_id)).all()
    assert [(each.product_code, each.terms_version, each.adjustable_quantity) for each in products] == [
        ("PRO", 1, True),
        ("TWO", 1, True),
        ("OLD", 1, True),
    ]
    moved = [price for each in products for price in each.prices]
    assert [(each.id, each.stripe_price_id, each.label, each.selling) for each in moved] == [
        ("ppr_1", "price_1", "default", True),
        ("ppr_2", "price_1", "default", True),
        ("ppr_3", "plan_3", "default", True),
    ]
    kept = moved[0].model_dump()
    renamed = {"price_livemode": "livemode", "price_active": "active"}
    for name, value in price.items():
        stored = kept[renamed.get(name, name)]
        assert (to_micros(stored) if isinstance(stored, datetime) else stored) == value, name
    assert [(row.version, to_micros(row.from_), row.terms) for row in numbered] == [
        (1, created, terms) for created in (1, 2, 3)
    ]


def test_of_several_checkouts_of_one_purchase_one_is_kept(empty_engine: Engine) -> None:
    """The one that was adopted first, else the first; those of others are nobody's doubles."""
    kept = {
        # row: (mode, purchase, adopted, whom by)
        "unt_1": ("test", "sub_1", None, None),
        "unt_2": ("test", "sub_1", 5, "s"),
        "unt_3": ("test", "sub_1", 4, "s"),
        "unt_4": ("test", "sub_2", None, None),
        "unt_5": ("test", "sub_2", None, None),
        "unt_6": ("live", "sub_1", None, None),
        "unt_7": ("test", "cs_7", None, None),
    }
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), "0026_event_polls")
        for statement in (
            "INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'ours', 1)",
            "INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'w', 'shop', 1)",
            "INSERT INTO subjects (id, project_id, mode, subject_ref, created_at) "
            "VALUES ('s', 'p', 'test', 'user_1', 1)",
        ):
            connection.execute(text(statement))
        for mode in ("test", "live"):
            connection.execute(
                text(
                    "INSERT INTO connections (id, project_id, mode, provider, clock_offset_seconds, "
                    "created_at, updated_at) VALUES (:id, 'p', :mode, 'stripe', 0, 1, 1)"
                ),
                {"id": f"con_{mode}", "mode": mode},
            )
        for name, (mode, purchase, adopted_at, subject_id) in reversed(kept.items()):
            connection.execute(
                text(
                    "INSERT INTO untracked_checkouts (id, project_id, mode, connection_id, session_id, "
                    "purchase_key, recurring, payment_status, event_id, completed_at, kept_at, adopted_at, "
                    "subject_id) VALUES (:id, 'p', :mode, :con, :session, :purchase, :recurring, 'paid', "
                    "'evt_1', 1, 1, :adopted_at, :subject_id)"
                ),
                {
                    "id": name,
                    "mode": mode,
                    "con": f"con_{mode}",
                    "session": f"cs_{name[-1]}",
                    "purchase": purchase,
                    "recurring": purchase.startswith("sub_"),
                    "adopted_at": adopted_at,
                    "subject_id": subject_id,
                },
            )
    migrate.upgrade(empty_engine)
    with Session(empty_engine) as db:
        left = db.exec(select(UntrackedCheckout).order_by(UntrackedCheckout.id)).all()
    assert [each.id for each in left] == ["unt_3", "unt_4", "unt_6", "unt_7"]
    assert [each.subject_id for each in left] == ["s", None, None, None]
    assert {(each.listed, each.sold_here, each.status, each.ended_at) for each in left} == {
        (True, False, None, None)
    }
