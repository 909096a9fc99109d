"""The navigation of a project's pages, and the switch between its modes."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, g, request, url_for

from licenzy.lab.queries import sandbox_connection
from licenzy.portal.guards import Side
from licenzy.runtime import runtime


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a project's navigation."""

    endpoint: str
    label: str
    icon: str


NAVIGATION = (
    Entry("portal.project.overview", "Overview", "home"),
    Entry("portal.project.setup", "Set-up", "checklist"),
    Entry("portal.project.alignment", "Alignment", "shield-check"),
    Entry("portal.project.lab", "Lifecycle lab", "flask"),
    Entry("portal.project.customers", "Customers", "users"),
    Entry("portal.project.events", "Stripe events", "bolt"),
    Entry("portal.project.untracked", "Untracked checkouts", "shopping-cart"),
    Entry("portal.project.reconciliation", "Reconciliation", "rotate-clockwise"),
    Entry("portal.project.webhooks", "Webhooks", "webhook"),
    Entry("portal.project.products", "Products", "package"),
    Entry("portal.project.api_keys", "API keys", "key"),
    Entry("portal.project.connection", "Stripe connection", "plug-connected"),
    Entry("portal.project.project_settings", "Settings", "settings"),
)


def navigation() -> list[Entry]:
    """The pages of a project that this installation has; the lab only with the sandbox."""
    hidden = set() if lab_offered() else {"portal.project.lab"}
    return [
        entry
        for entry in NAVIGATION
        if entry.endpoint in current_app.view_functions and entry.endpoint not in hidden
    ]


def lab_offered() -> bool:
    """Whether this side is connected to the sandbox, so that its lab has something to show."""
    if current_side().mode.livemode or not runtime().settings.sandbox:
        return False
    with runtime().database.read() as db:
        return sandbox_connection(db, current_side().scope) is not None


def mode_switch_url(section: str) -> str:
    """The same page in the other mode; for a page about one record, the page that lists such records.

    `section` is the endpoint of that list: records belong to one mode.
    """
    rule = request.url_rule
    same = rule and "GET" in (rule.methods or ()) and rule.arguments == {"project_id", "mode"}
    return url_for(rule.endpoint if rule and same else section, mode=current_side().mode.other)


def current_side() -> Side:
    """The project and mode of this page."""
    side: Side = g.side
    return side
