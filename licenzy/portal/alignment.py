"""Alignment: what does not fit on this side, the proof of each part, and looking at Stripe again."""

from __future__ import annotations

from collections.abc import Iterable

from flask import abort, flash, g, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.alignment.facts import ProjectFacts, SideFacts
from licenzy.alignment.findings import RULES, SUPPORT_PAGES, Finding, Part, Severity
from licenzy.alignment.matrix import matrix
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.errors import LicenzyError
from licenzy.observations.actions import mark_resolved
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.setup.fact_collector import project_facts
from licenzy.setup.journey import PATIENCE
from licenzy.setup.stripe_probe import probe_side
from licenzy.workspace.models import Role

_SIDE = "/projects/<project_id>/<mode:mode>"


@portal.get(f"{_SIDE}/alignment")
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


@portal.post(f"{_SIDE}/alignment/check")
@project_page(Role.SUPPORT)
def check_alignment(side: Side) -> ResponseReturnValue:
    """Ask Stripe about this side now."""
    parts = runtime()
    try:
        probe_side(parts.database, parts.gateway, parts.secret_box, side.scope, clock=parts.clock)
    except LicenzyError as error:
        flash(error.message, "error")
    else:
        flash(f"Stripe was asked about the {side.mode} side just now.", "success")
    return go(url_for("portal.alignment"))


@portal.post(f"{_SIDE}/alignment/<code>/mended")
@project_page(Role.SUPPORT)
def mend_finding(side: Side, code: str) -> ResponseReturnValue:
    """Take somebody's word that what was seen in traffic is mended; it comes back when seen again."""
    if not any(rule.code == code and rule.resolvable for rule in RULES):
        abort(404)
    with runtime().database.write() as db:
        mark_resolved(db, side.scope, code=code, actor=side.actor, now=runtime().clock())
    flash("Marked as mended. It comes back by itself if it is seen again.", "success")
    return go(url_for("portal.alignment"))


def both_sides(side: Side) -> ProjectFacts:
    """Everything known of both modes of the project."""
    return _facts(side)


def side_facts(side: Side, mode: Mode | None = None) -> SideFacts:
    """Everything known of this side, as alignment's rules see it; or of the same project in `mode`."""
    return _facts(side).side(mode or side.mode)


def side_findings(side: Side, *parts: Part) -> list[Finding]:
    """What is found on this side, worst first; of some parts alone when they are named."""
    found = findings(_facts(side), side.mode)
    return [finding for finding in found if not parts or finding.part in parts]


def blocking_findings() -> list[Finding]:
    """What stops this side from selling, once it is begun; for the banner of every page."""
    here: Side = g.side
    if not _facts(here).side(here.mode).exists:
        return []
    return [finding for finding in side_findings(here) if finding.severity is Severity.BLOCKS]


def finding_page(finding: Finding) -> str | None:
    """The page that fixes a finding; none for who may not change anything there, and for the page itself."""
    here: Side = g.side
    path = finding.path(here.project_id)
    wanted = Role.SUPPORT if finding.page in SUPPORT_PAGES else Role.ADMIN
    return path if here.may(wanted) and path != request.path else None


def severity_counts(found: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    severities = [finding.severity for finding in found]
    return {severity.value: severities.count(severity) for severity in Severity}


def _facts(side: Side) -> ProjectFacts:
    """Gathered once for a page, which asks for them in several places."""
    gathered: ProjectFacts | None = g.get("alignment")
    if gathered is None:
        parts = runtime()
        with parts.database.read() as db:
            gathered = g.alignment = project_facts(
                db,
                parts.secret_box,
                project_id=side.project_id,
                base_url=parts.settings.base_url,
                now=parts.clock(),
            )
    return gathered
