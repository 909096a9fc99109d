"""One row, whoever comes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Product
from licenzy.db.tables import Table
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import change_row, insert_new, insert_or_change, insert_unless_there
from licenzy.entitlements.models import PaymentLink
from licenzy.factory import load_models
from licenzy.observations.models import CheckCount
from licenzy.workspace.models import Workspace
from tests.support.cast import Cast
from tests.support.clock import START


def values(name: str) -> dict[str, object]:
    return {"id": "wsp_1", "name": name, "created_at": START}


def test_the_second_insert_changes_nothing(database: Database) -> None:
    with database.write() as db:
        assert insert_unless_there(db, Workspace, values("first")) is True
        assert insert_unless_there(db, Workspace, values("second")) is False
    with database.read() as db:
        found = db.exec(select(Workspace)).one()
    assert (found.name, found.created_at) == ("first", START)


def test_an_insert_rolled_back_leaves_the_place_free(database: Database) -> None:
    try:
        with database.write() as db:
            insert_unless_there(db, Workspace, values("first"))
            raise LookupError
    except LookupError:
        pass
    with database.write() as db:
        assert insert_unless_there(db, Workspace, values("second")) is True


def test_racing_threads_insert_once(database: Database) -> None:
    racers = 8
    for turn in range(5):
        line = threading.Barrier(racers)

        def race(name: str, turn: int = turn, line: threading.Barrier = line) -> tuple[bool, str]:
            line.wait(10)
            with database.write() as db:
                won = insert_unless_there(db, Workspace, {**values(name), "id": f"wsp_{turn}"})
                row = db.exec(select(Workspace).where(Workspace.id == f"wsp_{turn}")).one()
                return won, row.name

        with ThreadPoolExecutor(racers) as pool:
            results = list(pool.map(race, [f"racer {n}" for n in range(racers)]))
        assert sum(won for won, _ in results) == 1
        assert len({name for _, name in results}) == 1, "every loser sees the winner's row"


def test_of_several_rows_only_the_new_ones_are_told(database: Database) -> None:
    rows = [{**values(name), "id": f"wsp_{name}"} for name in ("a", "b", "c")]
    with database.write() as db:
        assert insert_new(db, Workspace, rows[1], returning=("id",)) == [("wsp_b",)]
        assert sorted(insert_new(db, Workspace, *rows, returning=("id", "name"))) == [
            ("wsp_a", "a"),
            ("wsp_c", "c"),
        ]
        assert insert_new(db, Workspace, *rows, returning=("id",)) == []
        assert insert_new(db, Workspace, returning=("id",)) == []


def test_a_change_comes_after_what_was_changed_of_the_sessions_objects(database: Database) -> None:
    with database.write() as db:
        row = Workspace(**values("first"))
        db.add(row)
        change_row(db, Workspace, {"id": "wsp_1"}, {"name": "changed"})
    with database.read() as db:
        assert db.exec(select(Workspace.name)).all() == ["changed"]


def test_a_row_that_is_there_is_added_to(database: Database, cast: Cast) -> None:
    hour = {"project_id": cast.project_id, "mode": Mode.TEST, "hour": 1}
    with database.write() as db:
        for allowed, denied in ((2, 5), (3, 7)):
            counted = {**hour, "allowed": allowed, "denied": denied}
            insert_or_change(db, CheckCount, counted, added=("allowed",), replaced=("denied",))
        other = {**hour, "hour": 2, "allowed": 1, "denied": 1}
        insert_or_change(db, CheckCount, other, added=("allowed",), replaced=("denied",))
    with database.read() as db:
        rows = db.exec(select(CheckCount.hour, CheckCount.allowed, CheckCount.denied)).all()
    assert sorted(rows) == [(1, 5, 7), (2, 1, 1)]


def test_several_rows_at_once_change_only_while_they_are_as_expected(database: Database, cast: Cast) -> None:
    scope = {"project_id": cast.project_id, "mode": Mode.TEST}
    rows = [{**scope, "ref": f"pi_{number}", "purchase_key": "new"} for number in range(3)]
    with database.write() as db:
        for row, key in zip(rows[:2], ("", "old"), strict=True):
            insert_unless_there(db, PaymentLink, {**row, "purchase_key": key})
        insert_or_change(db, PaymentLink, *rows, replaced=("purchase_key",), while_is=("purchase_key", ""))
    with database.read() as db:
        found = db.exec(select(PaymentLink.ref, PaymentLink.purchase_key)).all()
    assert sorted(found) == [("pi_0", "new"), ("pi_1", "old"), ("pi_2", "new")]


def test_rows_share_no_default() -> None:
    load_models()
    owned = [
        (model, name)
        for model in Table.__subclasses__()
        for name in model.model_fields
        if isinstance(getattr(model(), name, None), list | dict)
    ]
    assert (Product, "features") in owned
    for model, name in owned:
        assert getattr(model(), name) is not getattr(model(), name), (model, name)
