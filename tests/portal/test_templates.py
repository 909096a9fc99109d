"""What all templates keep to: nothing inline, forms that work plainly and hold their token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from licenzy.kit.resources import resource_dir

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


def test_there_is_something_to_look_at() -> None:
    assert len(TEMPLATES) >= 20
