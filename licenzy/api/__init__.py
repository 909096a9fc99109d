"""DOOR: the runtime API under `/v1`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from flask import Flask
from werkzeug.routing import BaseConverter

from licenzy.api import (
    access,
    audit,
    batch,
    billing,
    checkout,
    entitlements,
    metrics,
    probes,
    reservations,
    usage,
)
from licenzy.api.on_the_loop import CHECK, CONSUME, CallsOnTheLoop
from licenzy.api.openapi import describe, openapi
from licenzy.api.operations import OPERATIONS
from licenzy.api.reply import Reply
from licenzy.api.request import ApiState, answering, refuse_exception
from licenzy.api.routes import CallRoute, described_path
from licenzy.db.readiness import Readiness

RESERVATION = "/v1/usage/reservations/<reservation_id>"


class RefConverter(BaseConverter):
    """The rest of the path, slashes and line feeds included, whatever they encode."""

    regex = r"[\s\S]+"
    part_isolating = False


def register(app: Flask) -> None:
    """Attach the API; every route here is guarded by the API key inside its view."""
    state = ApiState(app.extensions["licenzy"])
    app.extensions["licenzy_api_errors"] = partial(refuse_exception, state)
    app.url_map.converters["ref"] = RefConverter
    consuming = usage.ConsumeEndpoint(state)
    app.extensions["licenzy_on_the_loop"] = CallsOnTheLoop(state, consuming)
    described = cache(partial(describe, app.url_map, state.runtime.settings.base_url))
    app.extensions["licenzy_api_description"] = described
    routes: tuple[tuple[str, str, str, Callable[..., Reply]], ...] = (
        ("healthz", "GET", "/healthz", probes.healthz),
        ("readyz", "GET", "/readyz", partial(probes.readyz, readiness=Readiness(state.runtime.database))),
        ("check", "POST", CHECK, access.check),
        ("check_batch", "POST", "/v1/access/check-batch", batch.check_batch),
        ("consume", "POST", CONSUME, consuming.consume),
        ("reserve", "POST", "/v1/usage/reserve", reservations.reserve),
        ("commit", "POST", f"{RESERVATION}/commit", reservations.commit),
        ("release", "POST", f"{RESERVATION}/release", reservations.release),
        ("create_session", "POST", "/v1/checkout/session", checkout.create_session),
        ("portal_session", "POST", "/v1/billing/portal-session", billing.create_portal_session),
        ("customer_access", "GET", "/v1/customer/access/<ref:subject_ref>", entitlements.customer_access),
        ("entitlements", "GET", "/v1/entitlements/<ref:subject_ref>", entitlements.entitlements),
        ("audit", "GET", "/v1/audit", audit.audit),
        ("openapi", "GET", "/v1/openapi.json", partial(openapi, described=described)),
        *_measured(state.runtime.settings.metrics_token),
    )
    for name, method, rule, view in routes:
        # A call of `/v1` that no operation describes is a KeyError: nobody has said which keys may make it.
        scope = OPERATIONS[f"api.{name}"].scope if rule.startswith("/v1/") else None
        app.add_url_rule(
            rule,
            endpoint=f"api.{name}",
            view_func=answering(state, view, CallRoute(method, described_path(rule), scope)),
            methods=[method],
            provide_automatic_options=False,
            # A trailing slash is another path, except in a ref, where it is part of the ref.
            strict_slashes="<ref:" not in rule,
        )


def _measured(token: str | None) -> list[tuple[str, str, str, Callable[..., Reply]]]:
    """`/metrics`, where a token is set; elsewhere the address does not exist."""
    return [("metrics", "GET", "/metrics", partial(metrics.metrics, token=token))] if token else []
