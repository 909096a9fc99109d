"""Imports under attack: several processes at one, people who change their minds, Stripe on a bad day."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from click.testing import Result
from sqlmodel import col, delete, select

from licenzy.catalog.actions import archive_product
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.connections.actions import save_stripe_key
from licenzy.entitlements.models import Fact
from licenzy.errors import InvalidRequest
from licenzy.imports import actions, progress
from licenzy.imports.csv_files import checked_csv
from licenzy.imports.models import Import, ImportOutcome, ImportStep
from licenzy.imports.progress import claim_import, go_on
from licenzy.kit.ids import new_id
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from tests.cli.test_commands import run
from tests.imports.account import Account
from tests.imports.meanwhile import LONG_AGO
from tests.stripe_events.test_adoption import buy_past_licenzy, deliver_events, kept, settle, take
from tests.support.clock import StandingClock
from tests.support.threads import join

Sell = Callable[..., Product]
Run = Callable[..., Result]
__all__ = ["run"]
COUNT = 7


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small account has several."""
    monkeypatch.setattr(progress, "MATCHED_AT_A_TIME", 2)
    monkeypatch.setattr(progress, "WRITTEN_AT_A_TIME", 2)
    monkeypatch.setattr(progress, "_MATCHING_SECONDS", 0.0)


def sold(account: Account, sell: Sell, count: int = COUNT) -> list[str]:
    """Subscriptions of u0, u1 …"""
    price = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    return [
        account.subscribe(account.customer(email=f"u{n}@example.com"), price, metadata={"user": f"u{n}"})
        for n in range(count)
    ]


def started(account: Account, **named: Any) -> str:
    with account.shop.runtime.database.write() as db:
        named = {"metadata_keys": ["user"], **named}
        now = account.shop.runtime.clock()
        return actions.start_import(db, account.scope, actor=Actor(), now=now, **named).id


def claim(account: Account, import_id: str) -> Import | None:
    """The import under a lease, as a process has it in mind."""
    now = account.shop.runtime.clock()
    return account.shop.runtime.database.retrying(
        lambda db: claim_import(db, account.scope, import_id=import_id, now=now)
    )


def goes_on(account: Account, import_id: str) -> None:
    claimed = claim(account, import_id)
    assert claimed is not None
    go_on(account.importer, claimed)


def until(account: Account, import_id: str, step: ImportStep) -> None:
    while account.import_(import_id).step is not step:
        goes_on(account, import_id)


def let_write(account: Account, import_id: str, **named: Any) -> None:
    with account.shop.runtime.database.write() as db:
        now = account.shop.runtime.clock()
        actions.run_import(db, account.scope, import_id=import_id, actor=Actor(), now=now, **named)


def imported_once(account: Account, keys: list[str]) -> None:
    with account.shop.runtime.database.read() as db:
        facts = db.exec(select(Fact.object_id).where(col(Fact.source_id).startswith("import:"))).all()
    assert sorted(facts) == sorted(keys)
    assert account.standings() == {f"u{n}": ["PRO active"] for n in range(len(keys))}


# --- several at one import -------------------------------------------------------------------------------


def test_one_who_lost_the_lease_goes_on(account: Account, sell: Sell, clock: StandingClock) -> None:
    keys = sold(account, sell)
    import_id = started(account)
    for _ in range(40):
        if account.import_(import_id).step is ImportStep.PREVIEW:
            let_write(account, import_id)
        slow = claim(account, import_id)
        if slow is None:
            break
        clock.advance(seconds=121)
        quick = claim(account, import_id)
        assert quick is not None
        if quick.step is ImportStep.RUN:
            both = [threading.Thread(target=go_on, args=(account.importer, each)) for each in (slow, quick)]
            for each in both:
                each.start()
            for each in both:
                join(each, seconds=60)
        else:
            go_on(account.importer, quick)
            go_on(account.importer, slow)
    assert account.import_(import_id).step is ImportStep.DONE
    assert {row.number for row in account.rows(import_id).values()} == set(range(COUNT))
    imported_once(account, keys)


