"""docs/glossary.md names what exists: each term of the code is defined in the file beside it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
PRODUCT, CODE = GLOSSARY.split("\n## Words of the code\n")


def rows(markdown: str) -> list[list[str]]:
    """The cells of each row of all tables, without their heads."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells for cells in found if cells[0] not in {"word", "term"}]


def defined_in(path: Path) -> set[str]:
    body = ast.parse(path.read_bytes()).body
    return {each.name for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef)}


@pytest.mark.parametrize(("term", "file"), [row[:2] for row in rows(CODE)])
def test_each_term_of_the_code_is_defined_there(term: str, file: str) -> None:
    path = ROOT / file.strip("`")
    assert path.is_file(), f"{file} does not exist"
    if path.suffix == ".py":
        names = set(re.findall(r"`(\w+)`", term))
        assert names, f"{term} names nothing in {file}"
        assert names - defined_in(path) == set(), f"not defined in {file}"


def test_each_row_has_three_cells_with_one_or_more_whole_sentences() -> None:
    assert len(rows(PRODUCT)) > 25
    assert len(rows(CODE)) > 35
    assert [row for row in rows(GLOSSARY) if len(row) != 3] == []
    meanings = [row[1] for row in rows(PRODUCT)] + [row[2] for row in rows(CODE)]
    assert [meaning for meaning in meanings if not meaning.endswith(".")] == []


def test_each_word_of_the_product_stands_once() -> None:
    words = [row[0] for row in rows(PRODUCT)]
    assert sorted(set(words)) == sorted(words)
