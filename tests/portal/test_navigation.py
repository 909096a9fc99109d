"""The frame of a project's pages: its navigation, its projects, and the time of its sandbox."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection, Provider
from licenzy.portal.navigation import ahead
from licenzy.runtime import Runtime
from licenzy.workspace.models import Role
from tests.portal.set_up_side import side_pages
from tests.support.cast import (
    Cast,
    make_connection,
    make_key,
    make_product,
    make_project,
    make_subject,
    make_user,
    make_workspace,
)
from tests.support.clock import START
from tests.support.purchases import make_attempt, make_entitlement

_GROUP = re.compile(r'<div class="side-group">(.*?)</div>', re.DOTALL)
_TITLE = re.compile(r'class="side-title"[^>]*>([^<]+)<')
_LABEL = re.compile(r"</svg><span>([^<]+)</span>")
_COUNT = re.compile(r'side-count side-count-(\w+)">(\d+)<span class="visually-hidden"> ([a-z]+)<')


def groups(page: str) -> list[tuple[str | None, list[str]]]:
    """The headings of the navigation, each with its entries; None where there is no heading."""
    found = []
    for group in _GROUP.findall(page):
        title = _TITLE.search(group)
        found.append((title and title.group(1), _LABEL.findall(group)))
    return found


def prove(runtime: Runtime, cast: Cast, mode: Mode = Mode.TEST) -> Connection:
    """Have all five steps of the setup proven, at the sandbox in test mode."""
    here: dict[str, Any] = {"project_id": cast.project_id, "mode": mode}
    with runtime.database.write() as db:
        provider = Provider.STRIPE if mode.livemode else Provider.SANDBOX
        connection = make_connection(
            db, secret_box=runtime.secret_box, provider=provider, proven_at=START, **here
        )
        product = make_product(db, **here)
        make_key(db, last_used_at=START, **here)
        subject = make_subject(db, **here)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        make_entitlement(db, subject=subject, attempt_id=attempt.id)
    return connection


SELL = ("Sell", ["Overview", "Customers", "Products"])
STRIPE = ("Stripe", ["Connection", "Events", "Untracked", "Import", "Reconciliation"])
REST = (None, ["Alignment", "Settings", "Guide"])


def test_setup_leads_until_it_is_finished(app: Flask, cast: Cast) -> None:
    pages = side_pages(app, cast)
    build = ("Build", ["API keys", "Webhooks"])
    assert groups(pages.get("/customers").text) == [(None, ["Setup"]), SELL, STRIPE, build, REST]


def test_afterwards_it_is_last_and_leads_to_live(app: Flask, cast: Cast, runtime: Runtime) -> None:
    prove(runtime, cast)
    pages = side_pages(app, cast)
    build = ("Build", ["API keys", "Webhooks", "Lab"])
    assert groups(pages.get("/customers").text) == [SELL, STRIPE, build, REST, (None, ["Go live"])]
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id, mode=Mode.LIVE)
    assert groups(pages.get("/customers").text)[-1] == (None, ["Setup"])


def test_in_live_it_is_called_setup(app: Flask, cast: Cast, runtime: Runtime) -> None:
    prove(runtime, cast, Mode.LIVE)
    pages = side_pages(app, cast, mode="live")
    assert groups(pages.get("/customers").text)[-1] == (None, ["Setup"])


def test_alignment_counts_what_blocks_or_else_the_warnings(app: Flask, cast: Cast, runtime: Runtime) -> None:
    pages = side_pages(app, cast)
    assert _COUNT.findall(pages.get("/customers").text) == []
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id)
    [(tone, number, meaning)] = _COUNT.findall(pages.get("/customers").text)
    assert (tone, meaning) == ("bad", "blocking")
    assert f"{number} blocking" in pages.get("/alignment").text


def test_the_chip_leads_to_ones_own_projects_in_the_same_mode(
    app: Flask, cast: Cast, runtime: Runtime
) -> None:
    with runtime.database.write() as db:
        other = make_project(db, workspace_id=cast.owner.workspace_id, name="Another <b>")
        foreign = make_project(db, workspace_id=make_workspace(db), name="Foreign")
    for mode in ("test", "live"):
        page = side_pages(app, cast, mode=mode).get("/settings").text
        assert f'href="/projects/{other}/{mode}"' in page
        assert f'href="/projects/{cast.project_id}/{mode}" aria-current="true"' in page
        assert "Another &lt;b&gt;" in page
        assert foreign not in page
        assert ">Foreign<" not in page


def test_only_who_may_make_projects_is_offered_a_new_one(app: Flask, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        make_user(db, email="viewer@example.com", workspace_id=cast.owner.workspace_id, role=Role.VIEWER)
    assert "New project" in side_pages(app, cast).get("/customers").text
    assert "New project" not in side_pages(app, cast, email="viewer@example.com").get("/customers").text


def test_a_clock_that_was_moved_is_shown_on_every_page_of_its_side(
    app: Flask, cast: Cast, runtime: Runtime
) -> None:
    connection = prove(runtime, cast)
    pages = side_pages(app, cast)
    assert "Sandbox clock" not in pages.get("/customers").text
    with runtime.database.write() as db:
        db.get_one(Connection, connection.id).clock_offset_seconds = 822 * 86_400 + 3600
    for path in ("", "/customers", "/settings", "/alignment"):
        page = pages.get(path).text
        chip = re.search(r'<a class="clock-chip"(.*?)</a>', page, re.DOTALL)
        assert chip is not None, path
        at = START + timedelta(days=822, hours=1)
        assert f'href="{pages.base}/lab"' in chip.group(1)
        assert f'title="{at.day} {at:%b %Y, %H:%M} UTC"' in chip.group(1)
        assert f"{at.day} {at:%b %Y}</time> · +822 days" in chip.group(1)
    assert "Sandbox clock" not in side_pages(app, cast, mode="live").get("/customers").text


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (timedelta(seconds=1), "+1 second"),
        (timedelta(minutes=90), "+1 hour"),
        (timedelta(hours=47), "+1 day"),
        (timedelta(days=1822), "+1,822 days"),
        (timedelta(minutes=-5), "-5 minutes"),
    ],
)
def test_how_far_a_clock_is_ahead(offset: timedelta, words: str) -> None:
    assert ahead(offset) == words
