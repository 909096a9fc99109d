"""What a customer's page shows of included units, and how an operator adjusts them there."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.kit.clock import from_unix
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.included_units import (
    ANCHOR,
    APRIL,
    DAY,
    FEBRUARY,
    HOUR,
    MARCH,
    line,
    of_month,
    of_year,
    sold,
    state,
)
from tests.usage.buying import customer_with, reserve
from tests.usage.test_windows import CARRIED, Holder

pytestmark = pytest.mark.slow


class Shown(Holder):
    """A holder, and the pages that show it."""

    sign_in: Callable[[], SidePages]
    pages: SidePages

    @property
    def path(self) -> str:
        return f"/customers/{self.customer.subject.id}"

    def page(self) -> str:
        page = self.pages.get(self.path)
        if page.status_code == 303:  # The session ended while months went by.
            self.pages = self.sign_in()
            page = self.pages.get(self.path)
        assert page.status_code == 200
        return page.text

    def text(self) -> str:
        """The words of the page, without its tags."""
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.page())).split()).replace(" .", ".")

    def adjusts(self, **values: Any) -> Any:
        return self.pages.send(self.path, "/window-adjustments", {"note": "as agreed", **values})


def shown_to(app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock) -> Shown:
    with database.write() as db:
        make_product(
            db, project_id=cast.project_id, kind=Kind.SUBSCRIPTION, product_code="PRO", included=[line()]
        )
    clock.now = from_unix(ANCHOR)
    holder = Shown(client, customer_with(database, cast), clock)
    holder.sign_in = partial(side_pages, app, cast)
    holder.pages = holder.sign_in()
    return holder


@pytest.fixture
def holder(app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock) -> Shown:
    return shown_to(app, client, database, cast, clock)


def test_a_window_that_nobody_has_used_is_shown(holder: Shown) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    text = holder.text()
    assert "Included images 1,000 of 1,000 images left. Renews 15 Feb 2026." in text
    assert "Usage Images left 1,000 of 1,000 Renews 15 Feb 2026 No usage yet." in text
    page = holder.page()
    assert 'aria-label="Images: 1,000 left"' in page
    assert "Show as a table" not in page


def test_carried_reserved_and_forfeited_units_are_named(holder: Shown) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    assert holder.consumes(300) == (200, 700)
    assert holder.consumes(80, FEBRUARY + DAY) == (200, 1420)
    reserved = reserve(holder.client, holder.customer, 20, unit="images", ttl_seconds=600)
    assert reserved.status_code == 201
    text = holder.text()
    for said in (
        "1,400 of 1,500 images left. 500 of the 1,500 were carried over. Renews 15 Mar 2026."
        " 200 left in the window before were not carried over.",
        "80 used 20 reserved 400 left of those carried over 1,000 left",
        "15 Feb 2026 to 15 Mar 2026 80 1,000 500 —".replace("80 1,000", "80 1,500"),
        "15 Jan 2026 to 15 Feb 2026 300 1,000 0 200",
        "Images left 1,400 of 1,500",
        "PRO included from 15 Feb 2026",
        "80 images",
        "20 images",
    ):
        assert said in text, said
    # The units set aside are free again, on the page as well.
    holder.clock.advance(seconds=601)
    assert "1,420 of 1,500 images left." in holder.text()


def test_carried_units_that_nobody_used_are_lost_with_their_window(holder: Shown) -> None:
    holder.records(of_year(rollover=CARRIED), ANCHOR + HOUR)
    assert holder.consumes(1) == (200, 999)
    assert holder.consumes(100, FEBRUARY) == (200, 1400)
    holder.clock.now = from_unix(MARCH)
    # 400 carried ones, and 500 of the 1,000 of February.
    assert "900 left in the window before were not carried over." in holder.text()
    assert holder.consumes(1, APRIL) == (200, 1499)
    # Of March, which nobody used, no row tells.
    assert "15 Feb 2026 to 15 Mar 2026 100 1,500 500 1,400" in holder.text()


def test_between_periods_the_page_says_why_it_does_not_renew(holder: Shown) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    assert holder.consumes(900) == (200, 100)
    holder.records([state(FEBRUARY, terms, span=(FEBRUARY, MARCH), invoice="in_2")], FEBRUARY + 1)
    text = holder.text()
    assert (
        "100 of 1,000 images left. The next period has not been paid yet."
        " What is left can be used until it is."
    ) in text
    assert "Renews" not in text


def test_what_is_overdrawn_is_explained(holder: Shown) -> None:
    terms = sold(line())
    holder.records(of_month(terms, quantity=3), ANCHOR + HOUR)
    assert holder.consumes(2500) == (200, 500)
    middle = ANCHOR + (FEBRUARY - ANCHOR) // 2
    fall = state(middle, terms, span=(ANCHOR, FEBRUARY), quantity=1, invoice="in_1")
    holder.records([fall], middle)
    assert (
        "0 of 2,500 images left. Renews 15 Feb 2026. 500 more were used than this window includes since it"
        " was reduced. The next window begins with 500 fewer."
    ) in holder.text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pause": "void"}, "1 of 1,000 images used. What is left cannot be used while there is no access."),
        (
            {"status": "canceled", "ended_at": ANCHOR + DAY},
            "1 of 1,000 images used. What was left ended with the entitlement.",
        ),
        (
            {"cancel_at": FEBRUARY - HOUR},
            "999 of 1,000 images left. They end with the entitlement on 15 Feb 2026.",
        ),
    ],
)
def test_units_that_end_or_cannot_be_used(holder: Shown, change: dict[str, Any], said: str) -> None:
    terms = sold(line())
    holder.records(of_month(terms), ANCHOR + HOUR)
    assert holder.consumes(1) == (200, 999)
    holder.records(
        [state(ANCHOR + DAY, terms, span=(ANCHOR, FEBRUARY), invoice="in_1", **change)], ANCHOR + DAY
    )
    assert said in holder.text()


def test_units_of_a_trial(holder: Shown) -> None:
    terms = sold(line(trial_units=50))
    end = ANCHOR + 14 * DAY
    trial = state(ANCHOR, terms, span=(ANCHOR, end), status="trialing", trial_end=end)
    holder.records([trial], ANCHOR + HOUR)
    assert "50 of 50 images left. They are part of the trial, until 29 Jan 2026." in holder.text()


def test_units_of_the_default_product_are_shown_to_who_has_nothing_else(
    holder: Shown, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            kind=Kind.FREE,
            product_code="FREE",
            is_default=True,
            included=[line(units=20, every="day")],
        )
    assert "Usage Images left 20 of 20 Renews 16 Jan 2026 No usage yet." in holder.text()
    assert holder.consumes(7) == (200, 13)
    assert "Images left 13 of 20 Renews 16 Jan 2026" in holder.text()
    holder.records(of_year(), ANCHOR + HOUR)
    assert "Images left 1,000 of 1,000" in holder.text()


def test_many_windows_are_a_strip_of_the_last_twelve(holder: Shown) -> None:
    holder.records(of_year(line(every="day")), ANCHOR + HOUR)
    for number in range(14):
        assert holder.consumes(10, ANCHOR + number * DAY + HOUR)[0] == 200
    page = holder.page()
    assert page.count('class="windows-column ') == 12
    assert 'aria-label="The last 12 windows of images that were used. The table has the numbers."' in page
    assert "17 Jan 2026 to 18 Jan 2026 10 1,000 0 990" in holder.text()


def test_included_units_are_adjusted(holder: Shown, database: Database) -> None:
    holder.records(of_year(line(), line("songs", 20)), ANCHOR + HOUR)
    assert holder.consumes(900) == (200, 100)
    text = holder.text()
    assert "100 of 1,000 images are left. 20 of 20 songs are left. Only this window changes" in text
    assert holder.adjusts(unit="images", units="50", direction="add").status_code == 303
    text = holder.text()
    for said in (
        "Units adjusted.",
        "150 of 1,050 images left.",
        "20 of 20 songs left.",
        "50 included images added manually In the window that began on 15 Jan 2026.",
        "By Owner",
    ):
        assert said in text, said
    refused = holder.adjusts(unit="images", units="151", direction="take")
    assert refused.status_code == 422
    assert "Would remove units that are already used or reserved." in refused.text
    for values, said in (
        ({"unit": "pages", "units": "1"}, "Not a valid choice"),
        ({"unit": "images", "units": ""}, "Enter the number of units."),
        ({"unit": "images", "units": "1", "note": ""}, "Give a reason"),
    ):
        refused = holder.adjusts(**values)
        assert (refused.status_code, said in refused.text) == (422, True), said
    fragment = holder.pages.send(
        holder.path, "/window-adjustments", {"note": "", "unit": "images", "units": "1"}, htmx=True
    )
    assert (fragment.status_code, "<html" in fragment.text) == (422, False)
    assert "150 of 1,050 images are left." in fragment.text
    assert holder.consumes(150) == (200, 0)


def test_in_live_the_ref_is_typed_before_included_units_are_taken(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock
) -> None:
    clock.now = from_unix(ANCHOR)
    holder = Shown(client, customer_with(database, cast, mode=Mode.LIVE), clock)
    holder.pages = side_pages(app, cast, mode="live")
    holder.records(of_year(), ANCHOR + HOUR)
    refused = holder.adjusts(units="5", direction="take", typed="user_12")
    assert refused.status_code == 422
    assert "This does not match the customer’s subject_ref" in refused.text
    assert holder.adjusts(units="5", direction="take", typed="user_123").status_code == 303
    assert "995 of 995 images left." in holder.text()


def test_who_may_adjust_included_units(holder: Shown, app: Flask, cast: Cast) -> None:
    holder.records(of_year(), ANCHOR + HOUR)
    with holder.customer.database.read() as db:
        owned = db.exec(select(Entitlement)).one()
    viewer = side_pages(app, cast, email=cast.colleague.email)
    assert "/window-adjustments" not in viewer.get(holder.path).text
    token = viewer.form("/customers", "/sign-out").fields["csrf_token"]
    sent = {"note": "x", "unit": "images", "units": "1", "direction": "add", "submission_id": "0a"}
    address = f"{viewer.base}{holder.path}/entitlements/{owned.id}/window-adjustments"
    assert viewer.client.post(address, data={**sent, "csrf_token": token}).status_code == 403