def test_who_lost_the_lease_does_not_give_it_back(account: Account, sell: Sell, clock: StandingClock) -> None:
    sold(account, sell, 1)
    import_id = started(account)
    slow = claim(account, import_id)
    clock.advance(seconds=121)
    assert slow is not None
    assert claim(account, import_id) is not None
    go_on(account.importer, slow)
    assert claim(account, import_id) is None, "the other one is still at it"


# --- people ----------------------------------------------------------------------------------------------


def test_stopped_while_it_writes(account: Account, sell: Sell) -> None:
    keys = sold(account, sell)
    first = account.read()
    let_write(account, first)
    goes_on(account, first)
    slow = claim(account, first)
    assert slow is not None
    with account.shop.runtime.database.write() as db:
        now = account.shop.runtime.clock()
        actions.stop_import(db, account.scope, import_id=first, actor=Actor(), now=now)
    go_on(account.importer, slow)
    assert len(account.standings()) == 2
    assert account.import_(first).step is ImportStep.STOPPED
    assert claim(account, first) is None
    again = account.read()
    assert sum(row.outcome is ImportOutcome.HERE_ALREADY for row in account.rows(again).values()) == 2
    assert account.write(again) == {"imported": COUNT - 2}
    imported_once(account, keys)


def test_a_file_that_comes_while_it_matches(account: Account, sell: Sell) -> None:
    keys = sold(account, sell)
    import_id = started(account, map_csv=checked_csv("map", "a.csv", _csv(keys, "old")))
    until(account, import_id, ImportStep.MATCH)
    goes_on(account, import_id)
    assert account.import_(import_id).seen == 2
    with account.shop.runtime.database.write() as db:
        file = checked_csv("map", "b.csv", _csv(keys, "new"))
        actions.give_file(db, account.scope, import_id=import_id, file=file)
    until(account, import_id, ImportStep.PREVIEW)
    assert {row.subject_ref for row in account.rows(import_id).values()} == {f"new{n}" for n in range(COUNT)}


def test_keys_that_are_named_while_it_matches(account: Account, sell: Sell) -> None:
    sold(account, sell)
    import_id = started(account, metadata_keys=["nothing"])
    until(account, import_id, ImportStep.MATCH)
    goes_on(account, import_id)
    with account.shop.runtime.database.write() as db:
        actions.name_keys(db, account.scope, import_id=import_id, metadata_keys=["user"])
    until(account, import_id, ImportStep.PREVIEW)
    assert {row.outcome for row in account.rows(import_id).values()} == {ImportOutcome.MATCHED}


def _csv(keys: list[str], ref: str) -> bytes:
    lines = [f"{key},{ref}{n}" for n, key in enumerate(keys)]
    return "\n".join(["stripe_subscription_id,subject_ref", *lines]).encode()


def test_nothing_is_decided_while_it_writes(account: Account, sell: Sell) -> None:
    keys = sold(account, sell)
    import_id = account.read()
    let_write(account, import_id)
    named: dict[str, Any] = {"import_id": import_id}
    file = checked_csv("map", "c.csv", _csv(keys, "new"))
    for act in (
        lambda db: actions.choose(db, account.scope, **named, key=keys[0], subject_ref="other"),
        lambda db: actions.leave_out(db, account.scope, **named, keys=keys),
        lambda db: actions.accept_proposals(db, account.scope, **named),
        lambda db: actions.match_again(db, account.scope, **named),
        lambda db: actions.give_file(db, account.scope, **named, file=file),
    ):
        with pytest.raises(InvalidRequest), account.shop.runtime.database.write() as db:
            act(db)
    account.carry_on(import_id)
    imported_once(account, keys)


def test_a_dry_run_writes_nothing_of_what_another_began(account: Account, sell: Sell, run: Run) -> None:
    sold(account, sell, 3)
    let_write(account, account.read())
    answer = run("import", "--dry-run", "--project", account.shop.project_id)
    assert (answer.exit_code, account.standings()) == (2, {}), answer.output
    assert "is being written" in answer.output


@pytest.mark.parametrize("more", ["--announce", "--ended", "--payments-since=2020-01-01"])
def test_an_open_import_keeps_its_options(account: Account, sell: Sell, run: Run, more: str) -> None:
    sold(account, sell, 1)
    account.read()
    answer = run("import", more, "--project", account.shop.project_id)
    assert (answer.exit_code, account.standings()) == (2, {}), answer.output
    assert "--restart" in answer.output
    answer = run("import", more, "--metadata=user", "--restart", "--project", account.shop.project_id)
    assert (answer.exit_code, account.standings()) == (0, {"u0": ["PRO active"]}), answer.output


