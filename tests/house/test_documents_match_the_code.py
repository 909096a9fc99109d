"""What the guide says of queries, commands, pages, tables and tests is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from sqlalchemy import text

from licenzy.db.tables import metadata
from licenzy.db.unit_of_work import Database
from licenzy.factory import command_line, load_models
from licenzy.kit.ids import new_id
from licenzy.kit.stopping import StopSignal
from tests.house.test_imports import DOORS, LINE

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [path for path in sorted(DOCS.glob("*.md")) if path.stem not in {"README", "index"}]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def code_blocks(markdown: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)


def commands(markdown: str) -> Iterator[list[str]]:
    """The arguments of each `licenzy …` in a block of the shell."""
    for block in code_blocks(markdown, "bash"):
        for command in block.replace("\\\n", " ").splitlines():
            words = shlex.split(command.removesuffix("&"), comments=True)
            if words[:1] == ["licenzy"]:
                yield words[1:]
            if words[1:3] == ["-m", "licenzy"]:
                yield words[3:]


def test_each_documented_query_only_reads_and_runs_on_both_databases(database: Database) -> None:
    queries = [block.rstrip().removesuffix(";") for block in code_blocks(page("debugging"), "sql")]
    assert len(queries) > 10
    with database.read() as db:
        for query in queries:
            assert query.startswith("SELECT ")
            assert ";" not in query
            db.execute(text(query))


def test_each_documented_command_has_these_options() -> None:
    documented = list(commands(page("debugging")))
    assert len(documented) > 5
    for words in documented:
        command: click.Command = command_line(StopSignal())
        while isinstance(command, click.Group):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(command.name, words)  # Parses without running; raises for an unknown option.


def test_each_documented_page_has_that_address(app: Flask) -> None:
    addresses = re.findall(r"`(/projects/<project_id>/<mode>/[^`]+)`", page("debugging"))
    assert len(addresses) > 5
    urls = app.url_map.bind("localhost")
    for address in addresses:
        urls.match(address.replace("<project_id>", new_id("prj")).replace("<mode>", "live"))


def test_the_architecture_names_every_table_once() -> None:
    load_models()
    rows = re.findall(r"^\| `\w+` \|[^|]*\|([^|\n]+)\|$", page("architecture"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(metadata.tables)


def test_contributing_lists_every_package_and_module_of_the_product() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("\nlicenzy/\n") : text.index("\ninstance/")]
    listed = re.findall(r"^  ([\w.]+)/? ", tree, re.MULTILINE)
    there = [each.name for each in (ROOT / "licenzy").iterdir() if not each.name.startswith("__")]
    assert sorted(listed) == sorted(there)
    tops = re.findall(r"^(\w+)/ ", tree, re.MULTILINE)
    assert [name for name in tops if not (ROOT / name).is_dir()] == []


def test_the_architecture_has_every_room_and_door() -> None:
    named = re.findall(r"^\| `(\w+)` \|", page("architecture"), re.MULTILINE)
    assert sorted(named) == sorted({*LINE, *DOORS} - {"errors", "kit", "settings"})


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_line_of_imports_is_the_one_that_is_checked(name: str) -> None:
    blocks = re.findall(r"^```\w*\n(errors kit .*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    words = re.findall(r"\w+", blocks[0])
    assert words[: len(LINE)] == LINE
    assert {*words[len(LINE) :]} == {"runtime", "wsgi_json", "factory", *DOORS}


def test_each_file_that_a_recipe_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = text[text.index("## House rules") :]
    files = {
        name
        for name in re.findall(r"`([\w./]+)`", recipes)
        if re.search(r"^\w.*/\w+(\.(py|html|md))?$", name)
    }
    assert len(files) > 30
    tops = (ROOT, ROOT / "licenzy", ROOT / "templates")
    missing = [name for name in sorted(files) if not any((top / name).exists() for top in tops)]
    assert missing == []


@pytest.mark.parametrize("path", [*PAGES, ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_each_test_that_a_document_names_exists(path: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", path.read_text(encoding="utf-8")))
    assert path.stem != "threat-model" or len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_index_of_the_guide_lists_every_page(path: Path) -> None:
    assert f"]({path.name})" in page("index")
