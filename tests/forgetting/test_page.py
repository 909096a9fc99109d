"""The page that erases a customer: who may, what must be typed, what it says afterwards."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.forgetting.noted import FORGOTTEN
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.workspace.models import AuditEntry, Role
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast, make_subject, make_user
from tests.support.visits import csrf_token

REF = "ada_lovelace_1815"


@pytest.fixture
def subject(runtime: Runtime, cast: Cast) -> Subject:
    with runtime.database.write() as db:
        return make_subject(db, project_id=cast.project_id, subject_ref=REF, email="ada@example.com")


def test_the_ref_is_typed_and_the_customer_erased(
    app: Flask, cast: Cast, runtime: Runtime, subject: Subject
) -> None:
    pages = side_pages(app, cast)
    path = f"/customers/{subject.id}/erasure"
    assert f"{path}" in pages.get(f"/customers/{subject.id}").text
    assert REF in pages.get(path).text
    refused = pages.send(path, "/erasure", {"typed": "ada"})
    assert refused.status_code == 422
    assert "does not match" in refused.text
    assert pages.send(path, "/erasure", {"typed": REF}).status_code == 303
    after = pages.get(f"/customers/{subject.id}").text
    assert "This customer was erased" in after
    assert REF not in after
    assert "ada@example.com" not in after
    assert pages.get(path).status_code == 404
    with runtime.database.read() as db:
        (entry,) = db.exec(select(AuditEntry).where(AuditEntry.action == FORGOTTEN)).all()
    assert (entry.actor_user_id, entry.about) == (cast.owner.user_id, subject.id)
    assert REF not in entry.model_dump_json()


def test_support_may_not_and_strangers_find_nothing(
    app: Flask, cast: Cast, runtime: Runtime, subject: Subject
) -> None:
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    support = side_pages(app, cast, email="support@example.com")
    path = f"/customers/{subject.id}/erasure"
    assert path not in support.get(f"/customers/{subject.id}").text
    assert support.get(path).status_code == 403
    token = csrf_token(support.client, support.base + "/customers")
    sent = {"typed": REF, "csrf_token": token}
    assert support.client.post(support.base + path, data=sent).status_code == 403
    other = side_pages(app, cast).get(f"/customers/sbj_{'0' * 10}7ke{'0' * 13}/erasure")
    assert other.status_code == 404
