"""What templates may use on every page."""

from __future__ import annotations

from flask import Flask
from jinja2 import StrictUndefined

from licenzy.catalog.rules import duration_text
from licenzy.kit.clock import rfc3339
from licenzy.kit.money import format_amount
from licenzy.kit.resources import content_digest
from licenzy.portal.access.provider import provider_name
from licenzy.portal.alignment.findings import blocking_findings, finding_page
from licenzy.portal.csrf import csrf_token
from licenzy.portal.formatting import (
    ago,
    browser_name,
    clock_time,
    day,
    day_parts,
    event_name,
    instant,
    milliseconds,
    number,
    split_host,
    split_tail,
    zone_words,
)
from licenzy.portal.forms import input_attributes, typed_word
from licenzy.portal.limit_text import limit_text
from licenzy.portal.navigation import (
    current_side,
    lab_offered,
    may_create_project,
    mode_switch_url,
    navigation,
    next_setup_step,
    projects_here,
    sandbox_clock,
    workspace_pages,
)
from licenzy.portal.passkey_questions import passkeys_offered
from licenzy.portal.sessions import signed_in_user
from licenzy.usage.window_history import strip


def register_template_helpers(app: Flask) -> None:
    """Make the names below known to all templates, and unknown names an error."""
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        asset_url=asset_url,
        blocking_findings=blocking_findings,
        csrf_token=csrf_token,
        finding_page=finding_page,
        input_attributes=input_attributes,
        lab_offered=lab_offered,
        may_create_project=may_create_project,
        mode_switch_url=mode_switch_url,
        navigation=navigation,
        next_setup_step=next_setup_step,
        projects_here=projects_here,
        passkeys_offered=passkeys_offered,
        provider_name=provider_name,
        sandbox_clock=sandbox_clock,
        side=current_side,
        typed_word=typed_word,
        signed_in_user=signed_in_user,
        workspace_pages=workspace_pages,
        zone_words=zone_words,
    )
    app.jinja_env.filters.update(
        ago=ago,
        amount=format_amount,
        browser_name=browser_name,
        clock_time=clock_time,
        day=day,
        day_parts=day_parts,
        event_name=event_name,
        instant=instant,
        lasting=duration_text,
        milliseconds=milliseconds,
        moment=rfc3339,
        number=number,
        limit_text=limit_text,
        split_host=split_host,
        split_tail=split_tail,
        window_columns=strip,
    )


def asset_url(path: str) -> str:
    """The address of a static file, changing with the files so that it may be cached for good."""
    return f"/static/{content_digest('static')}/{path}"
