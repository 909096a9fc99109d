"""Who may see and change what on the pages of the set-up."""

from __future__ import annotations

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.api_keys.queries import keys
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast, make_connection, make_key, make_product, make_subject
from tests.support.purchases import make_attempt
from tests.support.visits import csrf_token, visiting

STEPS = ("connect", "webhook", "products", "api-key", "purchase", "go-live")
READ = ("", "/connection", "/products", "/api-keys", "/settings", *(f"/setup/{step}" for step in STEPS))
CHANGE = (
    "/connection/key",
    "/connection/sandbox",
    "/connection/webhook-secret",
    "/connection/endpoint",
    "/connection/removal",
    "/products/new",
    "/products/{product}",
    "/products/{product}/prices",
    "/products/{product}/archival",
    "/products/{product}/restoration",
    "/api-keys",
    "/api-keys/{key}/revocation",
    "/settings/name",
    "/settings/returns",
    "/setup/purchase",
)


@pytest.fixture
def ids(runtime: Runtime, cast: Cast) -> dict[str, str]:
    """One of everything on the test side."""
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        product = make_product(db, project_id=cast.project_id)
        key, _token = make_key(db, project_id=cast.project_id)
        subject = make_subject(db, project_id=cast.project_id)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
    return {"product": product.id, "key": key.id, "attempt": attempt.id}


def test_a_viewer_sees_every_page_and_no_form_that_would_be_refused(
    app: Flask, cast: Cast, ids: dict[str, str]
) -> None:
    pages = side_pages(app, cast, email=cast.colleague.email)
    for path in (*READ, f"/setup/purchase/{ids['attempt']}/timeline"):
        page = pages.get(path)
        assert page.status_code == 200, path
        for change in CHANGE:
            assert f'action="{pages.base}{change.format(**ids)}"' not in page.text


def test_a_viewer_changes_nothing(app: Flask, cast: Cast, ids: dict[str, str], runtime: Runtime) -> None:
    pages = side_pages(app, cast, email=cast.colleague.email)
    token = csrf_token(pages.client, "/projects")
    for path in CHANGE:
        address = pages.base + path.format(**ids)
        assert pages.client.post(address, data={"csrf_token": token}).status_code == 403, path
    with runtime.database.read() as db:
        (key,) = keys(db, Scope(cast.project_id, Mode.TEST))
    assert key.revoked_at is None


def test_a_stranger_finds_nothing(app: Flask, cast: Cast, ids: dict[str, str]) -> None:
    client = visiting(app, cast.stranger.email)
    token = csrf_token(client, "/projects")
    base = f"/projects/{cast.project_id}/test"
    for path in (*READ, f"/products/{ids['product']}", f"/setup/purchase/{ids['attempt']}/timeline"):
        assert client.get(base + path).status_code == 404, path
    for path in CHANGE:
        answer = client.post(base + path.format(**ids), data={"csrf_token": token})
        assert answer.status_code == 404, path


def test_records_of_another_project_are_not_found_below_one_s_own(
    app: Flask, cast: Cast, ids: dict[str, str]
) -> None:
    client = visiting(app, cast.stranger.email)
    token = csrf_token(client, "/projects")
    base = f"/projects/{cast.stranger.project_id}/test"
    assert client.get(f"{base}/products/{ids['product']}").status_code == 404
    assert client.get(f"{base}/setup/purchase/{ids['attempt']}/timeline").status_code == 404
    assert client.get(f"{base}/setup/purchase?attempt={ids['attempt']}").status_code == 404
    for path in ("/products/{product}/archival", "/products/{product}/prices", "/api-keys/{key}/revocation"):
        answer = client.post(base + path.format(**ids), data={"csrf_token": token})
        assert answer.status_code == 404, path


def test_records_of_the_other_mode_are_not_found(app: Flask, cast: Cast, ids: dict[str, str]) -> None:
    live = side_pages(app, cast, mode="live")
    assert live.get(f"/products/{ids['product']}").status_code == 404
    assert live.get(f"/setup/purchase/{ids['attempt']}/timeline").status_code == 404


def test_nobody_signed_in_is_sent_to_sign_in(app: Flask, cast: Cast) -> None:
    client = app.test_client()
    for path in READ:
        answer = client.get(f"/projects/{cast.project_id}/test{path}")
        assert answer.status_code == 303, path
        assert "/sign-in" in answer.headers["Location"]


def test_every_change_needs_the_token(app: Flask, cast: Cast, ids: dict[str, str]) -> None:
    pages = side_pages(app, cast)
    for path in CHANGE:
        assert pages.client.post(pages.base + path.format(**ids), data={}).status_code == 403, path


def test_unknown_steps_are_not_found(app: Flask, cast: Cast) -> None:
    assert side_pages(app, cast).get("/setup/nonsense").status_code == 404
