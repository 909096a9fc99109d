"""Alignment: the findings of this mode, the proof of each part, and checking with Stripe again."""

from __future__ import annotations

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.alignment.findings import RULES
from licenzy.alignment.matrix import matrix
from licenzy.alignment.rules import findings
from licenzy.observations.actions import mark_resolved
from licenzy.portal.alignment.findings import _facts, severity_counts
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import flashed_refusals, go, show
from licenzy.runtime import runtime
from licenzy.setup.journey import PATIENCE
from licenzy.setup.stripe_probe import probe_side
from licenzy.workspace.models import Role


@project.get("/alignment")
@project_page(Role.VIEWER)
def alignment(side: Side) -> ResponseReturnValue:
    """Both modes part by part with their last proof, and everything found on this side."""
    facts = _facts(side)
    here = facts.side(side.mode)
    found = {mode: findings(facts, mode) for mode in (side.mode, side.mode.other)}
    due_at = here.probe_due_at
    waiting = due_at is not None and facts.now - due_at < PATIENCE
    return show(
        "alignment/page.html",
        "alignment/_state.html",
        status=200 if waiting else 286,
        facts=here,
        waiting=waiting,
        findings=found[side.mode],
        other_count=len(found[side.mode.other]),
        rows=matrix(facts, found),
        counts=severity_counts(found[side.mode]),
    )


@project.post("/alignment/check")
@project_page(Role.SUPPORT)
def check_alignment(side: Side) -> ResponseReturnValue:
    """Check this mode with Stripe now."""
    parts = runtime()
    with flashed_refusals():
        probe_side(parts.database, parts.gateway, parts.secret_box, side.scope, clock=parts.clock)
        flash(f"Checked {side.mode} mode with Stripe.", "success")
    return go(url_for("portal.project.alignment"))


@project.post("/alignment/<code>/fixed")
@project_page(Role.SUPPORT)
def mark_finding_fixed(side: Side, code: str) -> ResponseReturnValue:
    """Take a person's word that what was seen in traffic is fixed; it returns when seen again."""
    if not any(rule.code == code and rule.resolvable for rule in RULES):
        abort(404)
    with runtime().database.write() as db:
        mark_resolved(db, side.scope, code=code, actor=side.actor, now=runtime().clock())
    flash("Marked as fixed. It comes back if it is seen again.", "success")
    return go(url_for("portal.project.alignment"))
