"""What people read is written in the field's words: pages, errors, findings, mails, commands, guides.

Read are the text and the strings of templates and scripts, every string of the code that is a sentence, and
the documents outside of their samples of code. `ALLOWED` has the sentences in which a phrase is right.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PHRASES = {
    r"mend(s|ed|ing)?": "fix, repair",
    r"heal(s|ed|ing)?": "fix, repair",
    r"tells?|told": "send, report, show",
    r"hears?|heard": "receive",
    r"(test|live|this|that|the other|each|either|both|a) sides?": "test mode, live mode",
    r"stripe (is|was) (not )?asked|(asks?|asked|asking) stripe": "check with Stripe, request",
    r"(looks?|looked|looking) at stripe|looked at": "check, check with Stripe",
    r"(given|gave|gives?|giving) up|parked": "failed permanently, needs attention",
    r"dead (deliver(y|ies)|letters?)|is dead|are dead": "failed permanently",
    r"may (not )?proceed|may this \w+ proceed": "has access, no access",
    r"lift(s|ed|ing)? (it|the suspension)|suspension (is |was )?lifted": "restore access",
    r"set(ting)? aside": "reserved",
    r"at risk|worth knowing": "warnings, notes",
    r"by hand": "manually",
    r"of the wrong mode": "from live mode, from test mode",
    r"bought past|opened for": "bought outside Licenzy, created",
    r"walk(s|ed|ing)?": "sync",
    r"play(s|ed|ing)? the buyer": "make a test purchase",
    r"at stripe": "in Stripe",
    r"by itself|by themselves": "automatically",
    r"anew|afresh": "again",
    r"come here|came here|comes here": "are received",
    r"please": "(nothing)",
}
"""What the field does not say, and what it says instead."""

ALLOWED = {
    "may this user proceed, right now?": "what the product answers, in its own words",
    "has a test side and a live side": "the glossary explains the word of the code",
    "One run of the reconciliation": "the glossary maps the name in the code to the word on the page",
    "Please use a secret API key": "the sandbox answers with Stripe's own sentence",
    "Please try again later": "the sandbox answers with Stripe's own sentence",
}
"""A sentence in which a phrase is right, and why."""

_PATTERN = re.compile(rf"(?<![\w-])({'|'.join(f'(?:{each})' for each in PHRASES)})(?![\w-])", re.IGNORECASE)


def _strings_of(expression: re.Match[str]) -> str:
    """The sentences in a Jinja expression or statement; its names are engineers' matter."""
    return " ".join(string for string in re.findall(r"\"([^\"\n]*)\"", expression[0]) if " " in string)


def _of_templates() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "templates").rglob("*.html")):
        text = re.sub(r"\{#.*?#\}", " ", path.read_text(), flags=re.DOTALL)
        text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", _strings_of, text, flags=re.DOTALL)
        text = re.sub(r'\b(?:class|id|for|name|href|hx-[a-z-]+|data-[a-z-]+)="[^"]*"', " ", text)
        for line in text.splitlines():
            yield path.relative_to(ROOT).as_posix(), line.strip()


def _of_scripts() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "static/js").glob("*.js")):
        for string in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`", path.read_text()):
            if " " in string:
                yield path.relative_to(ROOT).as_posix(), string


def _docstrings(tree: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings, of definitions and of the constants above them."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _of_code() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "licenzy").rglob("*.py")):
        if "migrations" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        docstrings = _docstrings(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if id(node) not in docstrings and " " in node.value.strip():
                yield path.relative_to(ROOT).as_posix(), node.value


def _of_documents() -> Iterator[tuple[str, str]]:
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = re.sub(r"^```.*?^```", " ", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", " ", text)
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*|#\d])", text):
            yield path.relative_to(ROOT).as_posix(), " ".join(paragraph.split())


@pytest.mark.parametrize("read", [_of_templates, _of_scripts, _of_code, _of_documents])
def test_the_words_are_those_of_the_field(read: object) -> None:
    assert callable(read)
    found = [
        f"{place}: “{hit[0]}” in: {text[max(0, hit.start() - 60) : hit.end() + 60]}"
        for place, text in read()
        for hit in _PATTERN.finditer(text)
        if not any(allowed in text for allowed in ALLOWED)
    ]
    assert not found, "\n".join(found)


def test_every_phrase_would_be_found() -> None:
    for said in ("It is mended.", "Stripe was asked", "The test side", "Set aside until", "you may proceed"):
        assert _PATTERN.search(said), said
    for said in ("Amend it", "Health checks", "a recommended fix", "the sidewalk", "a foretold end"):
        assert not _PATTERN.search(said), said
