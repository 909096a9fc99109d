"""What stylesheets and templates say of each other: no class is missing, no rule and no icon is left over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
STYLESHEETS = sorted((ROOT / "static" / "css").glob("*.css"))
WORD = re.compile(r"[A-Za-z0-9_-]+")
CLASS = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)")
# Put together by a template out of a fixed beginning and a word that the view names.
BEGINNINGS = re.compile(r"([A-Za-z0-9-]+-)(?:\{\{|\" ~)")
WRITTEN_BY_LIBRARIES = re.compile(r"u-|uplot|htmx-")


def code() -> Iterator[Path]:
    """Everything that can write a class into a page."""
    yield from TEMPLATES
    yield from (ROOT / "licenzy").rglob("*.py")
    yield from (ROOT / "static" / "js").glob("*.js")


def used_in(templates: list[Path]) -> set[str]:
    """The words inside of the class attributes of these templates."""
    attributes = re.compile(r"""class(?:=|", ")"([^"]*(?:\{\{.*?\}\}[^"]*)*)\"""")
    return {
        word
        for path in templates
        for attribute in attributes.findall(path.read_text())
        for word in WORD.findall(attribute)
    }


def test_the_reduced_tabler_has_every_class_that_templates_use() -> None:
    named = ROOT / "tests" / "support" / "vendor" / "tabler-classes.txt"
    there = set(CLASS.findall((ROOT / "static" / "vendor" / "tabler" / "tabler.css").read_text()))
    missing = used_in(TEMPLATES) & set(named.read_text().split()) - there
    assert not missing, "run `make vendored`"


def test_every_rule_of_ours_can_match_something() -> None:
    text = "\n".join(path.read_text() for path in code())
    words, beginnings = set(WORD.findall(text)), tuple(BEGINNINGS.findall(text))
    dead = {
        f"{path.name}: .{name}"
        for path in STYLESHEETS
        for selector in re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL))
        for name in CLASS.findall(re.sub(r"\"[^\"]*\"|@[^{]*", "", selector))
        if name not in words and not name.startswith(beginnings) and not WRITTEN_BY_LIBRARIES.match(name)
    }
    assert not dead


def test_every_icon_is_used_and_there() -> None:
    text = "\n".join(path.read_text() for path in code())
    there = {path.stem for path in (ROOT / "templates" / "components" / "icons").glob("*.svg")}
    assert {name for name in there if not re.search(f"[\"']{name}[\"']", text)} == set()
    asked_for = set(re.findall(r"icon\(\"([a-z0-9-]+)\"\)", text))
    assert asked_for <= there


def test_only_the_layouts_base_links_stylesheets_of_ours() -> None:
    linking = {
        path.relative_to(ROOT).as_posix() for path in TEMPLATES if "asset_url('css/" in path.read_text()
    }
    assert linking == {"templates/base.html"}
