"""The start page of one side: how far the set-up is, what does not fit, what there is."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from licenzy.checkout.queries import latest_attempts
from licenzy.portal.alignment.findings import severity_counts, side_findings
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import show
from licenzy.portal.time_display import time_display
from licenzy.runtime import runtime
from licenzy.setup.activity import BY_DAY, BY_HOUR, activity
from licenzy.setup.queries import counts, setup_facts
from licenzy.setup.rules import current, done_count, not_reached, steps
from licenzy.stripe_events.queries import events_page
from licenzy.workspace.models import Role

_LATEST = 5
_SPANS = {span.code: span for span in (BY_HOUR, BY_DAY)}


@project.get("")
@project_page(Role.VIEWER)
def overview(side: Side) -> ResponseReturnValue:
    """The state of this side at a glance."""
    now, span = runtime().clock(), _SPANS.get(request.args.get("range", ""), BY_DAY)
    with runtime().database.read() as db:
        facts = setup_facts(db, side.scope, base_url=runtime().settings.base_url, now=now)
        counted = counts(db, side.scope)
        attempts = latest_attempts(db, side.scope, limit=_LATEST)
        events = events_page(db, side.scope).rows[:_LATEST]
        done_lately = activity(db, side.scope, span=span, zone=time_display().zone, now=now)
    listed = steps(facts, side_findings(side))
    found = [finding for finding in side_findings(side) if not not_reached(finding, listed)]
    return show(
        "overview/page.html",
        "overview/_activity.html",
        facts=facts,
        steps=listed,
        next_step=current(listed),
        done=done_count(listed),
        findings=found,
        found=severity_counts(found),
        counts=counted,
        attempts=attempts,
        events=events,
        activity=done_lately,
        spans=_SPANS.values(),
        last_call=max((key.last_used_at for key in facts.keys if key.last_used_at), default=None),
    )
