"""Applying a file over the sandbox: what is created, changed, retired, archived, and what is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import Result
from sqlmodel import col, select

from licenzy.catalog import prices, queries
from licenzy.catalog.models import Kind, ProductTerms
from licenzy.entitlements.holders import changes_of
from licenzy.entitlements.models import TermChange
from licenzy.runtime import Runtime
from licenzy.workspace.models import AuditEntry
from tests.configuration.conftest import Shop, command_line
from tests.support.cast import make_product, make_project, make_subject, make_workspace
from tests.support.clock import StandingClock
from tests.support.holders import make_holders
from tests.support.purchases import make_entitlement

PRO = """
[[product]]
code = "PRO"
kind = "subscription"
features = ["export"]
grace_days = 3

  [[product.price]]
  label = "month"
  lookup_key = "licenzy_demo_pro_monthly"

  [[product.price]]
  label = "year"
  lookup_key = "licenzy_demo_pro_yearly"
"""
PACK = """
[[product]]
code = "CREDITS"
kind = "usage_pack"
units = 1000
price = [{ lookup_key = "licenzy_demo_credits_1000" }]
"""
HOOKS = """
[[endpoint]]
url = "https://example.com/hooks"
types = ["entitlement.updated"]
"""


def actions(shop: Shop, about: str) -> list[str]:
    with shop.runtime.database.read() as db:
        entries = select(AuditEntry).where(AuditEntry.about == about).order_by(col(AuditEntry.id))
        return [each.action for each in db.exec(entries)]


def acts(report: dict[str, Any]) -> dict[str, str]:
    products = {each["product_code"]: each["action"] for each in report["products"]}
    return products | {each["url"]: each["action"] for each in report["endpoints"]}


def test_a_file_is_applied_once_and_then_there_is_nothing_to_do(shop: Shop) -> None:
    first = shop.apply(PRO + PACK + HOOKS)
    assert first.exit_code == 0, first.output
    assert "create    product PRO" in first.stdout
    assert 'features: ["export"]' in first.stdout
    assert "The changes are made." in first.stdout
    monthly, yearly = shop.price("licenzy_demo_pro_monthly"), shop.price("licenzy_demo_pro_yearly")
    pro = shop.product("PRO")
    assert shop.selling("PRO") == {"month": monthly, "year": yearly}
    assert (pro.features, pro.grace_days, pro.terms_version) == (["export"], 3, 1)
    assert shop.product("CREDITS").units == 1000
    assert [each.url for each in shop.endpoints()] == ["https://example.com/hooks"]
    assert actions(shop, pro.id) == ["product.created", "product.price_added"]
    again = shop.apply(PRO + PACK + HOOKS)
    assert again.exit_code == 0
    assert "There is nothing to change." in again.stdout
    assert "whsec_" not in again.stdout
    assert actions(shop, pro.id) == ["product.created", "product.price_added"]
    assert acts(shop.applied(PRO + PACK + HOOKS)) == {
        "PRO": "unchanged", "CREDITS": "unchanged", "https://example.com/hooks": "unchanged",
    }  # fmt: skip


def test_a_dry_run_changes_nothing_and_exits_with_one_on_a_difference(shop: Shop) -> None:
    result = shop.apply(PRO + HOOKS, "--dry-run")
    assert (result.exit_code, shop.codes(), shop.endpoints()) == (1, [], [])
    assert "create    product PRO" in result.stdout
    assert result.stdout.endswith("Nothing was changed.\n")
    shop.applied(PRO + HOOKS)
    again = shop.apply(PRO + HOOKS, "--dry-run")
    assert (again.exit_code, again.stdout.endswith("There is nothing to change.\n")) == (0, True)
    assert shop.differs(PRO.replace("grace_days = 3", "grace_days = 4"))
    assert shop.product("PRO").grace_days == 3


def test_a_change_is_shown_field_by_field_and_makes_the_next_version_of_the_terms(shop: Shop) -> None:
    shop.applied(PRO)
    changed = PRO.replace('["export"]', '["export", "api"]').replace("grace_days = 3\n", "")
    result = shop.apply(changed)
    assert 'features: ["export"] → ["export", "api"]' in result.stdout
    assert "grace_days: 3 → not set" in result.stdout
    assert "grace_days: not set → 3" in shop.apply(PRO, "--dry-run").stdout
    pro = shop.product("PRO")
    assert (pro.features, pro.grace_days, pro.terms_version) == (["export", "api"], 0, 2)
    with shop.runtime.database.read() as db:
        versions = db.exec(select(ProductTerms.version).where(ProductTerms.product_id == pro.id)).all()
    assert sorted(versions) == [1, 2]
    assert actions(shop, pro.id)[-1] == "product.changed"


def test_what_does_not_change_the_terms_makes_no_version(shop: Shop) -> None:
    shop.applied(PRO)
    shop.applied(PRO.replace("grace_days = 3", "grace_days = 3\ntrial = { days = 14 }\nautomatic_tax = true"))
    pro = shop.product("PRO")
    assert (pro.trial_days, pro.automatic_tax, pro.terms_version) == (14, True, 1)


def test_a_price_that_the_entry_leaves_out_is_retired_by_pruning(shop: Shop) -> None:
    shop.applied(PRO)
    yearly = shop.price("licenzy_demo_pro_yearly")
    without = PRO[: PRO.index('  [[product.price]]\n  label = "year"')]
    assert shop.applied(without)["products"][0]["action"] == "unchanged"
    result = shop.apply(without, "--prune")
    assert f"price year: {yearly} is retired" in result.stdout
    assert list(shop.selling("PRO")) == ["month"]
    assert [each.stripe_price_id for each in shop.product("PRO").prices if not each.selling] == [yearly]
    report = shop.applied(PRO)
    assert [(each["action"], each["label"]) for each in report["products"][0]["prices"]] == [("add", "year")]
    assert shop.selling("PRO")["year"] == yearly
    assert len(shop.product("PRO").prices) == 2


def test_labels_change_also_in_a_circle(shop: Shop) -> None:
    shop.applied(PRO)
    before = shop.selling("PRO")
    report = shop.applied(PRO.replace('"month"', '"monthly"'))
    assert [(each["action"], each["former_label"]) for each in report["products"][0]["prices"]] == [
        ("label", "month")
    ]
    assert shop.selling("PRO") == {"monthly": before["month"], "year": before["year"]}
    assert actions(shop, shop.product("PRO").id)[-1] == "product.price_labelled"
    swapped = PRO.replace('"month"', '"x"').replace('"year"', '"month"').replace('"x"', '"year"')
    shop.applied(PRO)
    shop.applied(swapped)
    assert shop.selling("PRO") == {"year": before["month"], "month": before["year"]}
    assert not shop.differs(swapped)


def test_a_label_is_taken_over_from_a_price_that_leaves(shop: Shop) -> None:
    shop.applied(PRO)
    before = shop.selling("PRO")
    only_month = PRO[: PRO.index('  [[product.price]]\n  label = "year"')].replace('"month"', '"year"')
    shop.applied(only_month)
    assert shop.selling("PRO") == {"year": before["month"]}


def test_a_lookup_key_that_moved_in_stripe_takes_the_label_along(shop: Shop) -> None:
    shop.applied(PRO)
    before = shop.selling("PRO")
    made = shop.stripe(
        "/prices",
        **{
            "unit_amount": "1500",
            "currency": "usd",
            "recurring[interval]": "month",
            "product_data[name]": "Pro",
            "lookup_key": "licenzy_demo_pro_monthly",
            "transfer_lookup_key": "true",
        },
    )
    result = shop.apply(PRO, "--dry-run")
    assert result.exit_code == 1
    shown = f"price month: {before['month']} → {made['id']}, and {before['month']} is retired"
    assert shown in result.stdout
    shop.applied(PRO)
    assert shop.selling("PRO") == {"month": made["id"], "year": before["year"]}
    retired = [each.stripe_price_id for each in shop.product("PRO").prices if not each.selling]
    assert retired == [before["month"]]


def test_an_archived_product_is_sold_again(shop: Shop) -> None:
    shop.applied(PRO + PACK)
    report = shop.applied(PACK, "--prune")
    assert acts(report) == {"CREDITS": "unchanged", "PRO": "archive"}
    assert shop.codes() == ["CREDITS"]
    assert not shop.differs(PACK, "--prune")
    report = shop.applied(PRO.replace("grace_days = 3", "grace_days = 5"))
    assert acts(report) == {"PRO": "restore"}
    assert report["products"][0]["fields"] == [{"key": "grace_days", "before": 3, "after": 5}]
    assert shop.codes() == ["CREDITS", "PRO"]
    assert shop.product("PRO").grace_days == 5
    assert "product.restored" in actions(shop, shop.product("PRO").id)


def test_what_stands_in_no_file_is_left_alone_without_prune(shop: Shop) -> None:
    shop.applied(PRO + HOOKS)
    assert acts(shop.applied(PACK)) == {"CREDITS": "create"}
    assert shop.codes() == ["CREDITS", "PRO"]
    assert [each.disabled_at for each in shop.endpoints()] == [None]
    assert acts(shop.applied(PACK, "--prune")) == {
        "CREDITS": "unchanged", "PRO": "archive", "https://example.com/hooks": "disable",
    }  # fmt: skip
    (hook,) = shop.endpoints()
    assert hook.disabled_at is not None
    assert acts(shop.applied(HOOKS)) == {"https://example.com/hooks": "restore"}
    assert shop.endpoints()[0].disabled_at is None


def test_an_empty_file_prunes_nothing(shop: Shop) -> None:
    shop.applied(PRO)
    refused = shop.refused("# nothing\n", "--prune")
    assert refused == "shop.toml: An empty file cannot be applied with --prune. Add an entry to it."
    assert shop.codes() == ["PRO"]
    assert not shop.differs("")


def test_an_endpoint_is_changed_by_its_address(shop: Shop) -> None:
    secret = shop.applied(HOOKS)["secrets"][0]
    (made,) = shop.endpoints()
    assert (secret["endpoint_id"], secret["url"]) == (made.id, made.url)
    assert secret["secret"].startswith("whsec_")
    more = HOOKS.replace('["entitlement.updated"]', '["usage.low", "entitlement.updated"]')
    report = shop.applied(more + 'description = "Staging"\n')
    assert report["secrets"] == []
    assert report["endpoints"][0]["fields"] == [
        {
            "key": "types",
            "before": ["entitlement.updated"],
            "after": ["entitlement.updated", "usage.low"],
        },
        {"key": "description", "before": None, "after": "Staging"},
    ]
    (changed,) = shop.endpoints()
    assert (changed.id, changed.types, changed.description) == (
        made.id,
        ["entitlement.updated", "usage.low"],
        "Staging",
    )


def test_the_report_for_programs_has_these_fields(shop: Shop) -> None:
    report = shop.applied(PRO + HOOKS)
    assert set(report) == {
        "project_id", "mode", "applied", "different", "products", "endpoints", "created_prices", "secrets",
    }  # fmt: skip
    assert (report["project_id"], report["mode"]) == (shop.side.project_id, "test")
    assert (report["applied"], report["different"]) == (True, True)
    (product,), (endpoint,) = report["products"], report["endpoints"]
    assert set(product) == {"action", "product_code", "fields", "holders", "prices"}
    assert set(product["fields"][0]) == {"key", "before", "after"}
    assert set(product["prices"][0]) == {"action", "label", "stripe_price_id", "former_label", "retires"}
    assert set(endpoint) == {"action", "url", "endpoint_id", "fields", "secret_changes"}
    assert set(report["secrets"][0]) == {"endpoint_id", "url", "secret"}
    again = shop.applied(PRO + HOOKS)
    assert (again["applied"], again["different"]) == (True, False)


def test_the_projects_of_others_and_the_other_mode_are_untouched(shop: Shop) -> None:
    shop.applied(PRO)
    for mode, project_id in (("live", shop.cast.project_id), ("test", shop.cast.stranger.project_id)):
        result = shop.run("export", "--project", project_id, "--mode", mode)
        assert (result.exit_code, result.stdout) == (0, "")
    result = shop.run("apply", shop.file(PACK), "--mode", "test")
    assert result.exit_code == 2
    assert f"{shop.cast.project_id} (Our project)" in result.stderr
    assert shop.codes() == ["PRO"]


def test_the_only_project_needs_no_option(runtime: Runtime, tmp_path: Path, clock: StandingClock) -> None:
    def run(*arguments: str) -> Result:
        return command_line(runtime, *arguments)

    nowhere = run("export")
    assert (nowhere.exit_code, nowhere.stderr) == (
        1,
        "Error: There is no project yet. Create one in the portal.\n",
    )
    with runtime.database.write() as db:
        only = make_project(db, workspace_id=make_workspace(db), name="Tea shop")
    file = tmp_path / "shop.toml"
    file.write_text(HOOKS)
    report = json.loads(run("apply", str(file), "--json").stdout)
    assert (report["project_id"], report["mode"]) == (only, "test")
    assert run("export").stdout == HOOKS.lstrip()
    assert "This project does not exist." in run("export", "--project", "prj_nowhere").stderr
    with runtime.database.write() as db:
        other = make_project(db, workspace_id=make_workspace(db), name="Another shop")
    several = run("export")
    assert several.exit_code == 2
    assert several.stderr.endswith(
        f"Give --project, because there are several projects: {only} (Tea shop), {other} (Another shop).\n"
    )


def test_a_file_that_cannot_be_read(unconnected: Shop) -> None:
    result = unconnected.run("apply", "/no/such/file.toml", "--project", unconnected.side.project_id)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: /no/such/file.toml: The file cannot be read: No such file or directory.\n",
    )


def test_a_price_of_another_product_is_refused_before_anything_is_written(shop: Shop) -> None:
    shop.applied(PRO)
    taking = PACK + PRO.replace('"PRO"', '"OTHER"')
    sentence = "shop.toml: product OTHER, price month: PRO has this price. Pick another price."
    assert shop.refused(taking, "--dry-run") == sentence
    assert shop.refused(taking) == sentence
    assert shop.codes() == ["PRO"]


def test_a_price_that_two_products_share_since_earlier_versions_stays_theirs(shop: Shop) -> None:
    shop.applied(PRO)
    pro = shop.product("PRO")
    with shop.runtime.database.write() as db:
        for code in ("A_TWIN", "Z_TWIN"):
            make_product(
                db,
                project_id=shop.side.project_id,
                product_code=code,
                label="month",
                stripe_price_id=shop.selling("PRO")["month"],
                lookup_key="licenzy_demo_pro_monthly",
            )
    written = shop.exported()
    assert written.count(f'stripe_price = "{shop.selling("PRO")["month"]}"') == 3
    assert not shop.differs(written)
    with shop.runtime.database.write() as db:
        month = next(each for each in pro.prices if each.label == "month")
        prices.retire_price(
            db, shop.side, product_id=pro.id, price_id=month.id, actor=shop.actor, now=shop.clock()
        )
    assert shop.differs(written)
    shop.applied(written)
    assert shop.selling("PRO")["month"] == month.stripe_price_id


def test_a_price_does_not_fit_the_kind(shop: Shop) -> None:
    wrong = PACK.replace("credits_1000", "pro_monthly")
    assert shop.refused(HOOKS + wrong) == (
        "shop.toml: product CREDITS, price default: A usage pack needs a price that is paid once, "
        "and this one recurs."
    )
    assert (shop.codes(), shop.endpoints()) == ([], [])


def test_the_kind_of_a_product_never_changes(shop: Shop) -> None:
    shop.applied(PACK)
    other = PACK.replace('"usage_pack"\nunits = 1000', '"time_pass"\nduration = { days = 1 }')
    assert shop.refused(other) == (
        "shop.toml: product CREDITS: The kind of a product cannot change from usage_pack to time_pass. "
        "Use another code."
    )


def test_without_a_connection_a_price_cannot_be_found(unconnected: Shop) -> None:
    assert unconnected.refused(PRO) == (
        "No Stripe key is saved in this mode. Connect Stripe for this mode in the portal."
    )
    assert unconnected.applied(HOOKS)["endpoints"][0]["action"] == "create"


def test_the_unit_of_a_pack_changes_until_somebody_has_it(shop: Shop) -> None:
    images = PACK.replace("units = 1000", 'unit = "images"\nunits = 1000')
    shop.applied(PACK)
    assert 'unit: not set → "images"' in shop.apply(images).stdout
    assert shop.product("CREDITS").unit == "images"
    assert not shop.differs(images)
    with shop.runtime.database.write() as db:
        subject = make_subject(db, project_id=shop.side.project_id)
        make_entitlement(db, subject=subject, product_code="CREDITS", kind=Kind.USAGE_PACK, unit="images")
    refused = shop.apply(PACK)
    assert refused.exit_code == 1
    assert "product CREDITS: unit: Customers have this product, so its unit stays images." in refused.output
    assert shop.product("CREDITS").unit == "images"


FREE = """
[[product]]
code = "FREE"
kind = "free"
default = true
limits = { "api.calls" = 5, projects = "unlimited" }
"""


def test_a_default_product_is_made_changed_and_replaced(shop: Shop) -> None:
    made = shop.applied(
        PACK.replace("units = 1000", "units = 1000\nlimits = { projects = 2 }\nadds = true") + FREE
    )
    assert acts(made) == {"CREDITS": "create", "FREE": "create"}
    assert 'limits = { "api.calls" = 5, projects = "unlimited" }' in shop.exported()
    assert not shop.differs(shop.exported())
    other = FREE.replace('"FREE"', '"BASIC"')
    refused = shop.apply(other, "--dry-run")
    assert refused.exit_code == 1
    assert "FREE is the default product of this mode. Turn that off there first." in refused.stderr
    both = FREE.replace("default = true", "") + other
    assert acts(shop.applied(both)) == {"BASIC": "create", "FREE": "change"}
    back = FREE + other.replace("default = true", "")
    assert acts(shop.applied(back)) == {"BASIC": "change", "FREE": "change"}
    pruned = shop.applied(other, "--prune")
    assert acts(pruned) == {"BASIC": "change", "CREDITS": "archive", "FREE": "archive"}
    restored = shop.applied(FREE.replace("default = true", "") + other)
    assert acts(restored) == {"BASIC": "unchanged", "FREE": "restore"}


# --- terms for holders -------------------------------------------------------------------------------------

NOW = PRO.replace("grace_days = 3", 'grace_days = 3\nholders = "now"')


def asked(shop: Shop) -> list[TermChange]:
    with shop.runtime.database.read() as db:
        return changes_of(db, shop.side, product_id=shop.product("PRO").id)


def test_terms_for_holders_are_counted_first_and_given_once(shop: Shop) -> None:
    shop.applied(NOW)
    assert asked(shop) == [], "nobody has a product that is new"
    with shop.runtime.database.write() as db:
        (product,) = queries.products(db, shop.side)
        make_holders(db, product, 3, now=shop.clock())
    edited = NOW.replace('["export"]', '["export", "api"]')
    shown = shop.apply(edited, "--dry-run")
    assert shown.exit_code == 1
    assert 'features: ["export"] → ["export", "api"]' in shown.output
    assert "holders: 3 entitlements will change" in shown.output
    dry = json.loads(shop.apply(edited, "--dry-run", "--json").stdout)
    assert (dry["products"][0]["holders"], asked(shop)) == (3, [])
    assert shop.applied(edited)["products"][0]["holders"] == 3
    (change,) = asked(shop)
    assert (change.version, change.requested_by, change.state) == (2, None, "running")
    assert shop.applied(edited)["products"][0]["holders"] is None
    assert len(asked(shop)) == 1, "applying again asks for nothing"


def test_an_edit_of_nothing_that_holders_get_is_not_for_them(shop: Shop) -> None:
    shop.applied(NOW)
    report = shop.applied(NOW.replace("grace_days = 3", "grace_days = 3\nautomatic_tax = true"))
    assert (report["products"][0]["action"], report["products"][0]["holders"]) == ("change", None)
    assert asked(shop) == []


def test_products_are_listed_and_shown(shop: Shop) -> None:
    shop.applied(NOW + PACK)
    shop.applied(NOW.replace('["export"]', '["export", "api"]'))
    side = ("--project", shop.side.project_id)
    listed = json.loads(shop.run("products", "list", *side, "--json").stdout)["products"]
    assert [(each["product_code"], each["terms_version"]) for each in listed] == [("CREDITS", 1), ("PRO", 2)]
    assert "PRO  subscription  sold  month, year" in shop.run("products", "list", *side).stdout
    found = json.loads(shop.run("products", "show", *side, "PRO", "--json").stdout)
    assert [price["label"] for price in found["prices"] if price["selling"]] == ["month", "year"]
    assert [each["terms"]["features"] for each in found["terms"]] == [["export"], ["export", "api"]]
    assert [(each["version"], each["state"]) for each in found["term_changes"]] == [(2, "running")]
    shown = shop.run("products", "show", *side, "PRO").stdout
    for words in (
        "price month: price_",
        "$12.00 every month, selling",
        "features: export → export, api",
        "version 2 given to customers: running, 0 of 0 entitlements checked, 0 changed",
    ):
        assert words in shown
    missing = shop.run("products", "show", *side, "NOTHING")
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    assert (
        "There are no products in live mode" in shop.run("products", "list", *side, "--mode", "live").stdout
    )
