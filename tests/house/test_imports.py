"""Who may import whom: each room only what stands to its left, doors never each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "licenzy"

_ROOMS = """
    errors kit settings db alignment stripe_gateway mail workspace projects subjects deliveries observations
    idempotency connections catalog api_keys entitlements usage hotpath checkout stripe_events imports
    search reconciliation configuration setup archiving alerts lab forgetting
"""
LINE = _ROOMS.split()
DOORS = {"api", "hooks", "portal", "cli", "worker", "server"}
EDGE = {"factory", "__main__", "__init__"}
WEB = {"flask", "werkzeug", "wtforms", "flask_wtf", "flask_login", "htmx_flask", "jinja2"}
ONLY_FOR_STRIPE = {"stripe_gateway", "stripe_sandbox"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            if node.module == "licenzy":
                yield from (f"licenzy.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in imports(path))
    return {parts[1] for parts in names if parts[0] == "licenzy" and len(parts) > 1}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(room: str) -> set[str]:
    if room in EDGE:
        others = {"runtime", "wsgi_json", "create_app", "__version__"}
        return {*LINE, *DOORS, *EDGE, *others} | ({"stripe_sandbox"} if room == "factory" else set())
    if room == "stripe_sandbox":
        return {"stripe_sandbox"}
    if room in DOORS:
        return {*LINE, "runtime", "wsgi_json", room} | ({"__version__"} if room == "cli" else set())
    if room == "wsgi_json":
        return {"errors", "kit"}
    if room == "runtime":
        return {"errors", "settings", "kit", "db", "alignment", "stripe_gateway"}
    return set(LINE[: LINE.index(room) + 1])


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_stands_to_its_left(path: Path) -> None:
    room = room_of(path)
    assert rooms_imported(path) <= allowed(room), f"{room} may import {sorted(allowed(room))}"


def test_the_stripe_sandbox_is_an_application_of_its_own() -> None:
    """The factory starts it; everything else reaches it over HTTP, as it would reach Stripe."""
    inside = [path for path in FILES if room_of(path) == "stripe_sandbox"]
    assert len(inside) > 40
    assert {name for path in inside for name in rooms_imported(path)} == {"stripe_sandbox"}
    outside = [path for path in FILES if path not in inside]
    importing = [path.name for path in outside if "stripe_sandbox" in rooms_imported(path)]
    assert importing == ["factory.py"]
    speaking = list((PACKAGE / "stripe_gateway").glob("sandbox_*.py"))
    assert speaking
    assert all("httpx" in imports(path) for path in speaking)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_know_no_web_framework_and_only_two_know_stripe(path: Path) -> None:
    room = room_of(path)
    outside = {name.split(".")[0] for name in imports(path)}
    if room not in {*DOORS, *EDGE, "runtime", "wsgi_json", "stripe_sandbox"}:
        assert not outside & WEB
    if room not in ONLY_FOR_STRIPE:
        assert "stripe" not in outside


def test_only_one_file_imports_the_driver_of_postgres() -> None:
    """So that a process on SQLite is spared it: this one is imported where a database is Postgres."""
    outside = {path: {each.split(".")[0] for each in imports(path)} for path in FILES}
    assert [path.name for path, names in outside.items() if "psycopg" in names] == ["postgres.py"]


def test_the_api_has_no_sql() -> None:
    """It asks rooms; so what it does can be done from an event loop as well as from a thread."""
    for path in (each for each in FILES if room_of(each) == "api"):
        outside = {name.split(".")[0] for name in imports(path)}
        assert not outside & {"sqlalchemy", "sqlmodel", "psycopg", "sqlite3"}, path


def test_the_walk_sees_imports_inside_functions() -> None:
    assert "stripe_sandbox" in rooms_imported(PACKAGE / "factory.py")
