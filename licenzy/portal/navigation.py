"""What the frame around every page of a project shows: its navigation, its projects, its clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import g, request, url_for

from licenzy.alignment.findings import Finding, Severity
from licenzy.alignment.modes import Mode
from licenzy.lab.queries import sandbox_connection
from licenzy.portal.alignment.findings import severity_counts, side_facts, side_findings
from licenzy.portal.guards import Side, WorkspaceMember
from licenzy.portal.sessions import signed_in_user
from licenzy.projects.models import Project
from licenzy.projects.queries import projects_to_enter
from licenzy.runtime import runtime
from licenzy.setup.queries import has_granted
from licenzy.setup.rules import StepName, step_of
from licenzy.workspace.models import Role
from licenzy.workspace.queries import workspaces_of


@dataclass(frozen=True, slots=True)
class Count:
    """A number at an entry: of what blocks selling (`bad`), or else of warnings (`warn`)."""

    number: int
    tone: str
    meaning: str
    """What is counted, for those who do not see the colour."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a project's navigation."""

    endpoint: str
    label: str
    icon: str
    count: Count | None = None

    @property
    def url(self) -> str:
        return url_for(self.endpoint)


@dataclass(frozen=True, slots=True)
class WorkspaceEntry:
    """A page of a workspace, in the menu of the person and above pages that belong to no project."""

    workspace_id: str
    endpoint: str
    label: str
    icon: str

    @property
    def url(self) -> str:
        return url_for(self.endpoint, workspace_id=self.workspace_id)


@dataclass(frozen=True, slots=True)
class NavigationGroup:
    """Entries under one heading; those without a title stand by themselves."""

    title: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class SandboxClock:
    """The time in a side whose clock was moved ahead of ours."""

    at: datetime
    ahead: str
    """How far ahead, as `+822 days`."""


_SETUP = Entry("portal.project.setup", "Setup", "checklist")
_GO_LIVE = Entry("portal.project.setup", "Go live", "rocket")
_SELL = NavigationGroup(
    "Sell",
    (
        Entry("portal.project.overview", "Overview", "home"),
        Entry("portal.project.customers", "Customers", "users"),
        Entry("portal.project.products", "Products", "package"),
    ),
)
_STRIPE = NavigationGroup(
    "Stripe",
    (
        Entry("portal.project.connection", "Connection", "plug-connected"),
        Entry("portal.project.events", "Events", "bolt"),
        Entry("portal.project.untracked", "Untracked", "shopping-cart"),
        Entry("portal.project.imports", "Import", "download"),
        Entry("portal.project.reconciliation", "Reconciliation", "rotate-clockwise"),
    ),
)
_API_KEYS = Entry("portal.project.api_keys", "API keys", "key")
_WEBHOOKS = Entry("portal.project.webhooks", "Webhooks", "webhook")
_LAB = Entry("portal.project.lab", "Lab", "flask")
_SETTINGS = Entry("portal.project.project_settings", "Settings", "settings")
_GUIDE = Entry("portal.docs", "Guide", "book")


def navigation(*, with_lab: bool) -> list[NavigationGroup]:
    """The pages of the project in this mode. Setup leads while it is unfinished, and is last afterwards."""
    side = current_side()
    alignment = Entry("portal.project.alignment", "Alignment", "shield-check", _findings_count(side))
    build = NavigationGroup("Build", (_API_KEYS, _WEBHOOKS, _LAB) if with_lab else (_API_KEYS, _WEBHOOKS))
    rest = NavigationGroup(None, (alignment, _SETTINGS, _GUIDE))
    if not _setup_finished(side):
        return [NavigationGroup(None, (_SETUP,)), _SELL, _STRIPE, build, rest]
    begun = side.mode.livemode or side_facts(side, Mode.LIVE).exists
    return [_SELL, _STRIPE, build, rest, NavigationGroup(None, (_SETUP if begun else _GO_LIVE,))]


def workspace_pages() -> list[WorkspaceEntry]:
    """The pages of the workspace that is visited or whose project is; elsewhere those of the first one."""
    here = _workspace_here()
    if here is None:
        return []
    workspace_id, role = here
    pages = [
        (Role.VIEWER, "portal.workspace.team", "Team", "users"),
        (Role.ADMIN, "portal.workspace.workspace_settings", "Workspace", "settings"),
        (Role.ADMIN, "portal.workspace.audit", "Audit log", "list"),
    ]
    return [WorkspaceEntry(workspace_id, *page) for needed, *page in pages if role.at_least(needed)]


def next_setup_step(blocking: Finding) -> StepName | None:
    """The step of the unfinished setup that takes care of what blocks; None once the setup is finished."""
    return None if _setup_finished(current_side()) else step_of(blocking)


def projects_here() -> Sequence[Project]:
    """The projects this person may switch to, this one included, by name; archived ones left out."""
    user = current_side().user
    with_factor = user.second_factor_at is not None
    with runtime().database.read() as db:
        mine = projects_to_enter(db, user_id=user.user_id, with_second_factor=with_factor)
    here = current_side().project_id
    listed = (project for project, _role in mine if project.archived_at is None or project.id == here)
    return sorted(listed, key=lambda each: each.name.casefold())


def may_create_project() -> bool:
    """Whether this person may create another project in the workspace of this one."""
    return current_side().role.at_least(Role.ADMIN)


def sandbox_clock() -> SandboxClock | None:
    """The time of this side, where the sandbox's clock was moved; None where it is ours."""
    scope = current_side().scope
    if not scope.clock_offset:
        return None
    return SandboxClock(scope.now(runtime().clock), ahead(scope.clock_offset))


def ahead(offset: timedelta) -> str:
    """`+822 days`, `+3 hours`: a distance in the largest unit of which there is a whole one."""
    seconds = int(abs(offset).total_seconds())
    sign = "-" if offset < timedelta() else "+"
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{sign}{count:,} {word}{'' if count == 1 else 's'}"
    return f"{sign}{seconds} second{'' if seconds == 1 else 's'}"


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


def _workspace_here() -> tuple[str, Role] | None:
    member: WorkspaceMember | None = g.get("member")
    side: Side | None = g.get("side")
    user = signed_in_user()
    if member is not None:
        return member.workspace_id, member.role
    if side is not None:
        return side.project.workspace_id, side.role
    if user is None:
        return None
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    return (mine[0][0].id, mine[0][1]) if mine else None


def _findings_count(side: Side) -> Count | None:
    """From the facts that the page's banner is made of, which are gathered once for a page."""
    if not side_facts(side).exists:
        return None
    counted = severity_counts(side_findings(side))
    blocking, warnings = counted[Severity.BLOCKS], counted[Severity.WARNS]
    if blocking:
        return Count(blocking, "bad", "blocking")
    return Count(warnings, "warn", "warning" if warnings == 1 else "warnings") if warnings else None


def _setup_finished(side: Side) -> bool:
    """Whether all five steps were proven, findings of today aside: those are counted at Alignment."""
    facts = side_facts(side)
    connection = facts.connection
    ready = (
        connection is not None
        and connection.connected
        and connection.proven
        and bool(facts.products)
        and any(key.last_used_at for key in facts.usable_keys)
    )
    if not ready:
        return False
    with runtime().database.read() as db:
        return has_granted(db, side.scope)
