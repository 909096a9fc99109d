"""The account, and its clock."""

from __future__ import annotations

import time

from licenzy.stripe_sandbox import advances
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.table import list_response, operation
from licenzy.stripe_sandbox.errors import PermissionMissing, RequestRefused, ResourceMissing
from licenzy.stripe_sandbox.lifecycle import clock
from licenzy.stripe_sandbox.params import EXPAND, PAGE, fields, integer
from licenzy.stripe_sandbox.shapes import account as shapes
from licenzy.stripe_sandbox.version import Json


@operation("GET", "/v1/account", permission="accounts_kyc_basic", params=fields(EXPAND))
def retrieve_own(session: AccountStore, params: Json) -> Json:
    del params
    return shapes.account(session.account)


@operation("GET", "/v1/accounts/<account_id>", permission="accounts_kyc_basic", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, account_id: str) -> Json:
    del params
    if account_id != session.account.id:
        raise PermissionMissing(
            f"The provided key does not have access to account '{account_id}' (or that account does not "
            f"exist). "
            "Application access may have been revoked.",
            code="account_invalid",
        )
    return shapes.account(session.account)


@operation("GET", "/v1/test_helpers/test_clocks", permission="billing_clock", params=fields(PAGE))
def list_clocks(session: AccountStore, params: Json) -> Json:
    del params
    return list_response(([_clock(session)], False), "/v1/test_helpers/test_clocks")


@operation(
    "GET", "/v1/test_helpers/test_clocks/<clock_id>", permission="billing_clock", params=fields(EXPAND)
)
def retrieve_clock(session: AccountStore, params: Json, clock_id: str) -> Json:
    del params
    _require_own(session, clock_id)
    return _clock(session)


@operation(
    "POST",
    "/v1/test_helpers/test_clocks/<clock_id>/advance",
    permission="billing_clock",
    params=fields({"frozen_time": integer(), **EXPAND}, required=("frozen_time",)),
)
def advance_clock(session: AccountStore, params: Json, clock_id: str) -> Json:
    """Stripe answers `advancing` and goes on by itself; here the clock is `ready` when the answer comes."""
    _require_own(session, clock_id)
    advances.require_still(session)
    if params["frozen_time"] <= session.now:
        raise RequestRefused("The clock can only move forward.", param="frozen_time")
    return clock.advance(session, seconds=params["frozen_time"] - session.now)


def _clock(session: AccountStore) -> Json:
    move = advances.running(session.db, session.account.scope)
    target = None if move is None else int(time.time()) + move.to_offset
    return shapes.test_clock(session.account, frozen_time=session.now, target=target)


def _require_own(session: AccountStore, clock_id: str) -> None:
    if clock_id != session.account.clock_id:
        raise ResourceMissing(
            f"No such test_helpers.test_clock: '{clock_id}'", param="test_clock", in_address=True
        )
