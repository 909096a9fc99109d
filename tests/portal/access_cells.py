"""The cells that a line of the table makes: who asks for what, with which ids, and the right answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product

from werkzeug.routing import Rule

from licenzy.alignment.modes import Mode
from licenzy.workspace.models import Role
from tests.portal.access_records import WORKSPACE_OF, Records, Site
from tests.portal.access_table import WORDS, Access

SIGNED_OUT = ("nobody", "disabled", "ended")
STALE = ", hours later"
"""Added to a visitor's name: the same person, who gave the password too long ago to change credentials."""
EMAILS = {
    "viewer": "colleague@example.com",
    **{role: f"{role}@example.com" for role in ("support", "admin", "owner", "stranger", "disabled")},
    "ended": "owner@example.com",
}


class Right(StrEnum):
    """The right answer to a cell."""

    SIGN_IN = "is sent to sign in"
    CONFIRM = "is asked for the password"
    FORBIDDEN = "is refused, without a trace of the record"
    NOT_FOUND = "is not found, as what does not exist"
    SAME = "is answered as for an id that does not exist"
    DIFFERENT = "is not answered as for an id that does not exist"
    ALLOWED = "is answered"


@dataclass(frozen=True)
class Cell:
    """One request by one visitor."""

    visitor: str
    why: str
    right: Right
    site: Site
    path: str
    sent: Mapping[str, str] = field(default_factory=dict)
    htmx: bool = False
    like: tuple[str, Mapping[str, str]] | None = None
    """The path and what is sent of the request, with ids that nothing has, that is answered alike."""
    ids: tuple[str, ...] = ()
    """The ids in it, of which a refusal shows nothing."""

    def __str__(self) -> str:
        return f"{self.visitor} ({self.why}) {self.right}: {self.path} {dict(self.sent) or ''}"


