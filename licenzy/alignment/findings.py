"""What a finding is, and the registry of the rules that make them. Pure.

A rule is one function under the decorator `rule`, in a file of `alignment/rules`: it reads the facts of
one mode and yields what it found. docs/findings.md has a section for each code; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from licenzy.alignment.facts import ProjectFacts, SideFacts
from licenzy.alignment.modes import Mode

CONNECTION, PRODUCTS, API_KEYS, EVENTS = "connection", "products", "api-keys", "events"
UNTRACKED, WEBHOOKS, RECONCILIATION = "untracked", "webhooks", "reconciliation"
CUSTOMERS, IMPORTS = "customers", "imports"
GO_LIVE = "setup/go-live"
"""The pages that fix: the last part of their address below `/projects/<id>/<mode>/`."""

SUPPORT_PAGES = frozenset({UNTRACKED, RECONCILIATION, EVENTS, CUSTOMERS})
"""Those on which the role support may do the fix; the others are for admins."""


class Severity(StrEnum):
    """Whether nothing can be sold, something needs attention, or it is only information."""

    BLOCKS = "blocks"
    WARNS = "warns"
    NOTES = "notes"

    @property
    def label(self) -> str:
        """The severity as people read it."""
        return _LABELS[self]


_LABELS = {Severity.BLOCKS: "Blocks sales", Severity.WARNS: "Warning", Severity.NOTES: "Note"}


class Part(StrEnum):
    """The part of a set-up that a finding is about: a row of the alignment page's matrix."""

    API_KEY = "api_key"
    CONNECTION = "connection"
    ACCOUNT = "account"
    SECRET = "secret"
    ENDPOINT = "endpoint"
    PRODUCTS = "products"
    PRICES = "prices"
    TRAFFIC = "traffic"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object that a finding is about: its kind (`product`, `api_key`, `event` …), id and name."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class FindingDraft:
    """What a rule yields: the objects, what was seen and when, a sentence of cause, one of fix, the page."""

    about: tuple[ObjectRef, ...]
    evidence: str
    cause: str
    fix: str
    page: str
    at: datetime | None = None
    severity: Severity | None = None
    """Set where this case is graver or lighter than the rule's own severity."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mismatch of modes or set-up, with its evidence and its fix."""

    code: str
    title: str
    severity: Severity
    part: Part
    mode: Mode
    about: tuple[ObjectRef, ...]
    evidence: str
    """What was seen."""
    seen_at: datetime | None
    cause: str
    fix: str
    page: str
    resolvable: bool = False
    """Whether somebody may mark it as fixed."""

    @property
    def subject(self) -> str:
        """The names of what it is about."""
        return ", ".join(about.name for about in self.about)

    def path(self, project_id: str) -> str:
        """The portal's page that fixes it."""
        return f"/projects/{project_id}/{self.mode.value}/{self.page}"


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule looks at: one side, the other one beside it, and the time."""

    here: SideFacts
    other: SideFacts
    now: datetime


Judge = Callable[[RuleContext], Iterator[FindingDraft]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the registry."""

    code: str
    title: str
    severity: Severity
    part: Part
    compares: bool
    resolvable: bool
    judge: Judge


RULES: list[Rule] = []


def rule(
    code: str,
    title: str,
    severity: Severity,
    part: Part,
    *,
    compares: bool = False,
    resolvable: bool = False,
) -> Callable[[Judge], Judge]:
    """Enter a function into the registry. One that `compares` modes is silent until live exists.

    What is `resolvable` is about traffic, which no later fact can undo: somebody marks it as fixed, until it
    is seen again.
    """

    def enter(judge: Judge) -> Judge:
        RULES.append(Rule(code, title, severity, part, compares, resolvable, judge))
        return judge

    return enter


def judged(project: ProjectFacts, mode: Mode) -> list[Finding]:
    """What every rule finds on one side, worst first. Nothing is said of live before it exists."""
    context = RuleContext(project.side(mode), project.side(mode.other), project.now)
    live = project.live.exists
    found = [
        _finding(each, mode, drafts)
        for each in RULES
        if live or not (each.compares or mode is Mode.LIVE)
        for drafts in each.judge(context)
        if not _marked_as_resolved(each, drafts, context.here)
    ]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _marked_as_resolved(each: Rule, drafts: FindingDraft, here: SideFacts) -> bool:
    fixed_at = here.resolved.get(each.code)
    return each.resolvable and fixed_at is not None and drafts.at is not None and drafts.at <= fixed_at


def _finding(each: Rule, mode: Mode, drafts: FindingDraft) -> Finding:
    return Finding(
        code=each.code,
        title=each.title,
        severity=drafts.severity or each.severity,
        part=each.part,
        mode=mode,
        about=drafts.about,
        evidence=drafts.evidence,
        seen_at=drafts.at,
        cause=drafts.cause,
        fix=drafts.fix,
        page=drafts.page,
        resolvable=each.resolvable,
    )
