"""Names are the field's words: what code, templates and files may not be called.

A reader who knows Flask, SQLAlchemy and Stripe must need no dictionary of this code’s own. Refused are names
of files and of definitions (classes, functions, parameters, attributes, tables, bound parameters, macros);
local variables are free.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _words(text: str) -> set[str]:
    return set(text.split())


SAYS_NOTHING = _words("utils util helpers helper common manager service base misc")

MODULES = _words(
    """
    announcing beside books by_hand doorstep gate gathering guide happenings haste healing keeper lasting
    leash line listening looking misbehaviour news once pacing panels plain possible sale sealed shell story
    strip telling town trying visitors weighing wire writer written
    """
)
"""Names that no module, template or static file may have."""

NAMES = _words(
    """
    About Because Beside Books Checked Desk Exchange Hand Line Look Order Piece Seal Spotted SqliteWriter Till
    Watch WritersLine
    aloud became books came desk exchange furnish hand happenings heard held hold_leash lapsed look
    telling this till told
    """
)
"""Names that no definition may have, with or without underscores before them."""

PARTS = _words(
    """
    aloud beside doorstep furnish happening happenings heard held lapsed leash misbehaviour spotted tell tells
    told
    """
)
"""Words that no name of a definition or file may have among its parts."""

ALLOWED = {
    "held_in_other_mode": "a reason that the API answers with, which its clients know",
    "product_not_held": "a reason that the API answers with, which its clients know",
    "feature_not_held": "a reason that the API answers with, which its clients know",
}

ALLOWED_FILES = {
    "tests/journeys/test_guide.py": "it follows docs/connect-stripe.md, which is a guide",
    "templates/base.html": "what Jinja's own guide calls the page that others extend",
}


def parts(name: str) -> list[str]:
    """The words of a name in snake_case, CamelCase or kebab-case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [part for part in re.split(r"[^a-z0-9]+", spaced.lower()) if part]


def is_refused(name: str) -> bool:
    return name not in ALLOWED and (name.lstrip("_") in NAMES or bool(PARTS & set(parts(name))))


def is_refused_for_a_file(stem: str) -> bool:
    bare = stem.lstrip("_").removeprefix("test_")
    return bare in MODULES | SAYS_NOTHING or bool(PARTS & set(parts(bare)))


def sources() -> list[Path]:
    found = [path for top in ("licenzy", "tests") for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in found if "migrations/versions" not in path.as_posix())


def pages() -> list[Path]:
    """Templates, static files and their folders, without what others wrote."""
    tops = [ROOT / "templates", ROOT / "static"]
    tops += [path for name in ("templates", "static") for path in ROOT.glob(f"licenzy/*/{name}")]
    return sorted(path for top in tops for path in top.rglob("*") if "vendor" not in path.parts)


def definitions(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives to things which other places use by them."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield name
                yield from _attributes(node)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                # The name of a test is a sentence for people; nothing calls it.
                yield from [] if name.startswith("test_") else [name]
                yield from (each.arg for each in _arguments(node.args))
            case ast.Call(func=ast.Name(id="bindparam"), args=[ast.Constant(value=str(name)), *_]):
                yield name
    for statement in tree.body if isinstance(tree, ast.Module) else []:
        yield from _assigned(statement)


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        yield from _assigned(statement)
        match statement:
            case ast.Assign(targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=str(name))):
                yield name


def _assigned(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (each.id for each in targets if isinstance(each, ast.Name))


def _arguments(given: ast.arguments) -> Iterator[ast.arg]:
    yield from (*given.posonlyargs, *given.args, *given.kwonlyargs)
    yield from (each for each in (given.vararg, given.kwarg) if each is not None)


def macros(text: str) -> set[str]:
    return set(re.findall(r"{%-?\s*macro\s+(\w+)", text))


def refused() -> dict[str, set[str]]:
    """By file, the names in it that may not be, its own among them."""
    found: dict[str, set[str]] = {}
    for path in [*sources(), *pages()]:
        name = path.relative_to(ROOT).as_posix()
        stem = path.parent.name if path.name == "__init__.py" else path.stem
        own = {path.name} if is_refused_for_a_file(stem) and name not in ALLOWED_FILES else set()
        if inner := own | set(filter(is_refused, names_in(path))):
            found[name] = inner
    return found


def names_in(path: Path) -> set[str]:
    if path.suffix == ".py":
        return set(definitions(ast.parse(path.read_bytes())))
    return macros(path.read_text(encoding="utf-8")) if path.suffix == ".html" else set()


def test_names_are_the_fields_words() -> None:
    assert refused() == {}, "call these what a stranger would call them"


def test_what_is_allowed_is_there() -> None:
    assert [name for name in ALLOWED_FILES if not (ROOT / name).is_file()] == []
    assert [name for name in ALLOWED if not PARTS & set(parts(name))] == []


def test_each_class_has_a_name_of_its_own() -> None:
    """The same name for two things leads whoever searches for it astray."""
    counted: Counter[str] = Counter()
    for path in sources():
        if path.is_relative_to(ROOT / "licenzy"):
            tree = ast.parse(path.read_bytes())
            counted.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    twice = {name for name, times in counted.items() if times > 1}
    assert twice == set(), "say in the name which of them it is"


def test_the_rules_refuse_and_allow() -> None:
    module = ast.parse(
        "class Exchange:\n    what_was_told: int\n    __tablename__ = 'lapsed_rows'\n"
        "def aloud(hand, *, line): held = bindparam('came')\n"
        "def test_what_is_told(lasting): ...\n"
    )
    given = list(definitions(module))
    assert {"Exchange", "what_was_told", "lapsed_rows", "aloud", "hand", "came", "line", "lasting"} <= set(
        given
    )
    assert {name for name in given if is_refused(name)} == {
        "Exchange", "what_was_told", "lapsed_rows", "aloud", "hand", "came",
    }  # fmt: skip
    assert is_refused("_WasTold")
    assert not any(map(is_refused, ("held_in_other_mode", "HandlerOrder", "Handed", "retold", "line_items")))
    assert all(map(is_refused_for_a_file, ("utils", "test_misbehaviour", "_shell", "by_hand", "what-lapsed")))
    assert not any(map(is_refused_for_a_file, ("line_items", "shelling", "test_money")))
    assert macros("{% macro told(x) %}{%- macro  plain() -%}") == {"told", "plain"}
