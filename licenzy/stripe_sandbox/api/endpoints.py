"""Webhook endpoints."""

from __future__ import annotations

import functools
import typing
from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.table import deleted, list_endpoint, operation
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    address,
    array,
    boolean,
    fields,
    merged_metadata,
    metadata,
    text,
)
from licenzy.stripe_sandbox.shapes.endpoints import webhook_endpoint
from licenzy.stripe_sandbox.version import Json, is_version

MAX_ENDPOINTS = 16


@functools.cache
def known_events() -> frozenset[str]:
    """Every event type of the pinned version, from the library's own types; loaded when first needed, for it
    is large."""
    import stripe

    literal = typing.get_type_hints(stripe.Event)["type"]
    return frozenset(typing.get_args(literal))


def _enabled_event(value: Any, name: str) -> str:
    type_: str = text(100)(value, name)
    if type_ != "*" and type_ not in known_events():
        raise InvalidParameter(
            f"Invalid {name}: must be one of the event types of the API, not {type_}", param=name
        )
    return type_


def _version(value: Any, name: str) -> str:
    version: str = text(40)(value, name)
    if not is_version(version):
        raise InvalidParameter(f"Invalid Stripe API version: {version}", param=name)
    return version


_ENDPOINT: dict[str, Check] = {
    "description": text(unset=True),
    "enabled_events": array(_enabled_event, maximum=300),
    "metadata": metadata(),
    "url": address(),
    **EXPAND,
}


@operation(
    "POST",
    "/v1/webhook_endpoints",
    permission="webhook",
    params=fields(
        {**_ENDPOINT, "api_version": _version, "connect": boolean()}, required=("enabled_events", "url")
    ),
)
def create(session: AccountStore, params: Json) -> Json:
    """The only response with the secret."""
    _validate(params)
    if len(session.select("webhook_endpoint")) >= MAX_ENDPOINTS:
        raise RequestRefused(
            f"You have reached the maximum of {MAX_ENDPOINTS} {session.account.mode} webhook endpoints."
        )
    endpoint = session.insert(webhook_endpoint(session, params))
    return {**endpoint, "secret": endpoint["_secret"]}


@operation("GET", "/v1/webhook_endpoints/<endpoint_id>", permission="webhook", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, endpoint_id: str) -> Json:
    del params
    return _get(session, endpoint_id)


@operation(
    "POST",
    "/v1/webhook_endpoints/<endpoint_id>",
    permission="webhook",
    params=fields({**_ENDPOINT, "disabled": boolean()}),
)
def update(session: AccountStore, params: Json, endpoint_id: str) -> Json:
    endpoint = _get(session, endpoint_id)
    _validate(params)
    changes = {k: v for k, v in params.items() if k not in ("disabled", "metadata")}
    if "disabled" in params:
        changes["status"] = "disabled" if params["disabled"] else "enabled"
    if "metadata" in params:
        changes["metadata"] = merged_metadata(endpoint["metadata"], params["metadata"])
    session.change(endpoint, **changes)
    return endpoint


@operation("DELETE", "/v1/webhook_endpoints/<endpoint_id>", permission="webhook", params=fields({}))
def delete(session: AccountStore, params: Json, endpoint_id: str) -> Json:
    """What was still to be posted to it is posted no more."""
    del params
    endpoint = _get(session, endpoint_id)
    session.remove(endpoint)
    session.db.execute(
        "DELETE FROM posts WHERE scope = ? AND endpoint = ? AND status = 'pending'",
        (session.account.scope, endpoint_id),
    )
    return deleted(endpoint)


list_endpoint("/v1/webhook_endpoints", "webhook_endpoint", permission="webhook")


def _get(session: AccountStore, endpoint_id: str) -> Json:
    return session.get("webhook_endpoint", endpoint_id, param="webhook_endpoint", in_address=True)


def _validate(params: Json) -> None:
    if not params.get("url", "http://").lower().startswith(("http://", "https://")):
        raise InvalidParameter(
            "Invalid URL: webhook endpoints must be http or https.", code="url_invalid", param="url"
        )
    if params.get("enabled_events") == []:
        raise InvalidParameter("Invalid array", param="enabled_events")
