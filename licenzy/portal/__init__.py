"""The portal: server-rendered pages for people, with htmx for what changes in place."""

from __future__ import annotations

from flask import Flask
from htmx_flask import Htmx

from licenzy.portal import (  # noqa: F401  # Pages hang themselves on the blueprint.
    access,
    account,
    alignment,
    api_keys,
    by_hand,
    checkout,
    connection,
    customers,
    deliveries,
    docs,
    endpoints,
    events,
    going_live,
    lab,
    overview,
    products,
    project_settings,
    projects,
    reconciliation,
    setup,
    trying,
    untracked,
)
from licenzy.portal.blueprint import ModeInPath, portal
from licenzy.portal.csrf import check_form_origin
from licenzy.portal.error_pages import answer_errors
from licenzy.portal.page_rules import no_store, refuse_nul
from licenzy.portal.search import views as search_views  # noqa: F401
from licenzy.portal.shell import furnish
from licenzy.portal.visitors import keep_sessions
from licenzy.settings import Settings

__all__ = ["register"]


def register(app: Flask) -> None:
    """Hang the portal on `app`, whose `extensions["licenzy"]` must hold the runtime already."""
    settings: Settings = app.extensions["licenzy"].settings
    Htmx(app)
    keep_sessions(app, settings)
    furnish(app)
    answer_errors(app)
    if "mode" not in app.url_map.converters:
        app.url_map.converters["mode"] = ModeInPath
    app.register_blueprint(portal)


portal.before_request(check_form_origin)
portal.before_request(refuse_nul)
portal.after_request(no_store)
