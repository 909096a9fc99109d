"""Jumps of the lab's clock in the processes of `licenzy serve`, over HTTP; some are killed during a jump."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.cli.seeding import Seeded, seed
from licenzy.connections.actions import stripe_key
from licenzy.connections.queries import connection_by_id
from licenzy.factory import make_runtime
from licenzy.lab.models import LabStep
from licenzy.lab.queries import steps_of
from licenzy.projects.scope import Scope
from licenzy.settings import load_settings
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.support.cast import PASSWORD
from tests.support.databases import SqliteFiles
from tests.support.installation import STOP_SECONDS, Installation, Running, alive
from tests.support.portal_person import PortalPerson
from tests.support.ports import wait_until
from tests.support.stripe_side import make_price

pytestmark = pytest.mark.slow

MONTHLY = [f"user_{number}" for number in range(1, 25)]
YEARLY = "user_yearly"
RENEWALS = 12 * len(MONTHLY) + 1
"""How many a jump to the yearly subscription's renewal makes."""
YEAR = timedelta(days=365)
DEADLINE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class AtStripe:
    """A subscription as Stripe's API has it: its invoices, and the end of its period."""

    invoices: list[dict[str, Any]]
    period_end: datetime

    def count(self, billing_reason: str) -> int:
        """How many of the invoices have this reason."""
        return sum(invoice["billing_reason"] == billing_reason for invoice in self.invoices)


