from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.queries import has_trials
from licenzy.connections import actions, rules
from licenzy.connections.models import Connection, Provider
from licenzy.connections.queries import connection_by_id, connection_of
from licenzy.errors import LicenzyError, NotFound, StripeNotConnected, StripeUnavailable
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.conftest import Sandbox
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock

SECRET = "whsec_0123456789abcdefABCDEF0123456789"
PUBLIC = "https://licenzy.example.com"


class Shop:
    """A project's test side, and a Stripe that is really the sandbox over HTTP."""

    def __init__(self, runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> None:
        self.runtime, self.cast, self.sandbox, self.clock = runtime, cast, sandbox, clock
        self.gateway = StripeGateway(stripe_base=sandbox.url, sandbox_base=sandbox.url, concurrent_calls=4)
        self.parts = (runtime.database, self.gateway, runtime.secret_box)
        self.side = Scope(cast.project_id, Mode.TEST)
        self.actor = Actor(cast.owner.user_id, "192.0.2.7")

    def account(self, name: str) -> dict[str, str]:
        answer = httpx.post(
            f"{self.sandbox.url}/_sandbox/accounts",
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
            json={"name": name, "livemode": False},
            trust_env=False,
        )
        told: dict[str, str] = answer.raise_for_status().json()
        return told

    def restricted_key(self, account_id: str, *permissions: str) -> str:
        answer = httpx.post(
            f"{self.sandbox.url}/_sandbox/accounts/{account_id}/restricted_keys",
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
            json={"permissions": list(permissions)},
            trust_env=False,
        )
        key: str = answer.raise_for_status().json()["restricted_key"]
        return key

    def save(self, pasted: str, **more: Any) -> Connection:
        return actions.save_stripe_key(
            *self.parts, scope=self.side, pasted=pasted, actor=self.actor, now=self.clock(), **more
        )

    def save_secret(self, pasted: str, **side: Any) -> Connection:
        with self.runtime.database.write() as db:
            return actions.save_webhook_secret(
                db,
                self.runtime.secret_box,
                replace(self.side, **side),
                pasted=pasted,
                actor=self.actor,
                now=self.clock(),
            )

    def register(self, **more: Any) -> Connection:
        return actions.register_endpoint(
            *self.parts,
            scope=self.side,
            base_url=PUBLIC,
            has_trials=has_trials,
            actor=self.actor,
            now=self.clock(),
            **more,
        )

    @property
    def stripe(self) -> Any:
        """The account as its owner sees it in Stripe's dashboard."""
        access = actions.access(self.gateway, self.runtime.secret_box, self.connection())
        return stripe.StripeClient(access.api_key, base_addresses={"api": self.sandbox.url}).v1

    def inject_faults(self, faults: dict[str, Any] | None) -> None:
        httpx.request(
            "POST" if faults else "DELETE",
            f"{self.sandbox.url}/_sandbox/accounts/{self.connection().account_id}/misbehaviour",
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
            json=faults,
            trust_env=False,
        ).raise_for_status()

    def endpoints(self) -> list[Any]:
        access = actions.access(self.gateway, self.runtime.secret_box, self.connection())
        return self.gateway.webhook_endpoints(access)

    def connection(self) -> Connection:
        with self.runtime.database.read() as db:
            found = connection_of(db, self.side)
        assert found is not None
        return found

    def audit(self) -> list[AuditEntry]:
        with self.runtime.database.read() as db:
            return list(db.exec(select(AuditEntry).order_by(col(AuditEntry.at), col(AuditEntry.id))))


@pytest.fixture
def shop(runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> Shop:
    return Shop(runtime, cast, sandbox, clock)


def test_a_key_is_tried_and_saved_with_its_account(shop: Shop) -> None:
    account = shop.account("Tea & Co")
    saved = shop.save(f"  {account['secret_key']}\n")
    assert (saved.account_id, saved.account_name) == (account["account"], "Tea & Co")
    assert saved.provider is Provider.STRIPE
    assert saved.key_masked == f"sk_test_…{account['secret_key'][-4:]}"
    assert saved.verified_at == shop.clock()
    assert actions.stripe_key(shop.runtime.secret_box, shop.connection()) == account["secret_key"]


def test_secrets_are_nowhere_in_the_database_in_clear(shop: Shop) -> None:
    account = shop.account("Tea")
    shop.save(account["secret_key"])
    shop.save_secret(SECRET)
    with shop.runtime.database.read() as db:
        rows = [*db.exec(select(Connection)), *db.exec(select(AuditEntry))]
        told = repr([row.model_dump() for row in rows])
    assert account["secret_key"][8:-4] not in told
    assert SECRET[6:-4] not in told
    if shop.runtime.database.is_sqlite:
        path = Path(str(shop.runtime.database.engine.url.database))
        raw = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
        assert account["secret_key"][8:-4].encode() not in raw
        assert SECRET[6:-4].encode() not in raw


def test_a_sealed_key_opens_for_its_own_row_and_field_only(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    shop.save_secret(SECRET)
    here = shop.connection()
    there = Connection(**{**here.model_dump(), "id": "con_other"})
    with pytest.raises(StripeNotConnected):
        actions.stripe_key(shop.runtime.secret_box, there)
    assert actions.webhook_secrets(shop.runtime.secret_box, there, now=shop.clock()) == []
    swapped = Connection(**{**here.model_dump(), "key_sealed": here.webhook_secret_sealed})
    with pytest.raises(StripeNotConnected):
        actions.stripe_key(shop.runtime.secret_box, swapped)


def test_without_its_encryption_key_a_connection_says_what_to_do(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    stranger = SecretBox(["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
    with pytest.raises(StripeNotConnected) as refused:
        actions.stripe_key(stranger, shop.connection())
    assert "LICENZY_ENCRYPTION_KEYS" in (refused.value.hint or "")


def test_a_key_that_stripe_rejects_is_not_saved(shop: Shop) -> None:
    with pytest.raises(rules.CredentialRefused) as refused:
        shop.save("sk_test_51notissuedbyanybody0123456789")
    assert refused.value.reason == "key_rejected"
    with shop.runtime.database.read() as db:
        assert connection_of(db, shop.side) is None


def test_a_restricted_key_without_account_permission_is_saved_with_what_is_known(shop: Shop) -> None:
    account = shop.account("Tea")
    saved = shop.save(shop.restricted_key(account["account"], "rak_price_read"))
    assert (saved.account_id, saved.account_name) == (None, None)
    assert saved.key_masked is not None
    assert saved.key_masked.startswith("rk_test_…")


def test_a_key_of_another_account_needs_confirmation_and_forgets_the_webhook(shop: Shop) -> None:
    first, second = shop.account("First"), shop.account("Second")
    shop.save(first["secret_key"])
    shop.save_secret(SECRET)
    with pytest.raises(rules.CredentialRefused) as refused:
        shop.save(second["secret_key"])
    assert refused.value.reason == "account_changes"
    assert first["account"] in refused.value.message
    assert second["account"] in refused.value.message
    assert shop.connection().account_id == first["account"]
    moved = shop.save(second["secret_key"], confirmed=True)
    assert moved.account_id == second["account"]
    assert moved.webhook_secret_sealed is None


def test_a_new_key_of_the_same_account_keeps_the_webhook(shop: Shop) -> None:
    account = shop.account("Tea")
    shop.save(account["secret_key"])
    shop.save_secret(SECRET)
    again = shop.save(account["secret_key"])
    assert again.webhook_secret_masked == rules.masked_secret(SECRET)


def test_a_replaced_secret_verifies_for_a_day(shop: Shop) -> None:
    second = "whsec_ZYXWVUTSRQPONMLKJIHGFEDCBA987654"
    shop.save_secret(SECRET)
    shop.save_secret(second)
    at = shop.clock()
    for later, expected in (
        (timedelta(0), [second, SECRET]),
        (timedelta(hours=23, minutes=59), [second, SECRET]),
        (timedelta(hours=24), [second]),
    ):
        assert actions.webhook_secrets(shop.runtime.secret_box, shop.connection(), now=at + later) == expected


def test_saving_the_same_secret_again_changes_nothing(shop: Shop) -> None:
    shop.save_secret(SECRET)
    before = shop.connection().model_dump()
    shop.clock.advance(hours=1)
    shop.save_secret(SECRET)
    assert shop.connection().model_dump() == before


def test_the_secret_of_the_other_mode_is_refused(shop: Shop) -> None:
    shop.save_secret(SECRET, mode=Mode.LIVE)
    with pytest.raises(rules.CredentialRefused) as refused:
        shop.save_secret(SECRET)
    assert refused.value.reason == "secret_of_other_mode"


def test_the_same_secret_in_another_project_is_no_concern(shop: Shop) -> None:
    shop.save_secret(SECRET, project_id=shop.cast.stranger.project_id, mode=Mode.LIVE)
    shop.save_secret(SECRET)
    assert shop.connection().webhook_secret_masked == rules.masked_secret(SECRET)


def test_one_click_makes_the_endpoint_and_stores_its_secret(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    saved = shop.register()
    (endpoint,) = shop.endpoints()
    assert endpoint.url == f"{PUBLIC}/v1/webhooks/stripe/{saved.id}"
    assert set(endpoint.enabled_events) == set(rules.REQUIRED_EVENTS)
    assert saved.webhook_endpoint_id == endpoint.id
    assert len(actions.webhook_secrets(shop.runtime.secret_box, saved, now=shop.clock())) == 1


def test_a_second_click_keeps_what_is_as_it_should_be(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    first = shop.register()
    shop.clock.advance(minutes=1)
    assert shop.register().webhook_endpoint_id == first.webhook_endpoint_id
    assert len(shop.endpoints()) == 1


def test_an_endpoint_of_ours_whose_secret_is_unknown_is_replaced(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    first = shop.register()
    shop.save_secret(SECRET)  # Pasted by hand, so that the endpoint's own secret is no longer known.
    shop.clock.advance(minutes=1)
    second = shop.register()
    (endpoint,) = shop.endpoints()
    assert endpoint.id == second.webhook_endpoint_id != first.webhook_endpoint_id


def test_a_rotation_replaces_the_endpoint_and_keeps_the_old_secret_for_a_day(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    old = actions.webhook_secrets(shop.runtime.secret_box, shop.register(), now=shop.clock())
    shop.clock.advance(minutes=1)
    kept = actions.webhook_secrets(shop.runtime.secret_box, shop.register(rotate=True), now=shop.clock())
    assert len(shop.endpoints()) == 1
    assert kept[1:] == old
    assert kept[0] != old[0]


@pytest.mark.parametrize(
    "harm",
    [{"enabled_events": ["invoice.paid", "customer.created"]}, {"disabled": True}],
    ids=["events", "disabled"],
)
def test_where_only_events_or_the_state_differ_the_endpoint_is_updated(
    shop: Shop, harm: dict[str, Any]
) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    before = shop.register()
    shop.stripe.webhook_endpoints.update(before.webhook_endpoint_id, harm)
    shop.clock.advance(minutes=1)
    after = shop.register()
    (endpoint,) = shop.endpoints()
    assert endpoint.id == after.webhook_endpoint_id == before.webhook_endpoint_id
    assert after.webhook_secret_sealed == before.webhook_secret_sealed
    assert endpoint.status == "enabled"
    assert set(rules.REQUIRED_EVENTS) <= set(endpoint.enabled_events)
    assert set(harm.get("enabled_events", [])) <= set(endpoint.enabled_events)
    assert shop.audit()[-1].action == "webhook_endpoint.repaired"


def test_an_endpoint_of_another_version_is_replaced_with_overlap(shop: Shop) -> None:
    """Somebody made it by hand; Stripe cannot change a version."""
    saved = shop.save(shop.account("Tea")["secret_key"])
    made = shop.stripe.webhook_endpoints.create(
        {
            "url": f"{PUBLIC}/v1/webhooks/stripe/{saved.id}",
            "enabled_events": ["*"],
            "api_version": "2024-04-10",
        }
    )
    with shop.runtime.database.write() as db:
        actions.save_webhook_secret(
            db,
            shop.runtime.secret_box,
            shop.side,
            pasted=made.secret,
            endpoint_id=made.id,
            actor=shop.actor,
            now=shop.clock(),
        )
    shop.clock.advance(minutes=1)
    after = shop.register()
    (endpoint,) = shop.endpoints()
    assert endpoint.id == after.webhook_endpoint_id != made.id
    assert actions.webhook_secrets(shop.runtime.secret_box, after, now=shop.clock())[1] == made.secret


def test_what_broke_off_before_its_secret_was_stored_is_removed_by_the_next_click(shop: Shop) -> None:
    saved = shop.save(shop.account("Tea")["secret_key"])
    address = f"{PUBLIC}/v1/webhooks/stripe/{saved.id}"
    orphan = shop.stripe.webhook_endpoints.create({"url": address, "enabled_events": ["*"]})
    first = shop.register()
    assert [endpoint.id for endpoint in shop.endpoints()] == [first.webhook_endpoint_id]
    assert first.webhook_endpoint_id != orphan.id
    # The same beside an endpoint that is as it should be: that one stays.
    shop.stripe.webhook_endpoints.create({"url": address, "enabled_events": ["*"]})
    shop.clock.advance(minutes=1)
    assert shop.register().webhook_endpoint_id == first.webhook_endpoint_id
    assert [endpoint.id for endpoint in shop.endpoints()] == [first.webhook_endpoint_id]


def test_what_broke_off_before_the_old_endpoint_went_is_finished_by_the_next_click(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    old = shop.register()
    old_secret = actions.webhook_secrets(shop.runtime.secret_box, old, now=shop.clock())[0]
    shop.clock.advance(minutes=1)
    shop.inject_faults({"match": "DELETE /v1/webhook_endpoints/*", "http_500": 20})
    with pytest.raises(LicenzyError):
        shop.register(rotate=True)
    shop.inject_faults(None)
    between = shop.connection()
    assert len(shop.endpoints()) == 2
    secrets = actions.webhook_secrets(shop.runtime.secret_box, between, now=shop.clock())
    assert len(secrets) == 2  # Whichever of the two endpoints signs, the event is taken.
    assert secrets[1] == old_secret
    shop.clock.advance(minutes=1)
    after = shop.register()
    assert [endpoint.id for endpoint in shop.endpoints()] == [after.webhook_endpoint_id]
    assert after.webhook_endpoint_id == between.webhook_endpoint_id != old.webhook_endpoint_id


def test_two_clicks_in_one_moment_make_one_endpoint(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    with ThreadPoolExecutor(2) as pool:
        clicks = [pool.submit(shop.register) for _ in range(2)]
        made = {click.result().webhook_endpoint_id for click in clicks}
    assert [endpoint.id for endpoint in shop.endpoints()] == [shop.connection().webhook_endpoint_id]
    assert made == {shop.connection().webhook_endpoint_id}


def test_endpoints_of_others_at_the_same_account_are_left_alone(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    theirs = shop.stripe.webhook_endpoints.create(
        {"url": "https://elsewhere.example.com/hook", "enabled_events": ["*"]}
    )
    ours = shop.register()
    shop.clock.advance(minutes=1)
    shop.register(rotate=True)
    left = {endpoint.id for endpoint in shop.endpoints()}
    assert left == {theirs.id, shop.connection().webhook_endpoint_id}
    assert ours.webhook_endpoint_id not in left


def test_stripe_cannot_reach_a_loopback_address_and_the_sandbox_can(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    with pytest.raises(rules.CredentialRefused) as refused:
        actions.register_endpoint(
            *shop.parts,
            scope=shop.side,
            base_url="http://127.0.0.1:8000",
            has_trials=has_trials,
            actor=shop.actor,
            now=shop.clock(),
        )
    assert refused.value.reason == "endpoint_unreachable"
    assert shop.endpoints() == []


def test_without_a_connection_there_is_nothing_to_register(shop: Shop) -> None:
    with pytest.raises(StripeNotConnected):
        shop.register()


def _connect_sandbox(shop: Shop, **more: Any) -> Connection:
    return actions.connect_sandbox(
        *shop.parts,
        shop.runtime.settings,
        project_id=shop.cast.project_id,
        project_name="Our project",
        actor=shop.actor,
        now=shop.clock(),
        **more,
    )


def test_the_sandbox_is_connected_by_one_call_and_stays_the_same_account(shop: Shop) -> None:
    first = _connect_sandbox(shop)
    assert first.provider is Provider.SANDBOX
    assert first.account_name == "Our project"
    assert first.console_url is not None
    assert first.console_url.startswith(shop.sandbox.url)
    second = _connect_sandbox(shop)
    assert second.account_id == first.account_id
    access = actions.access(shop.gateway, shop.runtime.secret_box, second)
    keys = [price.lookup_key for price in shop.gateway.prices(access)]
    assert len(keys) == len(set(keys)) == 4


def test_moving_from_stripe_to_the_sandbox_needs_confirmation(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    with pytest.raises(rules.CredentialRefused):
        _connect_sandbox(shop)
    assert _connect_sandbox(shop, confirmed=True).provider is Provider.SANDBOX


def test_a_sandbox_that_is_not_running_is_said_in_words(
    runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with pytest.raises(StripeUnavailable) as refused:
        actions.connect_sandbox(
            runtime.database,
            runtime.gateway,
            runtime.secret_box,
            runtime.settings,
            project_id=cast.project_id,
            project_name="Our project",
            actor=Actor(),
            now=clock(),
        )
    assert "sandbox" in refused.value.message


def test_where_the_sandbox_is_off_it_is_not_found(runtime: Runtime, cast: Cast, clock: StandingClock) -> None:
    with pytest.raises(NotFound):
        actions.connect_sandbox(
            runtime.database,
            runtime.gateway,
            runtime.secret_box,
            replace(runtime.settings, sandbox=False),
            project_id=cast.project_id,
            project_name="Our project",
            actor=Actor(),
            now=clock(),
        )


def test_disconnecting_forgets_secrets_and_keeps_the_row(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    shop.save_secret(SECRET)
    known = shop.connection().id
    with shop.runtime.database.write() as db:
        actions.disconnect(db, shop.side, actor=shop.actor, now=shop.clock())
    gone = shop.connection()
    assert gone.id == known
    assert gone.key_sealed is gone.webhook_secret_sealed is gone.previous_webhook_secret_sealed is None
    with shop.runtime.database.write() as db, pytest.raises(StripeNotConnected):
        actions.disconnect(db, shop.side, actor=shop.actor, now=shop.clock())


def test_every_change_is_one_line_of_the_audit_log(shop: Shop) -> None:
    shop.save(shop.account("Tea")["secret_key"])
    shop.clock.advance(seconds=1)
    shop.register()
    shop.clock.advance(seconds=1)
    with shop.runtime.database.write() as db:
        actions.disconnect(db, shop.side, actor=shop.actor, now=shop.clock())
    entries = shop.audit()
    assert [entry.action for entry in entries] == [
        "stripe_key.saved",
        "webhook_secret.saved",
        "stripe_connection.removed",
    ]
    assert {entry.actor_user_id for entry in entries} == {shop.cast.owner.user_id}


def test_a_signed_event_proves_the_connection(runtime: Runtime, cast: Cast, clock: StandingClock) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    with runtime.database.write() as db:
        actions.note_signed_event(
            db, connection_id=connection.id, event_id="evt_1", now=clock.advance(minutes=3)
        )
    with runtime.database.read() as db:
        found = connection_by_id(db, connection_id=connection.id)
        assert found is not None
        assert (found.proven_at, found.last_event_id) == (clock(), "evt_1")
