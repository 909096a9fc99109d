"""What all templates keep to: nothing inline, forms that work plainly and hold their token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from markupsafe import escape

from licenzy.kit.resources import resource_dir
from tests.support.clock import START

TEMPLATES = sorted(resource_dir("templates").rglob("*.html"))
_TAG = re.compile(r"<[a-z][^<>]*(?:{{[^}]*}}[^<>]*|{%[^%]*%}[^<>]*)*>", re.DOTALL)
_FORM = re.compile(r"<form\b(.*?)</form>", re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(resource_dir("templates")))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_nothing_that_the_content_policy_would_block(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<style\b|\sstyle\s*=", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\s(on[a-z]+|hx-on[:\w-]*)\s*=", text)
    assert "javascript:" not in text
    assert "js:" not in text
    assert not re.search(r"hx-trigger=\"[^\"]*\[", text), "a filter of a trigger needs eval"
    assert not re.search(r"(src|href)=\"(https?:)?//", text.replace('href="https://stripe.com', "")), path


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_form_that_writes_holds_its_token(path: Path) -> None:
    for form in _FORM.findall(path.read_text()):
        if 'method="post"' in form:
            assert "csrf_field()" in form or "form.csrf_token" in form or "hidden_tag()" in form


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_what_htmx_sends_a_browser_can_send_too(path: Path) -> None:
    for tag in _TAG.findall(path.read_text()):
        if re.search(r"\bhx-(post|put|patch|delete)=", tag) and not tag.startswith("<form"):
            assert "form=" in tag or "name=" in tag, f"{tag} works with scripts only"
        if tag.startswith("<form") and "hx-post=" in tag:
            assert 'method="post"' in tag, tag


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_headings_of_tables_name_their_scope(path: Path) -> None:
    assert re.findall(r"<th(?![^>]*\bscope=)[\s>]", path.read_text()) == []


def test_a_table_stacks_its_cells_and_ends_its_numbers(app: Flask) -> None:
    source = """
        {%- from "components/data_table.html" import cell, data_table, time_cell -%}
        {%- set columns = ["Pack", ("Units", "number"), ("Actions", "hidden")] -%}
        {%- call data_table(columns, caption="Packs", scrolls=true) -%}
        {%- for each in rows -%}
        <tr>{% call cell() %}{{ each }}{% endcall %}
        {%- call cell("Units", number=true) %}{{ 1234|number }}{% endcall %}
        {{- time_cell("Made", at) }}</tr>
        {%- endfor -%}
        {%- endcall -%}
    """
    with app.test_request_context():
        text = render_template_string(source, rows=["<b>"], at=START)
    assert '<div class="table-wrap" role="region" tabindex="0" aria-label="Packs">' in text
    assert '<th scope="col">Pack</th><th scope="col" class="cell-number">Units</th>' in text
    assert '<th scope="col"><span class="visually-hidden">Actions</span></th>' in text
    assert '<td>&lt;b&gt;</td><td data-label="Units" class="numbers cell-number">1,234</td>' in text
    assert re.search(
        r'<td data-label="Made"><time datetime="[^"]+" title="[^"]+ UTC">just now</time></td>', text
    )


@pytest.mark.parametrize(
    ("text", "clipped"), [("example.com/a", False), ("https://example.com/hooks/<one>", True)]
)
def test_a_long_reference_keeps_its_end_and_its_whole(app: Flask, text: str, clipped: bool) -> None:
    source = '{% from "components/clipped.html" import clipped %}{{ clipped(text) }}'
    with app.test_request_context():
        shown = render_template_string(source, text=text)
    assert ('class="clip"' in shown) is clipped
    assert "<one>" not in shown
    if clipped:
        assert f'title="{escape(text)}" tabindex="0"' in shown
    assert re.sub("<[^>]*>", "", shown) == escape(text)


def test_there_is_something_to_look_at() -> None:
    assert len(TEMPLATES) >= 20
