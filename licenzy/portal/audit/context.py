"""What the page of the audit log shows: its filter as an address has it, and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import url_for
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.kit.clock import later
from licenzy.kit.ids import has_shape
from licenzy.portal.blueprint import may_be_stripe_id
from licenzy.search.by_id import is_id
from licenzy.workspace import audit_wording as wording
from licenzy.workspace.audit_log import COMMAND_LINE, STRANGER, AuditFilter
from licenzy.workspace.models import AuditEntry
from licenzy.workspace.queries import names_of

_WORDS_MOST = 200
_PAGES = {
    "key": ("portal.project.api_keys", None),
    "con": ("portal.project.connection", None),
    "prd": ("portal.project.edit_product", "product_id"),
    "sbj": ("portal.project.customer", "subject_id"),
    "whe": ("portal.project.webhook", "endpoint_id"),
    "dlv": ("portal.project.delivery", "delivery_id"),
    "imp": ("portal.project.one_import", "import_id"),
    "prj": ("portal.project.overview", None),
}
"""The page about an id with this prefix, and the part of its address that the id is."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The filter as it was asked for: words of an address, of which those without a meaning are left out."""

    person: str = ""
    action: str = ""
    """An action, or the name of a group of them."""
    project: str = ""
    mode: str = ""
    since: str = ""
    until: str = ""
    """The last day that is wanted."""
    words: str = ""

    @classmethod
    def of(
        cls, given: Mapping[str, str], *, people: Mapping[str, str], projects: Mapping[str, str]
    ) -> Choices:
        """From a query or a form, for a workspace with these people and projects by their ids."""
        person, action, project, mode = (
            given.get(name, "") for name in ("person", "action", "project", "mode")
        )
        known_person = person in people or person in {COMMAND_LINE, STRANGER} or has_shape(person, "usr")
        return cls(
            person=person if known_person else "",
            action=action if action in wording.WORDING or action in wording.GROUPS else "",
            project=project if project in projects else "",
            mode=mode if mode in list(Mode) else "",
            since=_day(given.get("from", "")),
            until=_day(given.get("to", "")),
            words=given.get("q", "").replace("\0", "").strip()[:_WORDS_MOST],
        )

    @property
    def query(self) -> dict[str, str]:
        """The parts of an address that mean the same."""
        named = {
            "person": self.person,
            "action": self.action,
            "project": self.project,
            "mode": self.mode,
            "from": self.since,
            "to": self.until,
            "q": self.words,
        }
        return {name: value for name, value in named.items() if value}

    @property
    def wanted(self) -> AuditFilter:
        """What the log is read with. Days are those of UTC."""
        one = (self.action,) if self.action else ()
        return AuditFilter(
            person=self.person or None,
            actions=wording.GROUPS.get(self.action, one),
            project_id=self.project or None,
            mode=Mode(self.mode) if self.mode else None,
            since=_midnight(self.since) if self.since else None,
            until=later(_midnight(self.until), timedelta(days=1)) if self.until else None,
            words=self.words,
        )


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry in words."""

    entry: AuditEntry
    who: str
    what: str
    about: str
    about_url: str | None
    project: str | None
    differences: Sequence[wording.ChangedField]


def audit_rows(
    db: Session, entries: Sequence[AuditEntry], *, workspace_id: str, projects: Mapping[str, str]
) -> list[AuditRow]:
    """The entries of a page, with the names of those who did it and of those it was done to."""
    ids = {each.actor_user_id for each in entries if each.actor_user_id is not None}
    names = names_of(db, user_ids=ids | {each.about for each in entries if has_shape(each.about, "usr")})
    known = {**names, **projects}
    return [
        AuditRow(
            entry=each,
            who=wording.who(each, names),
            what=wording.in_words(each.action),
            about=known.get(each.about, each.about),
            about_url=_page_about(each, workspace_id, projects),
            project=projects.get(each.project_id or "", each.project_id),
            differences=wording.differences(each),
        )
        for each in entries
    ]


def _page_about(entry: AuditEntry, workspace_id: str, projects: Mapping[str, str]) -> str | None:
    """The page about what it was done to; none where there is no page, or no project any more."""
    prefix, about = entry.about.partition("_")[0], entry.about
    if prefix == "usr":
        return url_for("portal.workspace.team", workspace_id=workspace_id)
    if entry.project_id not in projects:
        return None
    place: dict[str, Any] = {"project_id": entry.project_id, "mode": entry.mode or Mode.TEST}
    if entry.action in {"event.replay", "event.parked"} and may_be_stripe_id(about):
        return url_for("portal.project.event", event_id=about, **place)
    if has_shape(about, prefix) and prefix in _PAGES:
        endpoint, name = _PAGES[prefix]
        if name is not None:
            place[name] = about
        return url_for(endpoint, **place)
    return url_for("portal.project.search", q=about, **place) if is_id(about) else None


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else ""
    except ValueError:
        return ""


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