@dataclass(frozen=True)
class Row:
    """One line of the table with one of its rules."""

    method: str
    access: Access
    rule: Rule
    records: Records

    @property
    def reach(self) -> str | None:
        """What of its path says whose it is."""
        return next((name for name in ("project_id", "workspace_id") if name in self.rule.arguments), None)

    @property
    def own_ids(self) -> list[str]:
        """The ids in its path, beside the one of the project or workspace."""
        return sorted(n for n in self.rule.arguments if n.endswith("_id") and n != self.reach)

    def cells(self) -> Iterator[Cell]:
        """All of them: those first that change nothing."""
        for mode in self._modes:
            site = Site("ours", mode)
            yield from self._strangers(site)
            yield from self._of_others(site)
            yield from self._sent_ids(site)
        if self.reach == "project_id":
            for mode in set(Mode) - set(self._modes):
                yield self._cell("owner", "there is none in this mode", Right.NOT_FOUND, Site("ours", mode))
        for mode in self._modes:
            yield from self._allowed(Site("ours", mode))

    def _strangers(self, site: Site) -> Iterator[Cell]:
        """Who may not open it at all: signed out, with a lower role, of another workspace."""
        if self.access.public:
            return
        for name in SIGNED_OUT:
            yield self._cell(name, "signed out", Right.SIGN_IN, site)
        yield self._cell("nobody", "signed out, a fragment", Right.SIGN_IN, site, htmx=True)
        for role in Role:
            if self.access.least is None or role.at_least(self.access.least):
                continue
            missing = self._path(site, role.value, **{n: self.records.missing(n) for n in self.own_ids})
            like = (missing, self.access.form)
            yield self._cell(role.value, "role too low", Right.FORBIDDEN, site, like=like)
        if self.reach is not None:
            nowhere = self._path(site, "stranger", **{self.reach: self.records.missing(self.reach)})
            like = (nowhere, self.access.form)
            yield self._cell("stranger", "another workspace", Right.NOT_FOUND, site, like=like)
            yield self._cell("stranger", "a fragment", Right.NOT_FOUND, site, like=like, htmx=True)

    def _of_others(self, site: Site) -> Iterator[Cell]:
        """Whoever may open it, with ids that are not theirs; and credentials without fresh authentication.

        Where there are two modes, the least role asks in test mode and the highest in live mode.
        """
        if self.access.public:
            return
        both = (self._least, "owner")
        in_mode = (both[site.mode.livemode],) if self._modes == tuple(Mode) else both
        for visitor in dict.fromkeys(in_mode):
            if self.access.fresh:
                yield self._cell(visitor + STALE, "not fresh", Right.CONFIRM, site)
            for name in self.own_ids:
                like = (self._path(site, visitor, **{name: self.records.missing(name)}), self.access.form)
                for why, other in self._foreign(name, site, visitor):
                    yield self._cell(visitor, why, Right.NOT_FOUND, site, like=like, other={name: other})
            if self.reach is not None:
                nowhere = self._path(site, visitor, **{self.reach: self.records.missing(self.reach)})
                like, there = (nowhere, self.access.form), Site("theirs", site.mode)
                yield self._cell(visitor, "all of theirs", Right.NOT_FOUND, there, like=like)
                if self.own_ids:
                    theirs = {self.reach: self._own(self.reach, there, visitor)}
                    yield self._cell(visitor, "their address", Right.NOT_FOUND, site, like=like, other=theirs)

    def _sent_ids(self, site: Site) -> Iterator[Cell]:
        """Ids in the query or the form."""
        visitor, words = self._least, self.access.words
        path = self._path(site, visitor, **words)
        for key, name in self.access.echoed.items():
            like = (path, {key: self.records.missing(name)})
            for why, other in (*self._foreign(name, site, visitor), ("", self._own(name, site, visitor))):
                yield self._cell(visitor, f"{key} {why}", Right.SAME, site, like=like, sent={key: other})
        for key, name in self.access.ids.items():
            nobody = {**self.access.form, key: self.records.missing(name)}
            like = (path, nobody)
            for why, other in self._foreign(name, site, visitor):
                sent = {**nobody, key: other}
                found = self.access.finds_other_mode and why == "of the other mode"
                right = Right.DIFFERENT if found else Right.SAME
                yield self._cell(visitor, f"{key} {why}", right, site, like=like, sent=sent, other=words)
            own = {**nobody, key: self._own(name, site, visitor)}
            right = Right.DIFFERENT if site.mode in self.access.counting else Right.SAME
            yield self._cell(visitor, f"{key} of this side", right, site, like=like, sent=own, other=words)
        if self.access.cursor:
            for key in ("older_than", "newer_than"):
                for why, other in self._foreign(self.access.cursor, site, visitor):
                    yield self._cell(visitor, f"{key} {why}", Right.ALLOWED, site, sent={key: other})

    def _allowed(self, site: Site) -> Iterator[Cell]:
        """Who may: with every word that the path may have, on every project of the workspace."""
        visitors = [role.value for role in Role if self._may(role)]
        visitors += ["nobody", "disabled"] if self.access.public else []
        visitors += [] if self.access.fresh or self.access.public else [visitors[0] + STALE]
        visitors += [] if self.reach else ["stranger"]
        for visitor in visitors:
            yield self._cell(visitor, "allowed", Right.ALLOWED, site)
        yield self._cell(visitors[0], "a fragment", Right.ALLOWED, site, htmx=True)
        words = sorted(set(WORDS) & self.rule.arguments)
        for chosen in product(*(WORDS[name] for name in words)):
            values = dict(zip(words, chosen, strict=True))
            if words:
                yield self._cell(visitors[0], "allowed", Right.ALLOWED, site, other=values)
        if self.reach == "project_id":
            there = Site("sibling", site.mode)
            yield self._cell(visitors[0], "another project of the workspace", Right.ALLOWED, there)

    def _cell(
        self,
        visitor: str,
        why: str,
        right: Right,
        site: Site,
        *,
        like: tuple[str, Mapping[str, str]] | None = None,
        sent: Mapping[str, str] | None = None,
        htmx: bool = False,
        other: Mapping[str, str] | None = None,
    ) -> Cell:
        values = self._values(site, visitor, other or {})
        ids = tuple(values[name] for name in self.own_ids)
        path = self._path(site, visitor, **(other or {}))
        cell = Cell(
            visitor,
            why,
            right,
            site,
            path,
            self.access.form if sent is None else sent,
            htmx=htmx,
            like=like,
            ids=ids,
        )
        return replace(cell, ids=(*ids, *cell.sent.values()))

    def _path(self, site: Site, visitor: str, **other: str) -> str:
        built = self.rule.build(self._values(site, visitor, other), append_unknown=False)
        assert built is not None, f"{self.rule} cannot be built"
        return built[1]

    def _values(self, site: Site, visitor: str, other: Mapping[str, str]) -> dict[str, str]:
        values: dict[str, str] = {}
        for name in self.rule.arguments:
            if name in other:
                values[name] = other[name]
            elif name == "mode":
                values[name] = site.mode.value
            elif name.endswith("_id"):
                values[name] = self._own(name, site, visitor)
            else:
                assert name in WORDS, f"access_table.py has no words for <{name}> of {self.rule}"
                values[name] = WORDS[name][0]
        return values

    def _own(self, name: str, site: Site, visitor: str) -> str:
        kind = self.records.kind_of(name)
        if kind == "site":
            return self.records.sites[site][name]
        if kind == "workspace":
            return self.records.workspaces[WORKSPACE_OF[site.project]][name]
        return self.records.people[EMAILS.get(visitor.removesuffix(STALE), "owner@example.com")][name]

    def _foreign(self, name: str, site: Site, visitor: str) -> Iterator[tuple[str, str]]:
        """Ids that the visitor must not find here, with the reason."""
        kind, mode = self.records.kind_of(name), site.mode
        yield "of nobody", self.records.missing(name)
        if kind == "person":
            colleague = "admin" if visitor != "admin" else "support"
            yield "of a colleague", self._own(name, site, colleague)
            yield "of another workspace", self._own(name, site, "stranger")
            return
        yield "of another workspace", self._own(name, Site("theirs", mode), visitor)
        if kind == "site" and self.reach == "project_id":
            yield "of another project", self._own(name, Site("sibling", mode), visitor)
            yield "of the other mode", self._own(name, Site(site.project, mode.other), visitor)
            if name in self.records.relatives[site] and name in self.own_ids:
                yield "of another parent", self.records.relatives[site][name]

    @property
    def _modes(self) -> tuple[Mode, ...]:
        return self.access.modes if self.reach == "project_id" else (Mode.TEST,)

    @property
    def _least(self) -> str:
        return (self.access.least or Role.VIEWER).value

    def _may(self, role: Role) -> bool:
        return self.access.least is None or role.at_least(self.access.least)
