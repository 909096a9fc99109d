"""Guards: every route carries exactly one of `public`, `signed_in`, `workspace_page` and `project_page`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn

from flask import abort, current_app, g, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.alignment.modes import Mode
from licenzy.connections.queries import with_clock
from licenzy.portal.respond import current_page, go
from licenzy.portal.sessions import SignedInUser, signed_in_user
from licenzy.projects.models import Project
from licenzy.projects.queries import ProjectArchived, project_for
from licenzy.projects.scope import Scope
from licenzy.runtime import runtime
from licenzy.workspace.audit import Actor, is_recorded, record_once
from licenzy.workspace.models import Role, Workspace
from licenzy.workspace.queries import workspaces_of
from licenzy.workspace.second_factor_rules import may_enter

View = Callable[..., ResponseReturnValue]

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Side:
    """One project in one mode, and the person who visits it."""

    project: Project
    scope: Scope
    """What every query of this side takes first."""
    role: Role
    user: SignedInUser

    @property
    def project_id(self) -> str:
        return self.scope.project_id

    @property
    def mode(self) -> Mode:
        return self.scope.mode

    @property
    def actor(self) -> Actor:
        """Who is to be written in the audit log."""
        return self.user.actor

    @property
    def archived(self) -> bool:
        """Whether the project is kept for reading alone."""
        return self.project.archived_at is not None

    def may(self, role: Role | str) -> bool:
        """Whether the person may change what `role` may change; templates ask with the word.

        Nobody changes anything in an archived project. What may be read there is a matter of `role`.
        """
        return self.role.at_least(Role(role)) and not (self.archived and Role(role) is not Role.VIEWER)


@dataclass(frozen=True, slots=True)
class WorkspaceMember:
    """One workspace, and the person who visits it."""

    workspace: Workspace
    role: Role
    user: SignedInUser

    @property
    def workspace_id(self) -> str:
        return self.workspace.id

    @property
    def actor(self) -> Actor:
        """Who is to be written in the audit log."""
        return self.user.actor

    def may(self, role: Role | str) -> bool:
        """Whether the person may do what `role` may; templates ask with the word."""
        return self.role.at_least(Role(role))


def public(view: View) -> View:
    """Anybody may open this page."""
    return _marked(view, "public")


def signed_in(view: View) -> View:
    """A page for who is signed in; the view gets the `SignedInUser` first. Others are asked to sign in."""

    @wraps(view)
    def guarded(**values: Any) -> ResponseReturnValue:
        user = signed_in_user()
        return _redirect_to_sign_in() if user is None else view(user, **values)

    return _marked(guarded, "signed_in")


def project_page(role: Role) -> Callable[[View], View]:
    """A page of the project blueprint for members with at least `role`; see `require_project_role`."""

    def decorate(view: View) -> View:
        view.needed_role = role  # type: ignore[attr-defined]
        return _marked(view, f"project:{role.value}")

    return decorate


def workspace_page(role: Role) -> Callable[[View], View]:
    """A page of the workspace blueprint for members with at least `role`; see `require_workspace_role`."""

    def decorate(view: View) -> View:
        view.needed_role = role  # type: ignore[attr-defined]
        return _marked(view, f"workspace:{role.value}")

    return decorate


def require_workspace_role() -> ResponseReturnValue | None:
    """Find who comes and their role, and hand the view its `WorkspaceMember`. Runs before each such page.

    A foreign workspace is not found; a role too low is refused, and so is a page that names no role.
    """
    user = signed_in_user()
    if user is None:
        return _redirect_to_sign_in()
    values = request.view_args
    assert values is not None  # The prefix of the blueprint has one.
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    workspace_id = values.pop("workspace_id")
    found = next((each for each in mine if each[0].id == workspace_id), None)
    needed = getattr(current_app.view_functions[request.endpoint or ""], "needed_role", None)
    if found is None:
        abort(404)
    if needed is None:
        abort(403)
    member = WorkspaceMember(found[0], found[1], user)
    ask = ask_second_factor(user, member.workspace_id)
    if ask is not None:
        return ask
    if not member.may(needed):
        sentence = (
            f"This needs the role {needed.value}, and your role in this workspace is {member.role.value}. "
            "Ask an owner of the workspace to do it or to change your role."
        )
        refuse_role(user, sentence, needed=needed, member=member)
    g.member = values["member"] = member  # For the layout, and for links between these pages.
    return None


def fill_in_workspace(_endpoint: str, values: dict[str, Any]) -> None:
    """Let links between the pages of a workspace leave out its id."""
    member: WorkspaceMember | None = g.get("member")
    if member is not None:
        values.setdefault("workspace_id", member.workspace_id)


def require_project_role() -> ResponseReturnValue | None:
    """Find who comes, the project and the role, and hand the view its `Side`. Runs before each project page.

    A foreign project is not found; a role too low is refused, and so is a page that names no role.
    """
    user = signed_in_user()
    if user is None:
        return _redirect_to_sign_in()
    values = request.view_args
    assert values is not None  # The prefix of the blueprint has two.
    side = _side(user, values.pop("project_id"), values.pop("mode"))
    needed = getattr(current_app.view_functions[request.endpoint or ""], "needed_role", None)
    if needed is None:
        abort(403)
    ask = ask_second_factor(user, side.project.workspace_id)
    if ask is not None:
        return ask
    if not side.role.at_least(needed):
        sentence = (
            f"This needs the role {needed.value}, and your role in this project is {side.role.value}. "
            "Ask an owner of the workspace to do it or to change your role."
        )
        refuse_role(user, sentence, needed=needed, side=side)
    if side.archived and request.method not in _READING and not _works_while_archived():
        abort(409, f"{ProjectArchived.message} {ProjectArchived.hint}")
    values["side"] = side
    return None


def ask_second_factor(user: SignedInUser, workspace_id: str) -> ResponseReturnValue | None:
    """Where to give a second factor, or to set one up, in a session that lacks what the workspace requires.

    None for a session that may enter. The pages of one's account, which have no such guard, stay open.
    """
    if user.second_factor_at is not None:
        return None
    with runtime().database.read() as db:
        workspace = db.get_one(Workspace, workspace_id)
    if has_what_it_requires(user, workspace):
        return None
    return go(url_for("portal.second_factor", next=current_page()))


def has_what_it_requires(user: SignedInUser, workspace: Workspace) -> bool:
    """Whether a second factor was given since signing in, where the workspace requires one."""
    return may_enter(required_at=workspace.second_factor_required_at, given_at=user.second_factor_at)


def works_while_archived(view: View) -> View:
    """For what may be sent although the project is archived: inside of the guard."""
    view.works_while_archived = True  # type: ignore[attr-defined]
    return view


def _works_while_archived() -> bool:
    view = current_app.view_functions[request.endpoint or ""]
    return getattr(view, "works_while_archived", False)


def fill_in_project(_endpoint: str, values: dict[str, Any]) -> None:
    """Let links between the pages of a project leave out its id and mode."""
    side: Side | None = g.get("side")
    if side is not None:
        values.setdefault("project_id", side.project_id)
        values.setdefault("mode", side.mode)


def refuse_role(
    user: SignedInUser,
    sentence: str,
    *,
    needed: Role,
    side: Side | None = None,
    member: WorkspaceMember | None = None,
) -> NoReturn:
    """Answer that this person's role is too low, and have that in the audit log.

    It is recorded once an hour for each person, page and place: whoever is refused can come again at will.
    """
    page, now = (request.endpoint or request.path).rpartition(".")[2], runtime().clock()
    workspace_id = side.project.workspace_id if side else member.workspace_id if member else None
    place = f"{side.project_id} {side.mode}" if side else workspace_id or ""
    role = side.role if side else member.role if member else None
    action, key = "role.refused", f"{user.user_id} {place} {page}"
    with runtime().database.read() as db:
        recorded = is_recorded(db, action=action, key=key, now=now)
    if not recorded:
        with runtime().database.write() as db:
            record_once(
                db,
                actor=user.actor,
                action=action,
                key=key,
                about=page,
                workspace_id=workspace_id,
                project_id=side.project_id if side else None,
                mode=side.mode if side else None,
                after={"role": role.value if role else None, "needed": needed.value},
                now=now,
            )
    abort(403, sentence)


def fresh(view: View) -> View:
    """For changing credentials, and inside of the guard: asks for the password unless given recently."""

    @wraps(view)
    def guarded(*args: Any, **values: Any) -> ResponseReturnValue:
        user = signed_in_user()
        if user is not None and user.fresh:
            return view(*args, **values)
        return go(url_for("portal.confirm", next=current_page()))

    guarded.needs_fresh = True  # type: ignore[attr-defined]
    return guarded


def _side(user: SignedInUser, project_id: str, mode: Mode) -> Side:
    with runtime().database.read() as db:
        found = project_for(db, user_id=user.user_id, project_id=project_id)
        if found is None:
            abort(404)
        scope = with_clock(db, Scope(project_id, mode))
    project, role = found
    side = Side(project=project, scope=scope, role=role, user=user)
    g.side = side  # For the layout: the frame's colour, the switch, the navigation.
    return side


def _redirect_to_sign_in() -> ResponseReturnValue:
    page = current_page()
    return go(url_for("portal.sign_in", next=page) if request.path != "/" else url_for("portal.sign_in"))


def _marked(view: View, guard: str) -> View:
    view.guard = guard  # type: ignore[attr-defined]
    return view
