"""What giving terms to holders would change, before anybody asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from licenzy.catalog.included import Every, IncludedUnits
from licenzy.catalog.models import Kind
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.holder_preview import HolderPreview, preview_edit, preview_version
from licenzy.errors import NotFound, ProductNotFound
from licenzy.projects.scope import Scope
from tests.entitlements.test_holders import Shop, add_state
from tests.support.cast import Cast
from tests.support.clock import StandingClock


@pytest.fixture
def shop(database: Database, cast: Cast, clock: StandingClock) -> Shop:
    return Shop(database, cast, clock, Kind.SUBSCRIPTION)


def of_version(shop: Shop, version: int) -> HolderPreview:
    with shop.database.read() as db:
        return preview_version(db, shop.scope, product_id=shop.product.id, version=version, now=shop.clock())


def of_edit(shop: Shop, *features: str, **changes: Any) -> HolderPreview:
    draft = Draft("PRO_MONTHLY", Kind.SUBSCRIPTION, "", features=features, **changes)
    with shop.database.read() as db:
        return preview_edit(db, shop.scope, product_id=shop.product.id, draft=draft, now=shop.clock())


def test_all_that_change_are_counted_and_three_are_shown(shop: Shop) -> None:
    shop.sells_to(5)
    preview = of_edit(shop, "v2", "api", grace_days=2)
    assert (preview.version, preview.count, len(preview.examples)) == (2, 5, 3)
    assert [each.subject_ref for each in preview.examples] == [f"user_{n:06}" for n in range(3)]
    for each in preview.examples:
        assert each.version == 1
        assert each.differences == [("features", "v1", "v2, api"), ("grace days", "0", "2")]
        assert each.until_before == each.until_after
    assert shop.versions() == [1] * 5, "nothing is written"


def test_examples_are_of_several_versions(shop: Shop) -> None:
    shop.sells_to(3)
    shop.edits("v2")
    shop.sells_to(1, prefix="b")
    shop.edits("v3")
    preview = of_version(shop, 3)
    assert (preview.count, [each.version for each in preview.examples]) == (4, [1, 2, 1])


def test_what_the_preview_counts_is_what_changes(shop: Shop) -> None:
    shop.sells_to(4)
    shop.edits("v2")
    shop.sells_to(2, prefix="new")
    count = of_version(shop, 2).count
    shop.gives(2)
    assert shop.works_until_done().changed == count == 4
    assert of_version(shop, 2).count == 0
    assert of_version(shop, 1).count == 6


def test_a_saved_draft_has_the_same_digest(shop: Shop) -> None:
    shop.sells_to(1)
    asked, other = of_edit(shop, "v2"), of_edit(shop, "v3")
    assert asked.digest != other.digest
    assert shop.edits("v2") == asked.version
    assert of_version(shop, 2).digest == asked.digest


def test_days_of_grace_move_the_end_of_those_who_are_past_due(shop: Shop) -> None:
    (key,) = shop.sells_to(1)
    add_state(shop, key, status="past_due")
    (example,) = of_edit(shop, "v1", grace_days=5).examples
    assert example.until_before is not None
    assert example.until_after == example.until_before + timedelta(days=5)


def test_one_whose_version_is_not_known_shows_its_features(shop: Shop) -> None:
    shop.sells_to(1)
    (row,) = shop.rows()
    with shop.database.write() as db:
        row.terms_version = None
        db.add(row)
    (example,) = of_edit(shop, "v2").examples
    assert (example.version, example.differences) == (None, [("features", "v1", "v2")])


def test_what_cannot_be_saved_has_no_preview(shop: Shop) -> None:
    with pytest.raises(ProductRefused):
        of_edit(shop, "no good code")
    with pytest.raises(NotFound):
        of_version(shop, 2)


def test_strangers_see_nothing(shop: Shop, cast: Cast) -> None:
    theirs = Scope(cast.stranger.project_id, shop.scope.mode)
    for scope in (theirs, shop.scope.other):
        with shop.database.read() as db, pytest.raises(ProductNotFound):
            preview_version(db, scope, product_id=shop.product.id, version=1, now=shop.clock())


def test_limits_and_included_units_are_shown_in_words(shop: Shop) -> None:
    shop.sells_to(1)
    more = IncludedUnits("images", 2000, Every.MONTH)
    (example,) = of_edit(shop, "v1", limits={"projects": 3}, included=(more,)).examples
    assert example.differences == [
        ("included units", "none", "images: 2,000 each month"),
        ("limits", "none", "projects: 3"),
    ]
    with shop.database.write() as db:
        (row,) = shop.rows()
        row.terms_version, row.limits = None, {"projects": 1, "seats": None}
        db.add(row)
    (example,) = of_edit(shop, "v1", limits={"projects": 3}).examples
    assert example.differences == [("limits", "projects: 1, seats: unlimited", "projects: 3")]
