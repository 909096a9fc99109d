"""A side of a project is handed on as one `Scope`, not as an id beside a mode nor as a dictionary."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "licenzy"

BOTH = {
    "cli/apply.py": "options of commands",
    "cli/audit.py": "options of commands",
    "cli/endpoints.py": "options of commands",
    "cli/export.py": "options of commands",
    "cli/forget.py": "options of commands",
    "cli/repair.py": "options of commands",
    "cli/imports.py": "options of commands",
    "cli/keys.py": "options of commands",
    "cli/products.py": "options of commands",
    "cli/projects.py:scope_of": "makes a scope of the options of commands",
    "connections/queries.py:addressees_at_tenant_webhook": "the project is known of some events only",
    "deliveries/queries.py:somebody_listens": "columns of another statement",
    "entitlements/links.py:key_behind": "columns of another statement",
    "portal/guards.py": "parts of addresses, of which the guard makes a scope",
    "workspace/audit.py:record": "what is recorded may be of no project, or of a project in no mode",
}
"""Who may take a project's id beside a mode, and why: a whole file, or one function of it."""

DICTIONARIES = {"scope", "where", "side"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    given = function.args
    return {each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def taking_both(tree: ast.AST) -> Iterator[str]:
    """The functions that take a project's id and a mode as two parameters."""
    return (each.name for each in functions(tree) if {"project_id", "mode"} <= parameters(each))


def spread(tree: ast.AST) -> Iterator[int]:
    """The lines that spread a side, with `**`, into a call or a dictionary."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            values = [each.value for each in node.keywords if each.arg is None]
        elif isinstance(node, ast.Dict):
            values = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
        else:
            continue
        for value in values:
            name = value.id if isinstance(value, ast.Name) else getattr(value, "attr", "")
            if name.lstrip("_") in DICTIONARIES:
                yield value.lineno


FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if "stripe_sandbox" not in path.relative_to(PACKAGE).parts
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_side_is_one_scope(path: Path) -> None:
    name, tree = path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
    both = [each for each in taking_both(tree) if name not in BOTH and f"{name}:{each}" not in BOTH]
    assert not both, "take a Scope instead of a project's id and a mode"
    assert not list(spread(tree)), "hand on the Scope itself"


def test_nothing_is_excused_that_needs_no_excuse() -> None:
    for excused in BOTH:
        name, _, function = excused.partition(":")
        found = set(taking_both(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))))
        assert function in found if function else found, excused


def test_the_walk_sees_what_it_looks_for() -> None:
    tree = ast.parse("def f(db, *, project_id, mode): g(db, **self._scope); return {**where}")
    assert list(taking_both(tree)) == ["f"]
    assert len(list(spread(tree))) == 2
