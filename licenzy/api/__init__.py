"""DOOR: the runtime API under `/v1`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.routing import BaseConverter

from licenzy.api import access, batch, billing, checkout, entitlements, metrics, probes, reservations, usage
from licenzy.api.exchange import Desk, Exchange, answered, answering, refuse_exception
from licenzy.api.openapi import describe, openapi
from licenzy.api.reply import Reply
from licenzy.db.readiness import Readiness

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CHECK = "/v1/access/check"
CONSUME = "/v1/usage/consume"
RESERVATION = "/v1/usage/reservations/<reservation_id>"


class RefConverter(BaseConverter):
    """The rest of the path, slashes and line feeds included, whatever they encode."""

    regex = r"[\s\S]+"
    part_isolating = False


class StraightLine:
    """Answers the hottest calls in front of Flask, whose routing and contexts cost more than the answer.

    It runs the very functions that stand behind the routes; every other request goes on to Flask.
    """

    def __init__(self, app: WSGIApplication, desk: Desk, posts: Mapping[str, Callable[..., Reply]]) -> None:
        self.wsgi_app, self._desk, self._posts = app, desk, posts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        view = self._posts.get(environ["PATH_INFO"])
        if view is None or environ["REQUEST_METHOD"] != "POST":
            return self.wsgi_app(environ, start_response)
        return answered(Exchange(self._desk, environ), view).send(start_response)


def register(app: Flask) -> None:
    """Attach the API; every route here is guarded by the API key inside its view."""
    desk = Desk(app.extensions["licenzy"])
    app.extensions["licenzy_api_errors"] = partial(refuse_exception, desk)
    app.url_map.converters["ref"] = RefConverter
    check = partial(access.check, read=desk.prepare(access.STATEMENT))
    till = usage.Till(desk)
    described = cache(partial(describe, app.url_map, desk.runtime.settings.base_url))
    app.extensions["licenzy_api_description"] = described
    routes: tuple[tuple[str, str, str, Callable[..., Reply]], ...] = (
        ("healthz", "GET", "/healthz", probes.healthz),
        ("readyz", "GET", "/readyz", partial(probes.readyz, readiness=Readiness(desk.runtime.database))),
        ("check", "POST", CHECK, check),
        ("check_batch", "POST", "/v1/access/check-batch", batch.check_batch),
        ("consume", "POST", CONSUME, till.consume),
        ("reserve", "POST", "/v1/usage/reserve", reservations.reserve),
        ("commit", "POST", f"{RESERVATION}/commit", reservations.commit),
        ("release", "POST", f"{RESERVATION}/release", reservations.release),
        ("create_session", "POST", "/v1/checkout/session", checkout.create_session),
        ("portal_session", "POST", "/v1/billing/portal-session", billing.create_portal_session),
        ("customer_access", "GET", "/v1/customer/access/<ref:subject_ref>", entitlements.customer_access),
        ("entitlements", "GET", "/v1/entitlements/<ref:subject_ref>", entitlements.entitlements),
        ("openapi", "GET", "/v1/openapi.json", partial(openapi, described=described)),
        *_measured(desk.runtime.settings.metrics_token),
    )
    for name, method, rule, view in routes:
        app.add_url_rule(
            rule,
            endpoint=f"api.{name}",
            view_func=answering(desk, view),
            methods=[method],
            provide_automatic_options=False,
            # A trailing slash is another path, except in a ref, where it is part of the ref.
            strict_slashes="<ref:" not in rule,
        )
    app.wsgi_app = StraightLine(app.wsgi_app, desk, {CHECK: check, CONSUME: till.consume})  # type: ignore[method-assign]


def _measured(token: str | None) -> list[tuple[str, str, str, Callable[..., Reply]]]:
    """`/metrics`, where a token is set; elsewhere the address does not exist."""
    return [("metrics", "GET", "/metrics", partial(metrics.metrics, token=token))] if token else []
