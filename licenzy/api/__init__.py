"""DOOR: the runtime API under `/v1`."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response
from werkzeug.routing import BaseConverter

from licenzy.api import access, checkout, entitlements
from licenzy.api.exchange import ApiParts, refuse_exception


class RefConverter(BaseConverter):
    """The rest of the path, slashes included, whatever they encode."""

    regex = r".+"
    part_isolating = False


_ROUTES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("POST", "/v1/access/check", access.check),
    ("POST", "/v1/checkout/session", checkout.create_session),
    ("GET", "/v1/customer/access/<ref:subject_ref>", entitlements.customer_access),
    ("GET", "/v1/entitlements/<ref:subject_ref>", entitlements.entitlements),
)


def register(app: Flask) -> None:
    """Attach the API; every route here is guarded by the API key inside its endpoint."""
    parts = ApiParts(app.extensions["licenzy"])
    app.extensions["licenzy_api"] = parts
    app.extensions["licenzy_access_check"] = access.prepare(parts)
    app.extensions["licenzy_api_errors"] = refuse_exception
    app.url_map.converters["ref"] = RefConverter
    for method, rule, view in _ROUTES:
        app.add_url_rule(
            rule,
            endpoint=f"api.{view.__name__}",
            view_func=view,
            methods=[method],
            provide_automatic_options=False,
            # A trailing slash is another path, except in a ref, where it is part of the ref.
            strict_slashes="<ref:" not in rule,
        )
