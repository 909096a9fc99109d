"""DOOR: the runtime API under `/v1`."""

from __future__ import annotations

from functools import partial

from flask import Flask
from werkzeug.routing import BaseConverter

from licenzy.api import access, checkout, entitlements, probes
from licenzy.api.exchange import Desk, answering, refuse_exception


class RefConverter(BaseConverter):
    """The rest of the path, slashes included, whatever they encode."""

    regex = r".+"
    part_isolating = False


def register(app: Flask) -> None:
    """Attach the API; every route here is guarded by the API key inside its view."""
    desk = Desk(app.extensions["licenzy"])
    app.extensions["licenzy_api_errors"] = partial(refuse_exception, desk)
    app.url_map.converters["ref"] = RefConverter
    check = partial(access.check, read=desk.prepare(access.STATEMENT))
    for name, method, rule, view in (
        ("healthz", "GET", "/healthz", probes.healthz),
        ("readyz", "GET", "/readyz", probes.readyz),
        ("check", "POST", "/v1/access/check", check),
        ("create_session", "POST", "/v1/checkout/session", checkout.create_session),
        ("customer_access", "GET", "/v1/customer/access/<ref:subject_ref>", entitlements.customer_access),
        ("entitlements", "GET", "/v1/entitlements/<ref:subject_ref>", entitlements.entitlements),
    ):
        app.add_url_rule(
            rule,
            endpoint=f"api.{name}",
            view_func=answering(desk, view),
            methods=[method],
            provide_automatic_options=False,
            # A trailing slash is another path, except in a ref, where it is part of the ref.
            strict_slashes="<ref:" not in rule,
        )