def test_a_number_that_is_no_longer_the_shown_one(account: Account, sell: Sell) -> None:
    sold(account, sell, 2)
    import_id = account.read()
    with pytest.raises(InvalidRequest, match="has changed"):
        let_write(account, import_id, matched=1)
    assert account.import_(import_id).step is ImportStep.PREVIEW


def test_a_catalog_that_changes_after_the_preview(account: Account, sell: Sell, clock: StandingClock) -> None:
    sold(account, sell, 1)
    team, gone = sell("TEAM", Kind.SUBSCRIPTION), sell("GONE", Kind.SUBSCRIPTION)
    for product in (team, gone):
        price = product.prices[0].stripe_price_id
        account.subscribe(account.customer(), price, metadata={"user": product.product_code})
    import_id = account.read()
    with account.shop.runtime.database.write() as db:
        named: dict[str, Any] = {"actor": Actor(), "now": clock()}
        archive_product(db, account.scope, product_id=team.id, **named)
        db.exec(delete(ProductPrice).where(ProductPrice.product_id == gone.id))  # type: ignore[arg-type]
    assert account.write(import_id) == {"imported": 2, "price_not_mapped": 1}
    assert account.standings() == {"u0": ["PRO active"], "TEAM": ["TEAM active"]}


# --- the connection and Stripe ---------------------------------------------------------------------------


def test_a_key_of_another_account(account: Account, sell: Sell, clock: StandingClock) -> None:
    keys = sold(account, sell)
    shop = account.shop
    former = shop.stripe._requestor.api_key
    connect(account, str(former), clock)
    import_id = account.read()
    other = httpx.post(
        f"{shop.sandbox.url}/_sandbox/accounts",
        json={"name": "Another shop"},
        headers={"Authorization": f"Bearer {shop.sandbox.control_token}"},
    ).json()
    connect(account, other["secret_key"], clock)
    with pytest.raises(InvalidRequest, match="another Stripe account"):
        let_write(account, import_id)
    connect(account, str(former), clock)
    let_write(account, import_id)
    goes_on(account, import_id)
    connect(account, other["secret_key"], clock)
    goes_on(account, import_id)
    assert len(account.standings()) == 2, "nothing more is written"
    assert "another Stripe account" in (account.import_(import_id).problem or "")
    connect(account, str(former), clock)
    clock.advance(minutes=10)
    account.carry_on(import_id)
    imported_once(account, keys)


def connect(account: Account, key: str, clock: StandingClock) -> None:
    clock.advance(seconds=1)
    parts, provider = account.shop.runtime, account.shop.connection.provider
    named: dict[str, Any] = {"pasted": key, "provider": provider, "confirmed": True}
    save_stripe_key(
        parts.database,
        parts.gateway,
        parts.secret_box,
        account.scope,
        **named,
        actor=Actor(),
        now=clock(),
    )


@pytest.mark.parametrize(
    "fault",
    [{"http_500": 6}, {"forbid": 1}, {"drop_after_work": 6}],
    ids=lambda fault: next(iter(fault)),
)
@pytest.mark.parametrize("page", ["GET /v1/subscriptions", "GET /v1/checkout/sessions"])
def test_stripe_on_a_bad_day(
    account: Account, sell: Sell, clock: StandingClock, fault: dict[str, Any], page: str
) -> None:
    keys = sold(account, sell, 2)
    import_id = started(account)
    if page.endswith("sessions"):
        until(account, import_id, ImportStep.SESSIONS)
    account.shop.inject_faults(match=page, **fault)
    goes_on(account, import_id)
    held = account.import_(import_id)
    assert held.problem
    assert held.next_try_at is not None
    assert held.leased_until is None
    assert claim_due(account) is None, "not before its time"
    account.shop.behave()
    clock.advance(minutes=6)
    until(account, import_id, ImportStep.PREVIEW)
    assert account.write(import_id) == {"imported": 2}
    imported_once(account, keys)


