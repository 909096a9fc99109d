"""Decisions are numbered once each, and docs/README.md lists them all."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
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
