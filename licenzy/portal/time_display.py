"""How the page that is shown writes times: in the zone and the date format of its workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from flask import g, has_request_context

from licenzy.kit.time_zones import UTC_NAME, days_there, to_instant, to_local, zone, zone_label
from licenzy.portal.sessions import signed_in_user
from licenzy.runtime import runtime
from licenzy.workspace.models import DateFormat, Workspace
from licenzy.workspace.queries import workspace_by_id, workspaces_of


@dataclass(frozen=True, slots=True)
class TimeDisplay:
    """A zone by its IANA name, and how a date is written."""

    zone: tzinfo
    zone_name: str
    date_format: DateFormat

    @property
    def zone_words(self) -> str:
        """`UTC`, or `Europe/Berlin time`: what forms and charts say their times are in."""
        return UTC_NAME if self.zone is UTC else f"{self.zone_name.replace('_', ' ')} time"

    def local(self, at: datetime) -> datetime:
        """What clocks there show."""
        return to_local(at, self.zone)

    def entered(self, local: datetime) -> datetime:
        """The instant that somebody means who enters this time, in UTC."""
        return to_instant(local, self.zone)

    def days(self, first: date | None, last: date | None) -> tuple[datetime | None, datetime | None]:
        """From when until when these days last there, in UTC; None where an end is open."""
        return days_there(first, last, self.zone)

    def day_parts(self, at: datetime) -> tuple[str, str, str]:
        """A date as `30 Nov` with what stands before and after it: the year."""
        here = self.local(at)
        match self.date_format:
            case DateFormat.MONTH_FIRST:
                return "", f"{here:%b} {here.day}", f", {here.year}"
            case DateFormat.ISO:
                return f"{here.year}-", f"{here:%m-%d}", ""
        return "", f"{here.day} {here:%b}", f" {here.year}"

    def clock_time(self, at: datetime) -> str:
        """`09:30`."""
        return f"{self.local(at):%H:%M}"

    def zone_at(self, at: datetime) -> str:
        """`CET` in winter, `CEST` in summer."""
        return zone_label(self.local(at))


_UTC = TimeDisplay(UTC, UTC_NAME, DateFormat.DAY_FIRST)


def time_display() -> TimeDisplay:
    """That of the workspace or project of this page, else of the person's first workspace, else UTC.

    It is looked up once for a page, when the first time is written on it.
    """
    if not has_request_context():
        return _UTC
    found: TimeDisplay | None = g.get("time_display")
    if found is None:
        workspace = _workspace_here()
        found = g.time_display = _UTC if workspace is None else _of(workspace)
    return found


def _of(workspace: Workspace) -> TimeDisplay:
    place = zone(workspace.time_zone)
    return TimeDisplay(place, workspace.time_zone, DateFormat(workspace.date_format))


def _workspace_here() -> Workspace | None:
    member, side = g.get("member"), g.get("side")
    if member is not None:
        here: Workspace = member.workspace
        return here
    user = signed_in_user() if side is None else None
    if side is None and user is None:
        return None
    with runtime().database.read() as db:
        if side is not None:
            return workspace_by_id(db, workspace_id=side.project.workspace_id)
        mine = workspaces_of(db, user_id=user.user_id) if user is not None else []
    return mine[0][0] if mine else None
