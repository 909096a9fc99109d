"""Trials in the portal: the settings of a product, and one more trial for a customer."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.test import TestResponse

from licenzy.catalog.models import Product, TrialCard, TrialEnd
from licenzy.entitlements.models import Purchase
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.workspace.models import AuditEntry, Role
from tests.conftest import Sandbox
from tests.portal.set_up_side import SidePages, connected, side_pages
from tests.support.cast import Cast, make_subject, make_user
from tests.support.clock import START
from tests.support.visits import csrf_token


def test_a_product_keeps_the_settings_of_its_trial(
    app: Flask, cast: Cast, sandbox: Sandbox, runtime: Runtime
) -> None:
    pages = connected(side_pages(app, cast), sandbox)
    with runtime.database.read() as db:
        assert db.exec(select(Product)).first() is None
    page = pages.get("/products/new").text
    (box,) = re.findall(r'<input[^>]*name="trial_once"[^>]*>', page)
    assert " checked" in box
    price = page.split("Pro, monthly")[0].rsplit('value="', 1)[1].split('"')[0]
    values = {"price_id": price, "kind": "subscription", "product_code": "PRO", "trial_days": "14"}
    more = {"trial_card": "if_required", "trial_end_without_card": "pause", "trial_group": "main"}
    refused = pages.send("/products/new", "/products/new", {**values, "trial_group": "Main group"})
    assert refused.status_code == 422
    assert "Use 1 to 32 lower-case letters" in refused.text
    answer = pages.send("/products/new", "/products/new", {**values, **more, "trial_once": "y"})
    assert answer.status_code == 303, answer.text
    with runtime.database.read() as db:
        product = db.exec(select(Product)).one()
    kept = (product.trial_card, product.trial_end_without_card, product.trial_once, product.trial_group)
    assert kept == (TrialCard.IF_REQUIRED, TrialEnd.PAUSE, True, "main")
    assert "14 trial days once per customer" in pages.get("/products").text
    assert 'value="main"' in pages.get(f"/products/{product.id}").text


@pytest.fixture
def subject(runtime: Runtime, cast: Cast) -> Subject:
    with runtime.database.write() as db:
        return make_subject(db, project_id=cast.project_id)


def post(pages: SidePages, path: str, *, at: str | None = None, **values: str) -> TestResponse:
    """Send the form, whether the page shows it or not."""
    token = csrf_token(pages.client, f"{pages.base}{at or path}")
    return pages.client.post(f"{pages.base}{path}/trial-allowance", data={"csrf_token": token, **values})


def begin_trial(runtime: Runtime, subject: Subject) -> None:
    with runtime.database.write() as db:
        db.add(
            Purchase(
                project_id=subject.project_id,
                mode=subject.mode,
                key="sub_1",
                subject_id=subject.id,
                trialed_at=START,
                trialed_products=["PRO"],
                created_at=START,
            )
        )


def test_support_allows_one_more_trial(app: Flask, cast: Cast, runtime: Runtime, subject: Subject) -> None:
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    pages = side_pages(app, cast, email="support@example.com")
    path = f"/customers/{subject.id}"
    assert "Trials" not in pages.get(path).text
    refused = post(pages, path, note="as agreed", submission_id="a0")
    assert refused.status_code == 422
    assert "This customer had no trial." in refused.text
    begin_trial(runtime, subject)
    assert "Allow another trial" in pages.get(path).text
    refused = pages.send(path, f"{path}/trial-allowance", {"note": "", "submission_id": "a1"})
    assert refused.status_code == 422
    assert "Give a reason" in refused.text
    for sent in ("a2", "a2", "a3"):
        answer = post(pages, path, note="as agreed", submission_id=sent)
        assert answer.status_code == 303, answer.text
    page = pages.get(path).text
    assert "Another trial is allowed since" in page
    assert "/trial-allowance" not in page
    with runtime.database.read() as db:
        (entry,) = db.exec(select(AuditEntry).where(AuditEntry.action == "trial.allowed")).all()
        assert (entry.about, entry.after) == (subject.id, {"note": "as agreed"})
