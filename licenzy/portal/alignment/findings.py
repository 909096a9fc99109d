"""What is known and found of the project of a page, gathered once for each request."""

from __future__ import annotations

from collections.abc import Iterable

from flask import g, request

from licenzy.alignment.facts import ProjectFacts, SideFacts
from licenzy.alignment.findings import SUPPORT_PAGES, Finding, Part, Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.portal.guards import Side
from licenzy.runtime import runtime
from licenzy.setup.fact_collector import project_facts
from licenzy.workspace.models import Role


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