class LabShop(Installation):
    """A served installation that sells by month and by year, and its owner in the portal."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(
            folder, LICENZY_DATABASE_URL=database_url, LICENZY_WORKERS="1", LICENZY_RATE_LIMIT="1000000"
        )
        self.settings = load_settings(self.environ)
        self.runtime = make_runtime(self.settings)
        self._storage = self.settings.instance / "sandbox.sqlite3"
        self.person = PortalPerson(self.settings.base_url)
        self.seeded: Seeded
        self._commands: list[Running] = []

    def close(self) -> None:
        """Stop what was started."""
        for running in self._commands:
            running.ends()
        self.person.__exit__()
        self.runtime.database.close()

    def serve(self) -> None:
        """Start `serve`, and wait until it answers."""
        self._commands.append(self.starts("serve"))
        self._commands[-1].wait_until_it_says("Ctrl-C")

    def set_up(self) -> None:
        """Claim the installation, connect the sandbox and map the prices."""
        claim = self.settings.derived_secret("claim")
        self.person.open(f"/claim/{claim}")
        self.person.submit(claim, name="Ada", email="ada@example.com", password=PASSWORD)
        self.seeded = seed(self.runtime)
        yearly = make_price(
            self.runtime, project_id=self.seeded.project_id, title="Pro, yearly", interval="year"
        )
        self.person.open(f"{self._side}/products/new?price={yearly}")
        self.person.submit("/products/new", price_id=yearly, kind="subscription", product_code="PRO_YEARLY")

    @property
    def _side(self) -> str:
        return f"/projects/{self.seeded.project_id}/test"

    # Processes --------------------------------------------------------------------------------------

    def sandbox_process(self) -> int | None:
        """The process of `serve` that serves the sandbox now."""
        for pid in self._commands[-1].children():
            with suppress(OSError):  # It may have ended meanwhile.
                if b"\0sandbox\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def kill_everything(self) -> None:
        """SIGKILL for `serve` and all that it started."""
        serve = self._commands[-1]
        pids = [serve.process.pid, *serve.children()]
        for pid in pids:
            with suppress(ProcessLookupError):  # Some end by themselves once another is gone.
                os.kill(pid, signal.SIGKILL)
        serve.process.wait(STOP_SECONDS)
        wait_until(lambda: alive(pids) == [], seconds=STOP_SECONDS, what="all processes have ended")

    # What customers, the merchant's backend and the owner do ----------------------------------------

    def buy(self, subject_ref: str, product_code: str) -> str:
        """Open a checkout and pay it on its hosted page; the id of the attempt."""
        opened = self._post_api(
            "/v1/checkout/session",
            {"subject_ref": subject_ref, "product_code": product_code},
            **{"Idempotency-Key": subject_ref},
        )
        paid = httpx.post(opened["checkout_url"], data={"action": "pay"}, timeout=20)
        assert paid.status_code == 303, paid.text
        return str(opened["attempt_id"])

    def allowed(self, subject_ref: str) -> bool:
        return bool(self._post_api("/v1/access/check", {"subject_ref": subject_ref})["allowed"])

    def valid_until(self, subject_ref: str) -> datetime:
        address = f"{self.settings.base_url}/v1/entitlements/{subject_ref}"
        answer = httpx.get(address, headers=self._auth(), timeout=20).raise_for_status()
        (entitlement,) = answer.json()["entitlements"]
        return datetime.fromisoformat(entitlement["valid_until"])

    def _post_api(self, path: str, body: dict[str, str], **headers: str) -> dict[str, Any]:
        address = f"{self.settings.base_url}{path}"
        answer = httpx.post(address, json=body, headers=self._auth() | headers, timeout=20)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.seeded.api_key}"}

    def open_lab(self, attempt_id: str) -> str:
        return self.person.open(f"{self._side}/lab/{attempt_id}")

    def press(self, attempt_id: str, action: str) -> str:
        """Press a button of the lab; the page afterwards."""
        self.open_lab(attempt_id)
        return self.person.submit("/steps", action=action)

    def percents_until_arrival(self, attempt_id: str) -> list[int]:
        """How far the clock was each time that the page was loaded, until the clock arrived."""
        percents: list[int] = []

        def has_arrived() -> bool:
            moving = re.search(r"The clock is moving: (\d+) % done", self.open_lab(attempt_id))
            if moving is not None:
                percents.append(int(moving[1]))
            return moving is None

        wait_until(has_arrived, seconds=DEADLINE_SECONDS, what="the clock arrives")
        return percents

    # What is recorded, here and at the sandbox ------------------------------------------------------

    def newest_step(self, attempt_id: str) -> LabStep:
        with self.runtime.database.read() as db:
            return steps_of(db, Scope(self.seeded.project_id, Mode.TEST), attempt_id=attempt_id)[-1]

    def events(self) -> list[StripeEvent]:
        """All that have been received, in the order of arrival."""
        with self.runtime.database.read() as db:
            return list(db.exec(select(StripeEvent).order_by(col(StripeEvent.id))))

    def undelivered(self) -> int:
        """How many posts of events wait at the sandbox, or are under way."""
        return int(self._at_sandbox("SELECT COUNT(*) FROM posts WHERE status <> 'sent'")[0])

    def has_applied_everything(self) -> bool:
        """Whether every event is delivered, and those that are about purchases are applied."""
        if self.undelivered():
            return False
        about_purchases = [each for each in self.events() if each.type != "test_helpers.test_clock.ready"]
        return all(each.status is EventStatus.APPLIED for each in about_purchases)

    def renewals(self) -> int:
        """How many invoices of renewals there are."""
        sql = "SELECT json_extract(body, '$.billing_reason') FROM objects WHERE kind = 'invoice'"
        return self._at_sandbox(sql).count("subscription_cycle")

    def jump_status(self) -> str:
        return str(self._at_sandbox("SELECT status FROM advances")[0])

    def sandbox_is_writing(self) -> bool:
        """Whether a transaction that writes to the sandbox's storage is open."""
        with closing(sqlite3.connect(self._storage, timeout=0, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            db.execute("ROLLBACK")
            return False

    def _at_sandbox(self, sql: str) -> list[Any]:
        """The first column of the answer of the sandbox's storage."""
        with closing(sqlite3.connect(self._storage, timeout=30)) as db:
            return [row[0] for row in db.execute(sql)]

    def subscriptions(self) -> list[AtStripe]:
        with self.runtime.database.read() as db:
            connection = connection_by_id(db, connection_id=self.seeded.connection_id)
        assert connection is not None
        key = stripe_key(self.runtime.secret_box, connection)
        found = []
        with httpx.Client(base_url=self.settings.sandbox_url, auth=(key, ""), timeout=20) as stripe:
            for each in stripe.get("/v1/subscriptions", params={"limit": 100}).json()["data"]:
                of_it: dict[str, str | int] = {"limit": 100, "subscription": each["id"]}
                invoices = stripe.get("/v1/invoices", params=of_it).json()["data"]
                end = datetime.fromtimestamp(each["items"]["data"][0]["current_period_end"], UTC)
                found.append(AtStripe(invoices, end))
        return found


@pytest.fixture
def shop(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[LabShop]:
    with closing(LabShop(tmp_path, sqlite_files.fresh(tmp_path))) as made:
        made.serve()
        made.set_up()
        yield made


@pytest.fixture
def yearly(shop: LabShop) -> str:
    """The attempt of a yearly subscription, bought last: each monthly one renews twelve times before it."""
    for subject_ref in MONTHLY:
        shop.buy(subject_ref, "PRO_MONTHLY")
    attempt_id = shop.buy(YEARLY, "PRO_YEARLY")
    wait_until(
        lambda: all(map(shop.allowed, [*MONTHLY, YEARLY])), seconds=DEADLINE_SECONDS, what="all have access"
    )
    return attempt_id


def test_a_year_of_25_subscriptions_delays_no_purchase(shop: LabShop, yearly: str) -> None:
    begun_at = datetime.now(UTC)
    button = re.search(r'value="renew_in_time".*?<small>(.*?)</small>', shop.open_lab(yearly), re.DOTALL)
    assert button is not None
    described = button[1]
    others = f"{len(MONTHLY)} other subscriptions renew too."
    assert re.fullmatch(rf"Moves the account’s clock 36[56] days\. {others}", described)
    page = shop.press(yearly, "renew_in_time")
    assert f'<span class="lab-step-detail">{described}</span>' in page, "the recorded step says it too"

    percents = shop.percents_until_arrival(yearly)
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents)
    step = shop.newest_step(yearly)
    assert (step.action, step.progress, step.problem) == ("renew_in_time", None, None)
    assert step.finished_at is not None

    shop.buy("user_new", "PRO_MONTHLY")
    wait_until(lambda: shop.allowed("user_new"), seconds=DEADLINE_SECONDS, what="the new purchase has access")
    assert shop.undelivered() > len(MONTHLY), "the new purchase has access before the renewals are delivered"
    wait_until(shop.has_applied_everything, seconds=DEADLINE_SECONDS, what="all events are applied")
    assert_renewed_once(shop, [*MONTHLY, YEARLY, "user_new"], since=begun_at)
    types = [event.type for event in shop.events()]
    after_purchase = types[::-1].index("checkout.session.completed")
    assert types[-after_purchase:].count("invoice.paid") > len(MONTHLY), "received in this order"


def test_a_jump_is_made_once_when_processes_are_killed(shop: LabShop, yearly: str) -> None:
    begun_at = datetime.now(UTC)
    shop.press(yearly, "renew_in_time")

    killed = suspend_sandbox_during_jump(shop, renewals=1)
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: shop.sandbox_process() not in (None, killed), seconds=DEADLINE_SECONDS, what="it is restarted"
    )
    suspend_sandbox_during_jump(shop, renewals=shop.renewals() + 1)
    shop.kill_everything()
    assert shop.newest_step(yearly).progress is not None
    shop.serve()

    shop.percents_until_arrival(yearly)
    wait_until(shop.has_applied_everything, seconds=DEADLINE_SECONDS, what="all events are applied")
    assert_renewed_once(shop, [*MONTHLY, YEARLY], since=begun_at)
    step = shop.newest_step(yearly)
    assert (step.progress, step.problem) == (None, None)
    assert step.finished_at is not None
    reported = Counter(event["type"] for event in step.events)
    assert (reported["invoice.paid"], reported["test_helpers.test_clock.ready"]) == (1, 1)

    shop.press(yearly, "advance_hour")
    shop.percents_until_arrival(yearly)
    newest = shop.newest_step(yearly)
    assert (newest.action, newest.problem) == ("advance_hour", None), "nothing is left in its way"


def suspend_sandbox_during_jump(shop: LabShop, *, renewals: int) -> int:
    """Suspend the sandbox's process within a transaction, once so many renewals are made and others are not;
    its id."""
    wait_until(lambda: shop.renewals() >= renewals, seconds=DEADLINE_SECONDS, what="some have renewed")
    pid = shop.sandbox_process()
    assert pid is not None

    def suspended_in_transaction() -> bool:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: is_suspended(pid), seconds=DEADLINE_SECONDS, what="the process is suspended")
        if shop.sandbox_is_writing():
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    wait_until(suspended_in_transaction, seconds=DEADLINE_SECONDS, what="the sandbox writes")
    assert shop.jump_status() == "advancing"
    assert shop.renewals() < RENEWALS
    return pid


