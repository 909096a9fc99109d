"""The alignment page and what stands of it elsewhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from licenzy.observations.models import Noticed, StripeProbe
from licenzy.stripe_events.queries import event_by_id
from tests.alignment.fixtures_alignment import ModePair
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import make_connection

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


def pages_of(home: ModePair, mode: str = "test", email: str | None = None) -> SidePages:
    return side_pages(home.app, home.cast, mode=mode, email=email)


def test_an_empty_side_says_where_to_begin(home: ModePair) -> None:
    page = pages_of(home, "live").get("/alignment").text
    assert "Nothing is set up in live mode yet" in page
    assert "Start setup" in page
    assert "alignment-banner" not in pages_of(home, "live").get("").text


def test_an_aligned_side_shows_every_part_with_its_proof(home: ModePair) -> None:
    home.test.align()
    pages = pages_of(home)
    assert pages.send("/alignment", "/alignment/check", {}).status_code == 303
    page = pages.get("/alignment").text
    assert "No problems in test mode" in page
    assert "data-finding" not in page
    for part in ("API key", "Stripe connection", "Stripe account", "Webhook secret", "Products", "Prices"):
        assert part in page
    assert home.test.account.id in page
    assert "Checked test mode with Stripe" in page


def test_while_stripe_is_about_to_be_asked_the_page_looks_again_by_itself(home: ModePair) -> None:
    home.test.connect()
    pages = pages_of(home)
    waiting = pages.get("/alignment", headers={"HX-Request": "true"})
    assert waiting.status_code == 200
    assert "hx-trigger" in waiting.text
    pages.send("/alignment", "/alignment/check", {})
    assert pages.get("/alignment", headers={"HX-Request": "true"}).status_code == 286


def test_stripe_is_asked_soon_when_it_tells_of_a_price_that_is_sold(home: ModePair) -> None:
    home.test.align()
    pages = pages_of(home)
    prices = home.test.account.stripe.prices
    sold, other = prices.list({"limit": 1}).data[0].id, home.test.account.price()
    for price, status, asked in ((other, "ignored", 286), (sold, "applied", 200)):
        pages.send("/alignment", "/alignment/check", {})
        prices.update(price, {"nickname": "Changed"})
        event = home.test.account.event("price.updated")
        assert home.test.deliver(event) == 200
        with home.runtime.database.read() as db:
            kept = event_by_id(db, home.test.scope, event_id=event["id"])
        assert kept is not None
        assert (kept.status.value, kept.note) == (status, NOTES[status])
        assert pages.get("/alignment", headers=HTMX).status_code == asked


NOTES = {
    "ignored": "Access does not depend on price.updated.",
    "applied": "The prices of products are checked with Stripe again.",
}


def test_the_page_stops_looking_again_when_nobody_asks_stripe(home: ModePair) -> None:
    home.test.connect()
    with home.runtime.database.write() as db:
        look = db.get_one(StripeProbe, home.test.connection.id)
        look.due_at = home.clock() - timedelta(minutes=3)
        db.add(look)
    page = pages_of(home).get("/alignment", headers=HTMX)
    assert page.status_code == 286
    assert "hx-trigger" not in page.text
    assert "licenzy worker" in page.text


def test_when_stripe_cannot_be_asked_nobody_says_that_it_was(home: ModePair) -> None:
    home.test.align()
    home.test.account.inject_faults(http_500=99)
    pages = pages_of(home)
    assert pages.send("/alignment", "/alignment/check", {}).status_code == 303
    page = pages.get("/alignment").text
    assert "Checked test mode with Stripe" not in page
    assert "Stripe reported an internal error." in page
    assert "The last check with Stripe failed" in pages.get("/alignment").text
    run = home.app.test_cli_runner().invoke(args=["doctor", "--check", "--json"])
    assert run.exit_code == 1
    assert f"Stripe could not be checked for test mode of {home.project_id}" in run.stderr
    home.test.account.inject_faults()
    pages.send("/alignment", "/alignment/check", {})
    page = pages.get("/alignment").text
    assert "Checked test mode with Stripe" in page
    assert "The last check with Stripe failed" not in page


def test_what_stripe_refuses_in_a_form_is_said_once(home: ModePair) -> None:
    home.test.align()
    home.test.account.inject_faults(http_500=99)
    pages = pages_of(home)
    values = {"subject_ref": "user_1", "product_code": "PRO"}
    refused = pages.send("/setup/purchase", "/setup/purchase", values)
    assert refused.status_code == 422
    assert refused.text.count("Try again in a moment") == 1
    saved = pages.send("/connection", "/connection/key", {"stripe_key": home.test.account.key})
    assert saved.text.count("Try again in a moment") == 1


def test_before_the_first_purchase_every_page_names_the_next_step(home: ModePair) -> None:
    home.live.connect()
    home.live.sell()
    pages = side_pages(home.app, home.cast, mode="live")
    for path in ("/products", "/api-keys", "/customers", "/settings"):
        page = pages.get(path).text
        assert 'class="setup-next"' in page
        assert "set up the webhook</a>" in page
        assert "alignment-banner" not in page
    assert 'data-finding="webhook_secret_missing"' in pages.get("/connection").text
    assert 'data-finding="api_key_missing"' in pages.get("/api-keys").text
    home.live.remap(kind="usage_pack", units=5)
    assert 'data-finding="price_kind_mismatch"' in pages.get("/products").text


def test_what_only_a_word_can_end_is_ended_by_one_and_comes_back(home: ModePair) -> None:
    home.test.align()
    key_id = home.test.make_key()
    watch = home.app.extensions["licenzy_signatures"]
    assert watch is not None
    from licenzy.observations.actions import note_sighting

    def seen() -> None:
        with home.runtime.database.write() as db:
            note_sighting(
                db, home.test.scope, kind=Noticed.BROWSER_CALL, about=key_id, detail="x", now=home.clock()
            )

    seen()
    pages = pages_of(home)
    assert 'data-finding="api_key_in_browser"' in pages.get("/alignment").text
    assert pages.send("/alignment", "/api_key_in_browser/fixed", {}).status_code == 303
    assert "data-finding" not in pages.get("/alignment").text
    seen()
    assert 'data-finding="api_key_in_browser"' in pages.get("/alignment").text


def test_a_state_cannot_be_talked_away(home: ModePair) -> None:
    home.test.connect()
    pages = pages_of(home)
    form = pages.form("/alignment", "/alignment/check")
    refused = pages.client.post(f"{pages.base}/alignment/webhook_secret_missing/fixed", data=form.fields)
    assert refused.status_code == 404


def test_a_viewer_sees_all_and_changes_nothing(home: ModePair) -> None:
    home.test.connect()
    home.test.sell()
    pages = pages_of(home, email=home.cast.colleague.email)
    page = pages.get("/alignment").text
    assert 'data-finding="api_key_missing"' in page
    assert "Check now" not in page
    assert "Mark as fixed" not in page
    assert "Fix it" not in page


def test_nothing_of_a_stranger_s_project_is_found(home: ModePair) -> None:
    with home.runtime.database.write() as db:
        make_connection(
            db,
            project_id=home.cast.stranger.project_id,
            secret_box=home.runtime.secret_box,
            webhook_secret=None,
        )
    assert "data-finding" not in pages_of(home, "live").get("/alignment").text
    foreign = pages_of(home).client.get(f"/projects/{home.cast.stranger.project_id}/test/alignment")
    assert foreign.status_code == 404


def test_the_overlap_of_a_replaced_secret_is_shown_and_ended_with_the_name_typed_in_live(
    home: ModePair,
) -> None:
    home.live.connect()
    home.live.save_secret("whsec_the_first_one_0123456789")
    home.live.save_secret("whsec_the_second_one_0123456789")
    pages = pages_of(home, "live")
    assert "still verifies until" in pages.get("/connection").text
    refused = pages.send("/connection", "/overlap-end", {"typed": "something"})
    assert refused.status_code == 422
    assert pages.send("/connection", "/overlap-end", {"typed": "Our project"}).status_code == 303
    assert "still verifies until" not in pages.get("/connection").text
    home.live.account.price()
    event = home.live.account.event()
    assert home.live.deliver(event, secret="whsec_the_first_one_0123456789") == 400
    assert home.live.deliver(event, secret="whsec_the_second_one_0123456789") == 200


def test_an_event_that_the_replaced_secret_verified_proves_the_present_one_nowhere(home: ModePair) -> None:
    home.test.align()
    said, pages = "before the current signing secret was saved", pages_of(home)
    assert said not in pages.get("/connection").text
    home.test.save_secret("whsec_another_one_0123456789")
    page = pages.get("/connection").text
    assert said in page
    assert "Webhook secret not verified yet" in page


def test_doctor_leaves_with_2_when_it_is_called_wrongly(home: ModePair) -> None:
    run = home.app.test_cli_runner().invoke(args=["doctor", "--nonsense"])
    assert run.exit_code == 2
    plain = home.app.test_cli_runner().invoke(args=["doctor"])
    assert plain.exit_code == 1
    assert "connection_missing in test" in plain.output
    assert str(home.runtime.settings.instance) in plain.output
