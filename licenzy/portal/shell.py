"""What templates may use on every page: addresses of static files, the navigation, the mode switch."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from flask import Flask, current_app, g, request, url_for
from jinja2 import StrictUndefined
from markupsafe import Markup, escape

from licenzy.catalog.rules import split_duration
from licenzy.kit.clock import rfc3339
from licenzy.kit.money import format_amount
from licenzy.kit.resources import content_digest
from licenzy.lab.queries import sandbox_connection
from licenzy.portal.alignment import blocking_findings, finding_page
from licenzy.portal.csrf import csrf_token
from licenzy.portal.forms.typed import typed_word
from licenzy.portal.guards import Side
from licenzy.portal.navigation import may_create_project, navigation, projects_here, sandbox_clock
from licenzy.portal.visitors import visitor
from licenzy.runtime import runtime


def furnish(app: Flask) -> None:
    """Make the names below known to all templates, and unknown names an error."""
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        asset_url=asset_url,
        blocking_findings=blocking_findings,
        csrf_token=csrf_token,
        finding_page=finding_page,
        lab_offered=lab_offered,
        may_create_project=may_create_project,
        mode_switch_url=mode_switch_url,
        navigation=navigation,
        projects_here=projects_here,
        sandbox_clock=sandbox_clock,
        side=current_side,
        typed_word=typed_word,
        visitor=visitor,
    )
    app.jinja_env.filters.update(
        ago=ago,
        amount=format_amount,
        browser_name=browser_name,
        day=day,
        event_name=event_name,
        instant=instant,
        lasting=lasting,
        moment=rfc3339,
        number=number,
    )
    app.url_defaults(_stay_on_this_side)


def asset_url(path: str) -> str:
    """The address of a static file, changing with the files so that it may be cached for good."""
    return f"/static/{content_digest('static')}/{path}"


def current_side() -> Side:
    """The project and mode of this page."""
    side: Side = g.side
    return side


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
    values = dict(request.view_args or {})
    values["mode"] = current_side().mode.other
    rule = request.url_rule
    same = rule is not None and "GET" in (rule.methods or ()) and set(values) == {"project_id", "mode"}
    endpoint = request.endpoint if same and request.endpoint else section
    return url_for(endpoint, project_id=values["project_id"], mode=values["mode"])


def ago(at: datetime | None) -> str:
    """`just now`, `5 minutes ago`, `yesterday`, or the day; `never` for None."""
    if at is None:
        return "never"
    seconds = int((runtime().clock() - at).total_seconds())
    for limit, size, word in ((3600, 60, "minute"), (86_400, 3600, "hour"), (30 * 86_400, 86_400, "day")):
        if 60 <= seconds < limit:
            count = seconds // size
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    return "just now" if seconds < 60 else day(at)


def day(at: datetime) -> str:
    """`23 Nov 2026`, in UTC."""
    return f"{at.day} {at:%b %Y}"


def instant(at: datetime) -> str:
    """`23 Nov 2026, 09:30 UTC`."""
    return f"{day(at)}, {at:%H:%M} UTC"


def number(count: int) -> str:
    """`12,345`, as amounts of money are written."""
    return f"{count:,}"


def event_name(name: str) -> Markup:
    """An event's type for a narrow place: it breaks after dots and underscores, and nowhere else."""
    parts = re.split(r"(?<=[._])", name)
    return Markup('<span class="event-name">{}</span>').format(Markup("<wbr>").join(map(escape, parts)))


def lasting(seconds: int) -> str:
    """`2 days`, `1 month of 30 days`: a duration in the largest unit it is a whole number of."""
    amount, unit = split_duration(seconds)
    word = unit.removesuffix("s") if amount == 1 else unit
    return f"{amount} {word}"


def browser_name(user_agent: str) -> str:
    """`Firefox on Linux`: a guess that is good enough to recognise one's own browsers by."""
    browsers = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = (
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in user_agent), None)
    system = next((name for mark, name in systems if mark in user_agent), None)
    return " on ".join(part for part in (browser, system) if part) or "Unknown browser"


def _stay_on_this_side(endpoint: str, values: dict[str, Any]) -> None:
    """Let links between the pages of a project leave out its id and mode."""
    side = g.get("side")
    if side is None or not endpoint.startswith("portal."):
        return
    expects = current_app.url_map.is_endpoint_expecting
    for name, value in (("project_id", side.project_id), ("mode", side.mode)):
        if name not in values and expects(endpoint, name):
            values[name] = value
