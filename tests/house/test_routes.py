"""Every address is classified: guarded by a role, by a key, by a signature, or public on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from licenzy.factory import create_app, load_models
from tests.conftest import make_settings
from tests.support.databases import SqliteFiles

BLUEPRINTS = {"/projects/<": "portal.project.", "/workspaces/<": "portal.workspace."}
CHECKED_INSIDE = {"api": "by the API key", "hooks": "by Stripe's signature"}


@pytest.fixture
def routes(tmp_path: Any, sqlite_files: SqliteFiles) -> Iterator[Flask]:
    load_models()
    application = create_app(make_settings(tmp_path, sqlite_files.fresh(tmp_path)))
    yield application
    application.extensions["licenzy"].database.engine.dispose()


def test_every_route_is_classified(routes: Flask) -> None:
    unclassified = [
        rule.rule
        for rule in routes.url_map.iter_rules()
        if rule.endpoint != "static"
        and rule.endpoint.split(".")[0] not in CHECKED_INSIDE
        and getattr(routes.view_functions[rule.endpoint], "guard", None) is None
    ]
    assert unclassified == []


@pytest.mark.parametrize(("prefix", "blueprint"), BLUEPRINTS.items())
def test_pages_under_a_project_or_workspace_are_never_public(
    routes: Flask, prefix: str, blueprint: str
) -> None:
    public = [
        rule.rule
        for rule in routes.url_map.iter_rules()
        if rule.rule.startswith(prefix)
        and str(getattr(routes.view_functions[rule.endpoint], "guard", "public")) == "public"
    ]
    assert public == []


@pytest.mark.parametrize(("prefix", "blueprint"), BLUEPRINTS.items())
def test_pages_under_a_project_or_workspace_are_on_the_blueprint_that_guards_them(
    routes: Flask, prefix: str, blueprint: str
) -> None:
    under = {rule.endpoint for rule in routes.url_map.iter_rules() if rule.rule.startswith(prefix)}
    assert under
    assert {each for each in under if not each.startswith(blueprint)} == set()
    assert {each for each in under if not hasattr(routes.view_functions[each], "needed_role")} == set()
    marked = {name for name, view in routes.view_functions.items() if hasattr(view, "needed_role")}
    assert {each for each in marked if each.startswith(blueprint)} == under
    assert all(each.startswith(tuple(BLUEPRINTS.values())) for each in marked)


def test_the_documented_addresses_exist(routes: Flask) -> None:
    addresses = {(method, rule.rule) for rule in routes.url_map.iter_rules() for method in rule.methods or ()}
    for method, address in (
        ("POST", "/v1/checkout/session"),
        ("POST", "/v1/access/check"),
        ("GET", "/v1/customer/access/<ref:subject_ref>"),
        ("GET", "/v1/entitlements/<ref:subject_ref>"),
    ):
        assert (method, address) in addresses
    assert any(rule.startswith("/v1/webhooks/stripe/<") for _method, rule in addresses)


def test_slashes_in_paths_never_redirect(routes: Flask) -> None:
    assert routes.url_map.merge_slashes is False
    assert routes.url_map.strict_slashes is False
