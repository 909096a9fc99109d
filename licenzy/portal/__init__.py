"""The portal: server-rendered pages for people, with htmx for what changes in place."""

# Importing a module of views is what puts its pages on the blueprint.
# ruff: noqa: F401

from __future__ import annotations

from flask import Flask
from htmx_flask import Htmx

import licenzy.portal.access.invitations
import licenzy.portal.access.passkeys
import licenzy.portal.access.password_resets
import licenzy.portal.access.provider
import licenzy.portal.access.second_step
import licenzy.portal.access.views
import licenzy.portal.account.notifications
import licenzy.portal.account.passkeys
import licenzy.portal.account.second_factor
import licenzy.portal.account.views
import licenzy.portal.alignment.views
import licenzy.portal.api_keys.views
import licenzy.portal.audit.views
import licenzy.portal.checkout.views
import licenzy.portal.connections.views
import licenzy.portal.customers.erasure
import licenzy.portal.customers.operator_actions
import licenzy.portal.customers.overrides
import licenzy.portal.customers.views
import licenzy.portal.deliveries.views
import licenzy.portal.docs.views
import licenzy.portal.endpoints.views
import licenzy.portal.events.views
import licenzy.portal.imports.downloads
import licenzy.portal.imports.views
import licenzy.portal.lab.views
import licenzy.portal.overview.views
import licenzy.portal.products.new_prices
import licenzy.portal.products.prices
import licenzy.portal.products.terms
import licenzy.portal.products.views
import licenzy.portal.projects.views
import licenzy.portal.reconciliation.views
import licenzy.portal.search.views
import licenzy.portal.settings.views
import licenzy.portal.setup.api_playground
import licenzy.portal.setup.go_live
import licenzy.portal.setup.views
import licenzy.portal.team.member_views
import licenzy.portal.team.views
import licenzy.portal.untracked.views
import licenzy.portal.workspaces.views
from licenzy.portal.access.provider import register_provider
from licenzy.portal.blueprint import IdInPath, ModeInPath, StripeIdInPath, portal, project, workspace
from licenzy.portal.csrf import check_form_origin
from licenzy.portal.error_pages import answer_errors
from licenzy.portal.exports import register_exports
from licenzy.portal.guards import (
    fill_in_project,
    fill_in_workspace,
    require_project_role,
    require_workspace_role,
)
from licenzy.portal.page_rules import no_store, refuse_nul
from licenzy.portal.sessions import init_sessions
from licenzy.portal.template_env import register_template_helpers
from licenzy.settings import Settings

__all__ = ["register"]


def register(app: Flask) -> None:
    """Hang the portal on `app`, whose `extensions["licenzy"]` must hold the runtime already."""
    settings: Settings = app.extensions["licenzy"].settings
    Htmx(app)
    init_sessions(app, settings)
    register_template_helpers(app)
    register_provider(app)
    register_exports(app)
    answer_errors(app)
    app.url_map.converters.update(id=IdInPath, mode=ModeInPath, stripe_id=StripeIdInPath)
    app.register_blueprint(portal)


portal.before_request(check_form_origin)
portal.before_request(refuse_nul)
project.before_request(require_project_role)
project.url_defaults(fill_in_project)
workspace.before_request(require_workspace_role)
workspace.url_defaults(fill_in_workspace)
portal.after_request(no_store)
