"""Decisions are numbered once each, and docs/README.md lists them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PACKAGE = DOCS.parent / "licenzy"
FILES = sorted((DOCS / "decisions").glob("*.md"))


def test_numbers_follow_each_other() -> None:
    assert [int(file.name[:4]) for file in FILES] == list(range(1, len(FILES) + 1))


def test_each_is_listed_by_its_number_and_title() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for file in FILES:
        title = re.match(r"# (\d+)\. (.+)", file.read_text(encoding="utf-8"))
        assert title is not None, f"{file.name} does not begin with its number and title"
        assert int(title[1]) == int(file.name[:4])
        assert f"[{title[1]}: {title[2]}](decisions/{file.name})" in index, f"{file.name} is not listed"


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        if isinstance(node, ast.Name):
            yield node.id


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Every name that the product's code defines or uses, bare."""
    trees = (ast.parse(path.read_bytes()) for path in PACKAGE.rglob("*.py"))
    return {name for tree in trees for name in names(tree)} | {"DateTime"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_classes_and_files_have_their_present_names(path: Path, known: set[str]) -> None:
    text = path.read_text(encoding="utf-8")
    classes = set(re.findall(r"`([A-Z]\w*[a-z]\w*)(?:[.(][^`]*)?`", text))
    assert classes - known == set()
    modules = set(re.findall(r"`([\w/]+\.py)`", text))
    gone = [name for name in modules if not (DOCS.parent / name).is_file() and not list(PACKAGE.rglob(name))]
    assert gone == []
