"""One installation behind both proxies, with what its merchant sells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind
from licenzy.factory import make_runtime
from licenzy.kit.clock import to_micros
from licenzy.runtime import Runtime
from licenzy.settings import load_settings
from licenzy.stripe_events.models import StripeEvent
from licenzy.workspace.models import AuditEntry
from licenzy.workspace.rules import address_throttle
from licenzy.workspace.sign_in_models import PasswordTries
from tests.support.cast import make_cast, make_connection, make_key, make_subject
from tests.support.databases import SqliteFiles
from tests.support.installation import Installation, Running
from tests.support.proxies import BASE_URL, PROXIES, Proxy
from tests.support.purchases import make_entitlement

SECRET = "whsec_behind_a_proxy_0123456789"
REFS = {
    "a/b": "a/b",
    "a//b": "a//b",
    "a%2Fb": "a/b",
    "a%2F%2Fb/": "a//b/",
    "%2Fa": "/a",
    "jürgen": "jürgen",
    "j%C3%BCrgen%20groß": "jürgen groß",
    "a%252Fb": "a%2Fb",
    "a+b&c=d;e": "a+b&c=d;e",
    "a%3Fb%23c": "a?b#c",
}
"""Subjects as they stand in an address, and what they are."""


class ProxiedShop(Installation):
    """An installation with two web processes whose merchant has a key, a webhook and a customer."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(
            folder,
            LICENZY_DATABASE_URL=database_url,
            LICENZY_BASE_URL=BASE_URL,
            LICENZY_TRUSTED_PROXIES="1",
            LICENZY_WORKERS="2",
            LICENZY_SANDBOX="off",
        )
        with self.runtime() as runtime, runtime.database.write() as db:
            now = runtime.clock()
            project_id = make_cast(db, now=now).project_id
            _key, token = make_key(db, project_id=project_id, now=now)
            connection = make_connection(
                db, project_id=project_id, secret_box=runtime.secret_box, webhook_secret=SECRET, now=now
            )
            self.webhook = f"/v1/webhooks/stripe/{connection.id}"
            for subject_ref in dict.fromkeys(["user_1", *REFS.values()]):
                subject = make_subject(db, project_id=project_id, subject_ref=subject_ref, now=now)
                make_entitlement(
                    db,
                    subject=subject,
                    product_code="CREDITS",
                    kind=Kind.USAGE_PACK,
                    granted_units=1000,
                    starts_at=now,
                    ends_at=None,
                )
        self.headers = {"Authorization": f"Bearer {token}"}

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        runtime = make_runtime(load_settings(self.environ))
        with closing(runtime.database):
            yield runtime

    def audited(self, action: str) -> list[AuditEntry]:
        """What was recorded, the newest first."""
        with self.runtime() as runtime, runtime.database.read() as db:
            wanted = select(AuditEntry).where(AuditEntry.action == action)
            return list(db.exec(wanted.order_by(col(AuditEntry.id).desc())))

    def events(self) -> list[str]:
        with self.runtime() as runtime, runtime.database.read() as db:
            return [each or "" for each in db.exec(select(StripeEvent.event_id))]

    def uses_up_its_tries(self, address: str) -> None:
        """As if as many wrong passwords had just been tried there as may be."""
        with self.runtime() as runtime, runtime.database.write() as db:
            throttle, now = address_throttle(address), runtime.clock()
            tries = [to_micros(now)] * throttle.limit.most
            db.add(PasswordTries(key=throttle.key, tries=tries, forget_at=now + throttle.limit.window))

    @contextmanager
    def serving(self) -> Iterator[Running]:
        running = self.starts("web")
        try:
            running.wait_until_it_answers(self.port)
            yield running
        finally:
            running.ends()

    def check(self, client: Any, **options: Any) -> Any:
        asked = {"subject_ref": "user_1"}
        return client.post("/v1/access/check", json=asked, headers=self.headers, **options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[ProxiedShop]:
    """For all tests of a module: whatever they try, it goes on."""
    folder = tmp_path_factory.mktemp("shop")
    shop = ProxiedShop(folder, sqlite_files.fresh(folder))
    with shop.serving() as running:
        yield shop
        assert running.process.poll() is None, running.said()


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory, shop: ProxiedShop) -> Iterator[dict[str, Proxy]]:
    """Those that a test of this module has asked for, by name."""
    with ExitStack() as running:

        class Started(dict[str, Proxy]):
            def __missing__(self, name: str) -> Proxy:
                made = PROXIES[name](shop.port, tmp_path_factory.mktemp(name))
                self[name] = running.enter_context(made)
                return self[name]

        yield Started()


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, proxies: dict[str, Proxy]) -> Proxy:
    """Each of the proxies in turn, before `shop`."""
    return proxies[request.param]
