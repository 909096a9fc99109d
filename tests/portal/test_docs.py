"""The guide: what is rendered, how safely, and what has no address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from licenzy.kit.resources import resource_dir
from licenzy.portal.docs import renderer
from licenzy.settings import Settings

INDEX = "# The guide\n\nStart with [second](second.md), then [first](./first.md#how).\n"
SECOND = """# Second page

## How it works
## How it works

<script>alert(1)</script> and <img src=x onerror=alert(1)>

[bad](javascript:alert(1)) [home](index.md) [away](https://stripe.com/docs) [there](first.md#how)

| a | b |
|---|---|
| 1 | 2 |

```bash
curl -d '<x>&"'
```
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docs = tmp_path / "docs"
    (docs / "decisions").mkdir(parents=True)
    (docs / "index.md").write_text(INDEX)
    (docs / "second.md").write_text(SECOND)
    (docs / "first.md").write_text("# First page\n\n## How\n")
    (docs / "decisions" / "0001-inner.md").write_text("# Inner\n")
    (docs / "README.md").write_text("# For readers of the repository\n")
    (docs / "notes.txt").write_text("no page")
    (tmp_path / "secret.md").write_text("# Secret\n")
    monkeypatch.setattr(renderer, "resource_dir", lambda _name: docs)
    return docs


@pytest.mark.usefixtures("folder")
def test_pages_stand_in_the_order_of_the_index(client: FlaskClient) -> None:
    assert renderer.guide_pages() == [
        ("index", "The guide"),
        ("second", "Second page"),
        ("first", "First page"),
    ]
    page = client.get("/docs")
    assert page.status_code == 200
    assert 'href="/docs/second"' in page.text
    assert 'href="/docs/first#how"' in page.text
    assert page.headers.getlist("Set-Cookie") == []


@pytest.mark.usefixtures("folder")
def test_markdown_becomes_safe_html(client: FlaskClient) -> None:
    text = client.get("/docs/second").text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "javascript:alert" not in text.replace("[bad](javascript:alert(1))", "")
    assert 'href="javascript' not in text
    assert '<h2 id="how-it-works">' in text
    assert '<h2 id="how-it-works-2">' in text
    assert 'href="#how-it-works-2"' in text
    assert 'href="https://stripe.com/docs"' in text
    assert 'class="table"' in text
    assert "curl -d &#x27;&lt;x&gt;&amp;&quot;&#x27;" in text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "page",
    [
        "../secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..%5csecret",
        "secret",
        "second.md",
        "notes",
        "notes.txt",
        "decisions/0001-inner",
        "decisions%2f0001-inner",
        "0001-inner",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "SECOND",
        "README",
        "readme",
    ],
)
def test_only_pages_of_the_folder_have_an_address(client: FlaskClient, page: str) -> None:
    answer = client.get(f"/docs/{page}")
    assert answer.status_code == 404
    assert "Secret" not in answer.text


def test_guides_show_the_address_of_the_installation(
    folder: Path, client: FlaskClient, settings: Settings
) -> None:
    (folder / "first.md").write_text(
        "# First page\n\n"
        "`http://127.0.0.1:8000`, http://127.0.0.1:8000/docs and [it](http://127.0.0.1:8000/docs).\n\n"
        "```bash\ncurl http://127.0.0.1:8000/v1\n```\n\n"
        "Not http://127.0.0.1:80001 nor 127.0.0.1:8000.\n"
    )
    text = client.get("/docs/first").text
    ours = settings.base_url
    assert f"<code>{ours}</code>, {ours}/docs and " in text
    assert f'href="{ours}/docs"' in text
    assert f"curl {ours}/v1<" in text
    assert "Not http://127.0.0.1:80001 nor 127.0.0.1:8000." in text


def test_the_shipped_guide_shows_no_address_but_its_own(client: FlaskClient, settings: Settings) -> None:
    assert settings.base_url != renderer.DEFAULT_ADDRESS
    for slug, _title in renderer.guide_pages():
        assert renderer.DEFAULT_ADDRESS not in client.get(f"/docs/{slug}").text, slug
    assert f"export LICENZY_URL={settings.base_url}" in client.get("/docs/connect-stripe").text


def test_the_shipped_guide_renders(client: FlaskClient) -> None:
    for slug, title in renderer.guide_pages():
        page = client.get(f"/docs/{slug}")
        assert page.status_code == 200, slug
        assert f"<title>{title}" in page.text or "&" in title


def test_every_link_of_the_shipped_guide_leads_somewhere(client: FlaskClient) -> None:
    pages = {f"/docs/{slug}": client.get(f"/docs/{slug}").text for slug, _title in renderer.guide_pages()}
    pages |= {"/docs": pages["/docs/index"], "/docs/api": client.get("/docs/api").text}
    wrong = []
    for path, page in pages.items():
        for address in re.findall(r'<(?:a|img)[^>]* (?:href|src)="([^"]+)"', page):
            if re.match("[a-z]+:", address):
                continue
            target, _, anchor = address.partition("#")
            page_there = pages.get(target or path)
            if page_there is None:
                with client.get(target) as answer:
                    found = target.startswith("/") and answer.status_code in {200, 303}
            else:
                found = not anchor or f'id="{anchor}"' in page_there
            if not found:
                wrong.append(f"{path}: {address}")
    assert wrong == []


def test_every_link_to_the_guide_from_a_page_leads_somewhere(client: FlaskClient) -> None:
    source = "".join(path.read_text("utf-8") for path in resource_dir("templates").rglob("*.html"))
    source = re.sub(r"\{#.*?#\}", "", source, flags=re.DOTALL)
    word = r"[\"']([\w-]+)[\"']"
    linked = re.findall(rf"portal\.docs[\"'], page={word}(?:, _anchor={word})?", source)
    linked += re.findall(rf"guide=\({word}, (?:{word}|none)\)", source)
    assert len(linked) > 10
    for slug, anchor in set(linked):
        page = client.get(f"/docs/{slug}")
        assert page.status_code == 200, slug
        assert not anchor or f'id="{anchor}"' in page.text, f"{slug}#{anchor}"


def test_the_reference_tells_every_call(client: FlaskClient) -> None:
    page = client.get("/docs/api")
    assert page.status_code == 200
    assert 'href="/docs/api" aria-current="page">API reference' in page.text
    assert 'href="/docs/api"' in client.get("/docs/operations").text
    described = client.get("/v1/openapi.json").get_json()
    for path, methods in described["paths"].items():
        for method in methods:
            assert f">{method.upper()} {path}</h2>" in page.text
            assert f"{described['servers'][0]['url']}{path.partition('{')[0]}" in page.text
    assert page.text.count("data-copy") >= 2 * len(described["paths"])
    errors = client.get("/docs/errors").text
    linked = set(re.findall(r'href="/docs/errors#([^"]+)"', page.text))
    assert len(linked) > 30
    assert [anchor for anchor in linked if f'id="{anchor}"' not in errors] == []
    own = set(re.findall(r'href="#([^"]+)"', page.text))
    assert [anchor for anchor in own if f'id="{anchor}"' not in page.text] == []
    assert "<script>" not in page.text
