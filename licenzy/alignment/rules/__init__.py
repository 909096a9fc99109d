"""The rules of alignment: facts in, findings out. Importing this fills the registry."""

from __future__ import annotations

from licenzy.alignment.facts import ProjectFacts
from licenzy.alignment.findings import RULES, Finding, judged
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import catalog, connection, keys, traffic, webhook

__all__ = ["RULES", "catalog", "connection", "findings", "keys", "traffic", "webhook"]


def findings(project: ProjectFacts, mode: Mode) -> list[Finding]:
    """What does not fit on one side of a project, worst first."""
    return judged(project, mode)
