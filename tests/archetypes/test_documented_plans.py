"""The examples of docs/plans.md: their files are those of the stories, and their calls do as they say."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.archetypes.files import content
from tests.archetypes.installation import running
from tests.archetypes.merchant import Merchant
from tests.archetypes.stories import STORIES

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "plans.md"
DAY = 86_400
LATER = {
    "# Two days later.": 2 * DAY,
    "# Fifteen days later.": 15 * DAY,
    "# A month later.": 32 * DAY,
}
LEFT_OUT = "…"
WITHOUT_EXAMPLE = {"changes of mind", "terms for holders"}
"""Stories that are no archetypes."""


@dataclass(frozen=True, slots=True)
class Example:
    """A section of the guide: its configuration files and its calls, in the order of the page."""

    title: str
    blocks: tuple[tuple[str, str], ...]

    @property
    def files(self) -> list[str]:
        return [text for language, text in self.blocks if language == "toml"]


def examples() -> Iterator[Example]:
    text = GUIDE.read_text(encoding="utf-8")
    for title, section in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        found = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if found:
            yield Example(title, tuple(found))


def test_each_archetype_has_an_example_with_the_file_of_its_story() -> None:
    written = {each.title.lower(): each.files[0] for each in examples() if each.files}
    applied = {name.lower(): content(file) for name, (file, _) in STORIES.items()}
    assert written == {name: text for name, text in applied.items() if name not in WITHOUT_EXAMPLE}


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_calls_are_answered_as_the_guide_says(
    tmp_path: Path, database_url: str, subtests: pytest.Subtests
) -> None:
    with running(tmp_path, database_url) as installation:
        for example in examples():
            with subtests.test(example.title), installation.merchant(example.title) as shop:
                for language, text in example.blocks:
                    if language == "toml":
                        shop.apply(text)
                    else:
                        assert language == "", f"a block in {language} is run by nothing"
                        _run(shop, text)


def _run(shop: Merchant, block: str) -> None:
    """Each line is a call, the answer to the call above it, or a comment that says what happens next."""
    status = 0
    answer: Any = None
    for line in block.splitlines():
        if line == "# The customer pays.":
            shop.pay(answer)
        elif line.startswith("#"):
            shop.let_pass(LATER[line])
        elif re.match(r"\d{3} ", line):
            expected_status, _, expected = line.partition(" ")
            assert status == int(expected_status), (line, answer)
            _compare(_parsed(expected), answer)
        else:
            method, path, *body = re.split(r"\s+", line, maxsplit=2)
            response = shop.http.request(
                method,
                path,
                json=json.loads(body[0]) if body else None,
                headers={"Idempotency-Key": secrets.token_hex(8)} if body else {},
            )
            status, answer = response.status_code, response.json()


def _parsed(written: str) -> Any:
    """An answer with what it leaves out under a key of its own."""
    return json.loads(re.sub(r"(?<=[{,] )…(?=\})|(?<=\{)…(?=\})", f'"{LEFT_OUT}": 0', written))


def _compare(expected: Any, shown: Any) -> None:
    if expected == LEFT_OUT:
        return
    if isinstance(expected, dict):
        if LEFT_OUT not in expected:
            assert set(expected) == set(shown), shown
        for name in set(expected) - {LEFT_OUT}:
            _compare(expected[name], shown[name])
    elif isinstance(expected, list):
        assert len(expected) == len(shown), shown
        for one, other in zip(expected, shown, strict=True):
            _compare(one, other)
    else:
        assert expected == shown, (expected, shown)