def claim_due(account: Account) -> Import | None:
    return progress.claim_due_import(account.importer)


# --- what Stripe may say ---------------------------------------------------------------------------------


def test_odd_metadata(account: Account, sell: Sell) -> None:
    price = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    odd = ["a\nb", "a\u202eb", "\u2028", "   ", "x" * 500, "🦊", "'; DROP TABLE subjects; --", "<b>", "=1+1"]
    keys = {
        value: account.subscribe(
            account.customer(name="\u202e", metadata={"plan": value}), price, metadata={"user": value}
        )
        for value in odd
    }
    rows = account.rows(account.read())
    found = {value: rows[key].subject_ref for value, key in keys.items()}
    good = {"🦊", "'; DROP TABLE subjects; --", "<b>", "=1+1"}
    assert found == {value: value if value in good else None for value in odd}


def test_many_items_and_lines(account: Account, sell: Sell) -> None:
    price = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    packs = [sell(f"PACK{n}", Kind.USAGE_PACK, units=10).prices[0].stripe_price_id for n in range(12)]
    others = [account.price(100 + n) for n in range(19)]
    account.subscribe(account.customer(metadata={"user": "many"}), *others, price)
    asked: Any = {
        "mode": "payment",
        "line_items": [{"price": each, "quantity": 1} for each in packs],
        "success_url": "https://shop.test/thanks",
        "client_reference_id": "lines",
    }
    session = account.shop.stripe.v1.checkout.sessions.create(asked)
    account.act("pay_session", session=session.id)
    account.write(account.read(payments_since=LONG_AGO))
    has = account.standings()
    assert has["many"] == ["PRO active"]
    assert len(has["lines"]) == 12


# --- the same purchase, several ways ---------------------------------------------------------------------


def test_adopted_and_imported(account: Account, sell: Sell, clock: StandingClock) -> None:
    """Whichever comes first has it, and nobody has it twice."""
    pro, pack = sell("PRO", Kind.SUBSCRIPTION), sell("PACK", Kind.USAGE_PACK)
    for product in (pro, pack):
        buy_past_licenzy(account.shop, product, client_reference_id="them")
    before = account.read(payments_since=LONG_AGO)
    deliver_events(account.shop, clock)
    take(account.shop, clock, "them", which=0)
    assert account.write(before) == {"here_already": 1, "imported": 1}
    for which in range(len(kept(account.shop))):
        with contextlib.suppress(InvalidRequest):
            take(account.shop, clock, "somebody else", which=which)
    deliver_events(account.shop, clock)
    settle(account.shop, clock)
    assert account.standings() == {"them": ["PACK active", "PRO active"]}
    changes = replay_purchases(account.shop.runtime.database, clock=clock)
    assert [each for _, each in changes if each] == []


def test_bought_by_checkout_while_it_is_imported(account: Account, sell: Sell, clock: StandingClock) -> None:
    """A subscription of a checkout of ours, of which nothing was told yet when the import read it."""
    sell("PRO", Kind.SUBSCRIPTION)
    answer = account.shop.checkout(key=new_id("x"), product_code="PRO", subject_ref="buyer")
    session_id = answer.get_json()["stripe_checkout_session_id"]
    account.act("pay_session", session=session_id)
    key = str(account.shop.stripe.v1.checkout.sessions.retrieve(session_id).subscription)
    lines = f"stripe_subscription_id,subject_ref\n{key},a stranger"
    import_id = account.read(map_csv=lines)
    row = account.rows(import_id)[key]
    assert (row.outcome, row.reason) == (ImportOutcome.UNMATCHED, "own_checkout")
    with pytest.raises(InvalidRequest), account.shop.runtime.database.write() as db:
        actions.choose(db, account.scope, import_id=import_id, key=key, subject_ref="a stranger")
    deliver_events(account.shop, clock)
    settle(account.shop, clock)
    assert account.standings() == {"buyer": ["PRO active"]}


def test_metadata_alone_grants_nothing(account: Account, sell: Sell, clock: StandingClock) -> None:
    sold(account, sell, 2)
    deliver_events(account.shop, clock)
    settle(account.shop, clock)
    assert claim_due(account) is None, "no import begins by itself"
    assert account.standings() == {}
