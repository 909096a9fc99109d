"""The page Import: choosing, the preview with what a person decides there, the run and its report."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Entitlement
from licenzy.imports.models import Import, ImportOutcome, ImportRow, ImportStep
from licenzy.kit.ids import new_id
from licenzy.portal.imports import views
from licenzy.runtime import Runtime
from licenzy.workspace.models import AuditEntry, Role
from tests.checkout.conftest import Shop, sell, shop
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_product, make_subject, make_user
from tests.support.clock import START, StandingClock
from tests.support.visits import csrf_token, forms_of
from tests.support.worker import work_once

__all__ = ["sell", "shop"]


@pytest.fixture(autouse=True)
def present(clock: StandingClock) -> None:
    """The sandbox goes by the real time, and what is bought there must not lie ahead."""
    clock.now = datetime.now(UTC)


@pytest.fixture
def admin(app: Flask, cast: Cast, runtime: Runtime) -> SidePages:
    with runtime.database.write() as db:
        make_user(db, email="admin@example.com", workspace_id=cast.owner.workspace_id, role=Role.ADMIN)
    return side_pages(app, cast, email="admin@example.com")


@pytest.fixture
def pro(sell: Callable[..., Product]) -> str:
    """The Stripe price of the only product."""
    return price_of(sell("PRO", Kind.SUBSCRIPTION))


def price_of(product: Product) -> str:
    assert product.main_price is not None
    return product.main_price.stripe_price_id


def subscribed(
    shop: Shop, price: str, *, email: str | None = None, metadata: dict[str, str] | None = None
) -> stripe.Subscription:
    """Somebody who subscribed at Stripe, past Licenzy."""
    about: Any = {"metadata": metadata or {}}
    if email is not None:
        about["email"] = email
    customer = shop.stripe.v1.customers.create(about)
    return shop.stripe.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})


def carried_on(runtime: Runtime, *, rounds: int = 30) -> None:
    """Let the worker go on with an import until it needs somebody."""
    for _ in range(rounds):
        work_once(runtime)


def started(pages: SidePages, runtime: Runtime, **values: Any) -> str:
    """An import that was started by its form and read to its preview; its address below the side."""
    path = "/imports" if pages.get("/imports").text.count("/imports/uploads") else "/imports/new"
    form = pages.form(path, "/imports/uploads")
    sent = {**form.fields, **values}
    for name in ("with_ended", "announced"):
        if name not in values:
            sent.pop(name, None)
    answer = pages.client.post(form.action, data=sent, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    carried_on(runtime)
    return str(answer.headers["Location"]).partition(pages.base)[2]


def a_csv(text: str, name: str = "customers.csv") -> tuple[io.BytesIO, str]:
    return io.BytesIO(text.encode()), name


def sent_form(pages: SidePages, path: str, action_ends: str, **values: Any) -> Any:
    """The first form with this end on a page, sent with some values and an upload where there is one."""
    form = pages.form(path, action_ends)
    return pages.client.post(form.action, data={**form.fields, **values}, content_type="multipart/form-data")


def rows_of(runtime: Runtime) -> dict[str, ImportRow]:
    with runtime.database.read() as db:
        return {row.key: row for row in db.exec(select(ImportRow)).all()}


def test_what_is_missing_is_said_first(app: Flask, admin: SidePages, cast: Cast, runtime: Runtime) -> None:
    assert "Stripe is not connected in test" in admin.get("/imports").text
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    page = admin.get("/imports").text
    assert "No product is mapped yet" in page
    assert "/imports/uploads" not in page
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id)
    assert "/imports/uploads" in admin.get("/imports").text
    viewer = side_pages(app, cast, email=cast.colleague.email)
    page = viewer.get("/imports").text
    assert "/imports/uploads" not in page
    assert "Your role is viewer" in page
    assert viewer.get("/imports/new").status_code == 403


def test_an_account_is_read_previewed_imported_and_reported(
    admin: SidePages, shop: Shop, pro: str, cast: Cast
) -> None:
    runtime = shop.runtime
    named = subscribed(shop, pro, metadata={"user_id": "user_1"})
    nobody = subscribed(shop, pro, email="nobody@example.com")
    other: Any = {
        "unit_amount": 900,
        "currency": "usd",
        "recurring": {"interval": "month"},
        "product_data": {"name": "Old plan"},
    }
    unmapped = shop.stripe.v1.prices.create(other).id
    old = subscribed(shop, unmapped, metadata={"user_id": "user_2"})

    form = admin.form("/imports", "/imports/uploads")
    sent = {"csrf_token": form.fields["csrf_token"], "metadata_keys": "user_id, user"}
    answer = admin.client.post(form.action, data=sent, content_type="multipart/form-data")
    page = str(answer.headers["Location"]).partition(admin.base)[2]
    reading = admin.get(page).text
    assert "Reading subscriptions" in reading
    assert 'hx-trigger="every 2s"' in reading
    fragment = admin.get(f"{page}/progress", headers=HTMX)
    assert fragment.status_code == 200
    assert "<html" not in fragment.text
    assert admin.get(f"{page}/progress").status_code == 303
    assert admin.get("/imports/new").text.count("An import is open") == 1
    carried_on(runtime)
    over = admin.get(f"{page}/progress", headers=HTMX)
    assert over.headers["HX-Redirect"].endswith(page)

    preview = admin.get(page).text
    assert "1 purchase is ready to import" in preview
    assert "2 are not imported" in preview
    assert named.id in preview
    assert "Matched by the Stripe customer’s metadata." in preview
    assert nobody.id not in preview
    assert nobody.id in admin.get(f"{page}?show=unmatched").text
    everything = admin.get(f"{page}?show=").text
    assert all(each.id in everything for each in (named, nobody, old))
    found = admin.get(f"{page}?show=&search=nobody@").text
    assert nobody.id in found
    assert named.id not in found
    assert "Nothing matches" in admin.get(f"{page}?search=%25").text
    prices = admin.get(f"{page}?show=price_not_mapped").text
    assert "Old plan" in prices
    assert f"/products/new?price_id={unmapped}" in prices

    answer = sent_form(admin, page, "/run")
    assert answer.status_code == 303
    assert "Importing" in admin.get(page).text
    carried_on(runtime)
    report = admin.get(page).text
    assert "1 purchase was imported" in report
    assert "run by" in report
    assert "/customers?search=user_1" in report
    assert old.id in admin.get(f"{page}?show=price_not_mapped").text
    with runtime.database.read() as db:
        assert len(db.exec(select(Entitlement)).all()) == 1
        done = db.exec(select(AuditEntry.action).where(AuditEntry.about == page.rpartition("/")[2])).all()
    assert set(done) == {"import.start", "import.run"}
    again = started(admin, runtime, metadata_keys="user_id")
    assert named.id in admin.get(f"{again}?show=here_already").text
    assert "Other imports" in admin.get("/imports").text


def test_a_person_decides_what_is_ambiguous(admin: SidePages, shop: Shop, pro: str, cast: Cast) -> None:
    runtime = shop.runtime
    proposed = [subscribed(shop, pro, email=f"known{number}@example.com") for number in range(3)]
    twice = subscribed(shop, pro, email="twice@example.com")
    with runtime.database.write() as db:
        for number in range(3):
            make_subject(
                db,
                project_id=cast.project_id,
                subject_ref=f"known_{number}",
                email=f"known{number}@example.com",
            )
    lines = f"subject_ref,stripe_subscription_id\nuser_a,{twice.id}\nuser_b,{twice.id}\n"
    page = started(admin, runtime, map_file=a_csv(lines))
    preview = admin.get(page)
    assert "4 purchases are ambiguous" in preview.text
    assert not [form for form in forms_of(preview) if form.action.endswith("/run")]
    assert "Your CSV names more than one customer for it." in preview.text
    refused = admin.client.post(
        f"{admin.base}{page}/run", data={"csrf_token": csrf_token(admin.client, "/account"), "matched": "0"}
    )
    assert refused.status_code == 303
    assert "4 purchases are ambiguous." in admin.get(page).text

    def post(what: str, **values: Any) -> str:
        token = csrf_token(admin.client, "/account")
        back = f"{admin.base}{page}?show=ambiguous"
        data = {"csrf_token": token, "back": back, **values}
        answer = admin.client.post(f"{admin.base}{page}/{what}", data=data)
        assert answer.status_code == 303
        assert answer.headers["Location"].endswith("?show=ambiguous")
        return str(admin.client.get(answer.headers["Location"]).text)

    assert "Choose a customer" in post("assignment", key=twice.id)
    assert "subject_ref must" in post("assignment", key=twice.id, subject_ref="x\u200b" * 200)
    assert rows_of(runtime)[twice.id].outcome is ImportOutcome.AMBIGUOUS
    assert "Select the purchases first." in post("leaving-out")
    assert "Accept all 3 proposals by e-mail" in admin.get(f"{page}?show=ambiguous").text
    assert "1 purchase is left out." in post("leaving-out", key=twice.id)
    assert "3 purchases are matched by e-mail address." in post("proposals")
    assert "Take in the selected again" in admin.get(f"{page}?show=left_out").text
    assert "1 purchase is taken in again." in post("leaving-out", key=twice.id, out="0")
    assert "1 purchase is ambiguous" in admin.get(page).text
    assert f"{twice.id} is assigned to user_b." in post("assignment", key=twice.id, candidate="user_b")
    assert "1 purchase is left out." in post("leaving-out", key=proposed[0].id)
    decided = {key: (row.outcome, row.subject_ref, row.left_out) for key, row in rows_of(runtime).items()}
    assert decided == {
        twice.id: (ImportOutcome.MATCHED, "user_b", False),
        proposed[0].id: (ImportOutcome.MATCHED, "known_0", True),
        proposed[1].id: (ImportOutcome.MATCHED, "known_1", False),
        proposed[2].id: (ImportOutcome.MATCHED, "known_2", False),
    }
    assert "3 purchases are ready to import" in admin.get(page).text


def test_nobody_is_asked_for_what_another_project_sold(admin: SidePages, shop: Shop, pro: str) -> None:
    mine = subscribed(shop, pro)
    others = shop.stripe.v1.subscriptions.create(
        {
            "customer": str(mine.customer),
            "items": [{"price": pro}],
            "metadata": {"licenzy_project": "prj_another"},
        }
    )
    preview = admin.get(f"{started(admin, shop.runtime)}?show=unmatched")
    assert "Another project of Licenzy’s sold it." in preview.text
    assert f"The subject_ref for {mine.id}" in preview.text
    assert f"The subject_ref for {others.id}" not in preview.text


def test_other_keys_files_and_prices_match_again(
    admin: SidePages, shop: Shop, pro: str, sell: Callable[..., Product]
) -> None:
    runtime = shop.runtime
    one = subscribed(shop, pro, metadata={"uid": "user_1"})
    two = subscribed(shop, pro)
    page = started(admin, runtime)
    assert "No purchase is matched." in admin.get(page).text
    assert sent_form(admin, page, "/keys", metadata_keys="uid").status_code == 303
    carried_on(runtime)
    assert "1 purchase is ready" in admin.get(page).text
    for wrong, said in (
        (a_csv("email\nx@example.com\n"), "must name the columns subject_ref"),
        (a_csv("subject_ref,email\n"), "no line below its header"),
        ((io.BytesIO(b"\x00\x01"), "a.csv"), "The file is not a CSV."),
        ((io.BytesIO(b""), ""), "Choose a CSV file."),
    ):
        answer = sent_form(admin, page, f"{page}/uploads", file=wrong)
        assert answer.status_code == 422
        assert said in answer.text
    good = a_csv(f"subject_ref,stripe_subscription_id\nuser_2,{two.id}\n", "mine <b>.csv")
    assert sent_form(admin, page, f"{page}/uploads", file=good).status_code == 303
    carried_on(runtime)
    preview = admin.get(page).text
    assert "2 purchases are ready" in preview
    assert "mine &lt;b&gt;.csv" in preview
    assert {rows_of(runtime)[each.id].subject_ref for each in (one, two)} == {"user_1", "user_2"}
    assert sent_form(admin, page, "/keys", metadata_keys="k" * 41).status_code == 422
    assert sent_form(admin, page, "/stop").status_code == 303
    assert "Nothing was imported" in admin.get(page).text
    answer = sent_form(
        admin, "/imports/new", "/imports/uploads", metadata_keys="user", map_file=a_csv("a\n1\n")
    )
    assert answer.status_code == 422
    assert "must name the columns" in answer.text
    assert 'value="user"' in answer.text
    answer = sent_form(admin, "/imports/new", "/imports/uploads", payments_since="1999-12-31")
    assert answer.status_code == 422


def test_a_price_mapped_meanwhile_is_matched_again(
    admin: SidePages, shop: Shop, pro: str, sell: Callable[..., Product]
) -> None:
    runtime = shop.runtime
    params: Any = {
        "unit_amount": 900,
        "currency": "usd",
        "recurring": {"interval": "month"},
        "product_data": {"name": "Old plan"},
    }
    price = shop.stripe.v1.prices.create(params).id
    subscribed(shop, price, metadata={"user_id": "user_1"})
    page = started(admin, runtime, metadata_keys="user_id")
    assert "was mapped since" not in admin.get(page).text
    sell("OLD", Kind.SUBSCRIPTION, stripe_price_id=price)
    assert "1 price was mapped since" in admin.get(page).text
    assert sent_form(admin, page, "/matching").status_code == 303
    carried_on(runtime)
    assert "1 purchase is ready" in admin.get(page).text


def test_files_wait_for_their_turn(admin: SidePages, shop: Shop, pro: str) -> None:
    page = started(admin, shop.runtime)
    unread = [admin.send(page, "/purchases/export", {}) for _ in range(2)]
    assert admin.send(page, "/purchases/export", {}).status_code == 429
    for each in unread:
        each.close()
    assert admin.send(page, "/purchases/export", {}).status_code == 200
    with shop.runtime.database.read() as db:
        recorded = db.exec(select(AuditEntry).where(AuditEntry.action == "import.exported")).all()
    assert len(recorded) == 3, "what was refused is no export"


def test_files_hold_everything_and_no_formula(admin: SidePages, shop: Shop, pro: str) -> None:
    runtime = shop.runtime
    bad = subscribed(shop, pro, email="=cmd@example.com", metadata={"user_id": "=1+1"})
    others = [subscribed(shop, pro, metadata={"user_id": f"user_{number}"}) for number in range(27)]
    page = started(admin, runtime, metadata_keys="user_id")
    first = admin.get(page).text
    assert 'rel="next"' in first
    answer = admin.send(page, "/purchases/export", {})
    with runtime.database.read() as db:
        (entry,) = db.exec(select(AuditEntry).where(AuditEntry.action == "import.exported")).all()
    assert (entry.about, entry.after) == (page.rsplit("/", 1)[1], {"file": "purchases"})
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.mimetype == "text/csv"
    text = answer.data.decode("utf-8")
    assert text.startswith("\ufeff")
    lines = list(csv.DictReader(io.StringIO(text[1:])))
    assert {line["purchase"] for line in lines} == {bad.id, *(each.id for each in others)}
    (line,) = (each for each in lines if each["purchase"] == bad.id)
    assert line["subject_ref"] == "'=1+1"
    assert line["email"] == "'=cmd@example.com"
    template = admin.get("/imports/templates/customers.csv").data.decode()
    assert "subject_ref,stripe_subscription_id,stripe_customer_id,email,unit,used_units" in template
    assert "product_code" in admin.get("/imports/templates/access.csv").data.decode()
    assert admin.get("/imports/templates/x.csv").status_code == 404


def test_the_merchants_list_is_compared(admin: SidePages, shop: Shop, pro: str) -> None:
    runtime = shop.runtime
    for number in range(2):
        subscribed(shop, pro, metadata={"user_id": f"user_{number}"})
    page = started(admin, runtime, metadata_keys="user_id")
    assert admin.get(f"{page}/differences").status_code == 303
    data = {"csrf_token": csrf_token(admin.client, "/account")}
    assert admin.client.post(f"{admin.base}{page}/differences/export", data=data).status_code == 404
    mine = a_csv("subject_ref,product_code\nuser_0,PRO\nuser_9,PRO\n", "mine.csv")
    answer = sent_form(admin, page, "/access-list/uploads", file=mine)
    assert answer.headers["Location"].endswith(f"{page}/differences")
    shown = admin.get(f"{page}/differences").text
    assert "2 differences" in shown
    assert "user_9" in shown
    assert "user_1" in shown
    assert "user_0" not in shown
    text = admin.send(f"{page}/differences", "/differences/export", {}).data.decode("utf-8-sig")
    found = {
        (line["subject_ref"], line["your_list"], line["licenzy"])
        for line in csv.DictReader(io.StringIO(text))
    }
    assert found == {("user_9", "access", "no access"), ("user_1", "no access", "access")}
    assert sent_form(admin, page, "/access-list/uploads", file=a_csv("x\n1\n")).status_code == 422
    sent_form(admin, page, "/run")
    carried_on(runtime)
    same = a_csv("subject_ref,product_code\nuser_0,PRO\nuser_1,PRO\n", "same.csv")
    assert sent_form(admin, page, "/access-list/uploads", file=same).status_code == 303
    assert "No difference" in admin.get(f"{page}/differences").text


def test_a_long_preview_is_compared_by_the_command(
    admin: SidePages, shop: Shop, pro: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed(shop, pro, metadata={"user_id": "user_1"})
    page = started(admin, shop.runtime, metadata_keys="user_id")
    monkeypatch.setattr(views, "MOST_COMPARED", 0)
    refused = sent_form(admin, page, "/access-list/uploads", file=a_csv("subject_ref\nuser_1\n"))
    assert refused.status_code == 422
    assert "licenzy import with --compare and --dry-run" in refused.text


def test_stripe_that_refuses_is_said_with_when_it_is_tried_again(
    admin: SidePages, shop: Shop, pro: str
) -> None:
    subscribed(shop, pro)
    shop.inject_faults(http_500=50)
    page = started(admin, shop.runtime)
    shown = admin.get(page).text
    assert "The last request to Stripe failed" in shown
    assert "tries again in" in shown
    assert "Reading subscriptions" in shown


def test_in_live_the_projects_name_is_typed(app: Flask, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        connection = make_connection(
            db, project_id=cast.project_id, mode=Mode.LIVE, secret_box=runtime.secret_box
        )
        here: dict[str, Any] = {"project_id": cast.project_id, "mode": Mode.LIVE}
        import_ = Import(
            id=new_id("imp"),
            connection_id=connection.id,
            step=ImportStep.PREVIEW,
            rows=1,
            started_at=START,
            **here,
        )
        db.add(import_)
        db.add(
            ImportRow(
                import_id=import_.id,
                key="sub_1",
                number=0,
                status="active",
                made_at=START,
                outcome=ImportOutcome.MATCHED,
                subject_ref="user_1",
                **here,
            )
        )
    pages = side_pages(app, cast, mode="live")
    page = f"/imports/{import_.id}"
    answer = pages.send(page, "/run", {"typed": "something"})
    assert answer.status_code == 422
    assert "That is not the project’s name." in answer.text
    stale = pages.send(page, "/run", {"typed": "Our project", "matched": "2"})
    assert stale.status_code == 303
    assert "has changed since this page was opened" in pages.get(page).text
    with runtime.database.read() as db:
        assert db.get_one(Import, (cast.project_id, Mode.LIVE, import_.id)).step is ImportStep.PREVIEW
        name = db.exec(select(Import.started_at)).one()
    assert name == START
    assert side_pages(app, cast).get(page).status_code == 404
    assert pages.send(page, "/run", {"typed": project_name(runtime, cast)}).status_code == 303
    with runtime.database.read() as db:
        assert db.get_one(Import, (cast.project_id, Mode.LIVE, import_.id)).step is ImportStep.RUN


def project_name(runtime: Runtime, cast: Cast) -> str:
    from licenzy.projects.models import Project

    with runtime.database.read() as db:
        return db.get_one(Project, cast.project_id).name


def test_large_files_are_for_uploads_only(admin: SidePages, shop: Shop, pro: str) -> None:
    page = started(admin, shop.runtime)
    form = admin.form(page, f"{page}/uploads")
    megabyte = b"x" * 1024 * 1024
    # Made by hand: of a large one the test client would leave a file open.
    fields = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.fields.items()
        if name != "file"
    )
    head = f'{fields}--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    inside = head.encode() + b"subject_ref,email\n" + megabyte * 20 + b"\r\n--x--\r\n"
    multipart = "multipart/form-data; boundary=x"
    answer = admin.client.post(form.action, data=inside, content_type=multipart)
    assert answer.status_code == 422
    assert "The CSV is larger than 20 MB." in answer.text
    answer = admin.client.post(form.action, data=megabyte * 21, content_type=multipart)
    assert answer.status_code == 413
    assert "The file is larger than 20 MB. Nothing was changed. Split it into smaller files." in answer.text
    keys = admin.form(page, "/keys")
    answer = admin.client.post(keys.action, data={**keys.fields, "metadata_keys": "k" * 70_000})
    assert answer.status_code == 413
    assert "20 MB" not in answer.text
