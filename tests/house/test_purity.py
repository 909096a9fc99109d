"""What says that it is pure is: it imports nothing that reads, writes, waits, or asks for time or chance.

Pure is every `rules.py` and every module whose docstring has the word. It may import calculations, of the
standard library or others, and modules of this package that pass the same test. From those that do not it
may have constants, which are written in capitals, and the classes of `models.py`: it has no session to ask
with.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "licenzy"
FILES = sorted(PACKAGE.rglob("*.py"))
_SAYS_SO = re.compile(r"\bpure\b", re.IGNORECASE)

IMPURE = {
    *("sqlalchemy", "sqlmodel", "alembic", "psycopg", "sqlite3"),
    *("requests", "httpx", "httpcore", "urllib3", "stripe", "http", "socket", "ssl"),
    *("flask", "werkzeug", "wtforms", "flask_wtf", "flask_login", "htmx_flask", "jinja2", "granian", "click"),
    *("time", "random", "secrets", "os", "io", "shutil", "tempfile", "fcntl", "subprocess", "signal", "sys"),
    *("threading", "asyncio", "multiprocessing", "concurrent", "queue", "logging"),
}
IMPURE_CALLS = {"now", "utcnow", "today", "open", "read_text", "read_bytes", "write_text", "print", "input"}
IMPURE_NAMES = {"utc_now"}
"""What asks for the time in a module that calculates with instants otherwise."""
CALCULATIONS = {("socket", "inet_aton")}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def says_pure(path: Path) -> bool:
    return path.name == "rules.py" or bool(_SAYS_SO.search(ast.get_docstring(tree_of(path)) or ""))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes, without what only a type checker reads and the functions that no pure file imports."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.FunctionDef) and node.name in IMPURE_NAMES:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from running(child)


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """The modules that a file imports, and the name out of each where it imports one."""
    for node in running(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def faults(path: Path) -> Iterator[str]:
    """What of a file is not pure, without following its imports."""
    for module, name in imported(path):
        if module.split(".")[0] in IMPURE and (module, name) not in CALCULATIONS:
            yield f"imports {module}"
        if name in IMPURE_NAMES:
            yield f"imports {name}"
    for node in running(tree_of(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE_CALLS:
                yield f"calls {called}() in line {node.lineno}"


def reached(path: Path, seen: set[Path]) -> Iterator[Path]:
    """The files of this package that a file is made of: those it imports, and theirs, but no models."""
    if path in seen or path.name == "models.py":
        return
    seen.add(path)
    yield path
    for module, name in imported(path):
        if module.split(".")[0] == "licenzy" and not (name or "").isupper():
            yield from reached(file_of(module, name), seen)


def file_of(module: str, name: str | None) -> Path:
    """The file of this package that an import leads to."""
    folder = ROOT.joinpath(*module.split("."))
    choices = [folder.with_suffix(".py"), folder / "__init__.py"]
    if name:
        choices = [folder / f"{name}.py", folder / name / "__init__.py", *choices]
    return next(each for each in choices if each.exists())


@pytest.mark.parametrize(
    "path", [each for each in FILES if says_pure(each)], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_says_that_it_is_pure_is(path: Path) -> None:
    found = [f"{each.relative_to(ROOT)} {fault}" for each in reached(path, set()) for fault in faults(each)]
    assert not found


def test_the_walk_finds_what_is_not_pure(tmp_path: Path) -> None:
    module = tmp_path / "rules.py"
    module.write_text(
        "import time\nfrom random import random\nfrom licenzy.kit.clock import utc_now\n"
        "def one(): return datetime.now()\ndef two(path): return path.read_text()\n"
    )
    assert says_pure(module)
    assert list(faults(module)) == [
        "imports time",
        "imports random",
        "imports utc_now",
        "calls now() in line 4",
        "calls read_text() in line 5",
    ]
    through = tmp_path / "through.py"
    through.write_text('"""Pure."""\nfrom licenzy.kit import repeats\n')
    assert says_pure(through)
    assert PACKAGE / "kit" / "repeats.py" in set(reached(through, set()))


@pytest.mark.parametrize(
    "path",
    [each for each in FILES if "sandbox" not in each.parts and each != PACKAGE / "kit" / "ids.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_random_numbers_are_drawn_only_from_what_was_given(path: Path) -> None:
    """So that a test can give the numbers. Ids, and the sandbox, have a source of their own."""
    assert ("random", "random") not in set(imported(path))
    drawn = [
        f"line {node.lineno}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "random"
    ]
    assert not drawn
