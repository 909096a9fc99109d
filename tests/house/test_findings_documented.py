"""Every rule has a section in docs/findings.md with title, severity, cause, fix and end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask

from licenzy.alignment import findings as pages
from licenzy.alignment.rules import RULES

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTIONS = dict(
    re.findall(
        r"^### `([a-z_]+)`\n(.*?)(?=^##|\Z)", (DOCS / "findings.md").read_text(), re.MULTILINE | re.DOTALL
    )
)


def test_rules_and_documentation_agree() -> None:
    assert set(SECTIONS) == {rule.code for rule in RULES}
    assert len(RULES) == len({rule.code for rule in RULES})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_section_says_what_it_is_why_how_to_fix_it_and_when_it_ends(rule: pages.Rule) -> None:
    section = SECTIONS[rule.code]
    assert f"*{rule.title}.* {rule.severity.label}." in section
    for part in ("**Cause.**", "**Fix.**", "**It ends when**"):
        assert part in section
    assert rule.resolvable == ("mark it as fixed" in section)


def test_links_lead_to_headings_that_exist() -> None:
    linked = re.findall(r"\]\(([a-z-]+)\.md#([\w-]+)\)", (DOCS / "findings.md").read_text())
    for name, anchor in linked:
        headings = re.findall(r"^#+ (.+)$", (DOCS / f"{name}.md").read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w]+", "-", heading.lower()).strip("-") for heading in headings}


def test_the_five_mistakes_of_the_guide_name_their_findings() -> None:
    guide = (DOCS / "connect-stripe.md").read_text()
    mistakes = guide[guide.index("## Mistakes") :]
    for code in (
        "price_mode_mismatch",
        "product_of_other_mode_asked",
        "webhook_secret_missing",
        "price_id_sent",
        "untracked_checkout",
    ):
        assert f"](findings.md#{code})" in mistakes


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_page_that_fixes_exists(app: Flask) -> None:
    there = {str(rule) for rule in app.url_map.iter_rules()}
    for page in (
        pages.CONNECTION,
        pages.PRODUCTS,
        pages.API_KEYS,
        pages.EVENTS,
        pages.UNTRACKED,
        pages.WEBHOOKS,
        pages.CUSTOMERS,
    ):
        assert f"/projects/<id('prj'):project_id>/<mode:mode>/{page}" in there