def is_suspended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def assert_renewed_once(shop: LabShop, subject_refs: Sequence[str], *, since: datetime) -> None:
    """Each renewal of the jump that began then was made once at Stripe, its events were applied once, and
    every customer has its period."""
    subscriptions = shop.subscriptions()
    assert len(subscriptions) == len(subject_refs)
    cycles = sorted(each.count("subscription_cycle") for each in subscriptions)
    assert [count for count in cycles if count] == [1, *[12] * len(MONTHLY)]
    assert {each.count("subscription_create") for each in subscriptions} == {1}
    invoices = [invoice for each in subscriptions for invoice in each.invoices]
    assert {invoice["status"] for invoice in invoices} == {"paid"}
    events = shop.events()
    for type_ in ("invoice.paid", "invoice.payment_succeeded"):
        ids = [event.object_id for event in events if event.type == type_]
        assert sorted(filter(None, ids)) == sorted(invoice["id"] for invoice in invoices)
    updates = [event for event in events if event.type == "customer.subscription.updated"]
    assert len(updates) == len(invoices), "active at first, and one for each renewal"
    ends = {subject_ref: shop.valid_until(subject_ref) for subject_ref in subject_refs}
    assert sorted(ends.values()) == sorted(each.period_end for each in subscriptions)
    latest = since + YEAR + timedelta(days=33)
    assert all(since + YEAR < ends[subject_ref] < latest for subject_ref in MONTHLY)
    assert ends[YEARLY] > since + 2 * YEAR - timedelta(minutes=5)
