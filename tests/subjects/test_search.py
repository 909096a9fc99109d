"""Finding subjects by a part of their ref or address, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import ensure_subject, forget_customer, link_customer, lock_customer
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id, subjects_of_stripe_customer, subjects_page
from tests.support.cast import Cast, make_subject
from tests.support.clock import START


@pytest.fixture
def scope(cast: Cast) -> Scope:
    return Scope(cast.project_id, Mode.TEST)


def make(database: Database, scope: Scope, ref: str, **columns: Any) -> str:
    with database.write() as db:
        return make_subject(db, project_id=scope.project_id, subject_ref=ref, **columns).id


def found(database: Database, scope: Scope, search: str) -> list[str]:
    with database.read() as db:
        return [each.subject_ref for each in subjects_page(db, scope, search=search).rows]


def as_stored(database: Database, scope: Scope, subject_id: str) -> Subject:
    with database.read() as db:
        subject = subject_by_id(db, scope, subject_id=subject_id)
    assert subject is not None
    return subject


@pytest.mark.parametrize("search", ["Müller", "MÜLLER", "muller", "mu\u0308ller", "ＭＵＬＬＥＲ", "ü"])
def test_case_accents_and_widths_make_no_difference(database: Database, scope: Scope, search: str) -> None:
    make(database, scope, "Jörg Müller")
    make(database, scope, "user_2", email="jurgen.MÜLLER@example.com")
    make(database, scope, "somebody else")
    assert set(found(database, scope, search)) == {"Jörg Müller", "user_2"}


@pytest.mark.parametrize("search", ["%", "_", "\\", "/", "100%_\\/"])
def test_wildcards_stand_for_themselves(database: Database, scope: Scope, search: str) -> None:
    make(database, scope, "100%_\\/")
    make(database, scope, "100 each")
    make(database, scope, "one of old code 100%_\\/", search_text=None)
    make(database, scope, "other of old code", search_text=None)
    assert set(found(database, scope, search)) == {"100%_\\/", "one of old code 100%_\\/"}


@pytest.mark.parametrize(
    ("ref", "search"),
    [
        ("مرحبا بالعالم", "بالعالم"),
        ("שָׁלוֹם", "שלום"),
        ("user 🦊❤\ufe0f", "🦊❤"),
        ("李雷", "雷"),
        ("x" * 200, "x" * 200),
    ],
)
def test_any_script_is_found(database: Database, scope: Scope, ref: str, search: str) -> None:
    make(database, scope, ref)
    make(database, scope, "user_1")
    assert found(database, scope, search) == [ref]


def test_no_search_matches_across_ref_and_address(database: Database, scope: Scope) -> None:
    make(database, scope, "user_1", email="ada@example.com")
    assert found(database, scope, "1ada") == []
    assert found(database, scope, "\u0301") == []


def test_rows_of_an_older_process_are_found_and_filled_by_the_next_write(
    database: Database, scope: Scope
) -> None:
    whole = make(database, scope, "Older_Row", email="ada@example.com", search_text=None)
    part = make(database, scope, "filled_row", email="bob@example.com", search_text="filled_row\n")
    for search, ref in (("older_r", "Older_Row"), ("ADA@", "Older_Row"), ("BOB@", "filled_row")):
        assert found(database, scope, search) == [ref]
    with database.write() as db:
        forget_customer(db, scope, subject_id=whole)
        held = lock_customer(db, scope, subject_id=part)
        # What is known already, as most events tell it.
        link_customer(db, scope, held, stripe_customer_id=None, email="bob@example.com")
    assert as_stored(database, scope, whole).search_text == "older_row\nada@example.com"
    assert as_stored(database, scope, part).search_text == "filled_row\nbob@example.com"


def test_every_write_keeps_the_searched_text(database: Database, scope: Scope) -> None:
    with database.write() as db:
        subject_id = ensure_subject(db, scope, subject_ref="Zoë", now=START).id
    assert found(database, scope, "zoe") == ["Zoë"]

    def link(db: Session, email: str | None) -> None:
        held = lock_customer(db, scope, subject_id=subject_id)
        link_customer(db, scope, held, stripe_customer_id="cus_1", email=email)

    with database.write() as db:
        link(db, "Ada@Example.com")
    with database.write() as db:
        link(db, None)
    assert as_stored(database, scope, subject_id).search_text == "zoe\nada@example.com"
    with database.write() as db:
        link(db, "élise@example.com")
    assert found(database, scope, "ELISE") == ["Zoë"]
    assert found(database, scope, "ada@") == []


def test_a_stripe_customer_is_found_by_the_whole_id_within_one_side(database: Database, scope: Scope) -> None:
    make(database, scope, "user_1", stripe_customer_id="cus_Ab1")
    make(database, scope, "user_2", stripe_customer_id="cus_Ab1")
    make(database, scope, "of_live", mode=Mode.LIVE, stripe_customer_id="cus_Ab1")
    with database.read() as db:
        rows = subjects_of_stripe_customer(db, scope, stripe_customer_id="cus_Ab1", limit=5)
        assert [each.subject_ref for each in rows] == ["user_2", "user_1"]
        assert subjects_of_stripe_customer(db, scope, stripe_customer_id="cus_", limit=5) == []
    assert found(database, scope, "cus_Ab1") == ["user_2", "user_1"]
    assert found(database, scope, "cus_") == []
