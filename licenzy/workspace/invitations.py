"""Verbs about invitations: a link, good for one use and a week, by which somebody joins a workspace."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.ids import new_id
from licenzy.workspace import actions, queries, rules, team_rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.links import Links, NewLink
from licenzy.workspace.mail_texts import invitation_mail
from licenzy.workspace.models import Invitation, Membership, Role, User, Workspace
from licenzy.workspace.passwords import Passwords
from licenzy.workspace.sessions import Device, Opened, open_session
from licenzy.workspace.team_locks import RoleTooLow, acting_role, locked_workspace


class InvitationOver(InvalidRequest):
    message = "This invitation does not work any more."
    hint = "Ask the person who invited you for a new link."


class InvitationNotFound(NotFound):
    message = "This invitation does not exist in this workspace."


class OtherAddress(InvalidRequest):
    message = "This invitation is for another e-mail address than the one you are signed in with."
    hint = "Sign out, then open the link again."


def invite(
    db: Session, links: Links, *, workspace_id: str, email: str, role: Role, actor: Actor, now: datetime
) -> NewLink:
    """Invite somebody, by a link that is mailed where a mail server is set.

    Raises RoleTooLow, and InvalidRequest with `fields`.
    """
    address = rules.normal_email(email)
    if address is None:
        raise InvalidRequest(fields={"email": "This is not an e-mail address."})
    workspace = locked_workspace(db, workspace_id)
    _refuse_role(acting_role(db, workspace_id, actor), role)
    _refuse_known(db, workspace_id, address)
    link = links.make("invitations")
    invitation = Invitation(
        id=new_id("inv"),
        workspace_id=workspace_id,
        email=address,
        role=role,
        token_hash=link.token_hash,
        invited_by=actor.user_id,
        created_at=now,
        expires_at=now + team_rules.INVITATION_LIFE,
    )
    db.add(invitation)
    db.flush()
    _send(db, links, link, workspace, invitation, actor=actor, now=now)
    return link


def resend_invitation(
    db: Session, links: Links, *, workspace_id: str, invitation_id: str, actor: Actor, now: datetime
) -> NewLink:
    """A new link for an invitation that nobody accepted, good for a week; the one before works no more.

    Raises InvitationNotFound, InvitationOver and RoleTooLow.
    """
    workspace = locked_workspace(db, workspace_id)
    invitation = _locked_invitation(db, workspace_id, invitation_id)
    _refuse_role(acting_role(db, workspace_id, actor), invitation.role)
    link = links.make("invitations")
    invitation.token_hash = link.token_hash
    invitation.invited_by = actor.user_id
    invitation.expires_at = now + team_rules.INVITATION_LIFE
    db.flush()
    _send(db, links, link, workspace, invitation, actor=actor, now=now, resent=True)
    return link


def revoke_invitation(
    db: Session, *, workspace_id: str, invitation_id: str, actor: Actor, now: datetime
) -> None:
    """End an invitation. Raises InvitationNotFound, InvitationOver and RoleTooLow."""
    locked_workspace(db, workspace_id)
    invitation = _locked_invitation(db, workspace_id, invitation_id)
    _refuse_role(acting_role(db, workspace_id, actor), invitation.role)
    invitation.revoked_at = now
    db.flush()
    record(
        db,
        actor=actor,
        action="invitation.revoked",
        about=invitation.id,
        workspace_id=workspace_id,
        before={"email": invitation.email, "role": invitation.role.value},
        now=now,
    )


def accept_invitation(db: Session, *, token: str, actor: Actor, now: datetime) -> str:
    """Join a workspace as who is signed in; its id. Raises InvitationOver and OtherAddress."""
    invitation = _open_invitation(db, token, now=now)
    user = db.get_one(User, actor.user_id, populate_existing=True, with_for_update=True)
    if user.email != invitation.email:
        raise OtherAddress
    if user.disabled_at is not None or db.get(Membership, (invitation.workspace_id, user.id)) is not None:
        raise InvitationOver("You already belong to this workspace.", hint="Open it from the start page.")
    db.add(
        Membership(
            workspace_id=invitation.workspace_id, user_id=user.id, role=invitation.role, created_at=now
        )
    )
    db.flush()
    _accepted(db, invitation, user_id=user.id, actor=actor, now=now)
    return invitation.workspace_id


def join_as_newcomer(
    database: Database,
    *,
    token: str,
    name: str,
    password: str,
    device: Device,
    hasher: Passwords,
    now: datetime,
) -> Opened:
    """Make an account for the address that was invited, join with it, and sign in.

    Raises InvitationOver, and InvalidRequest with `fields`.
    """
    with database.read() as db:
        found = queries.invitation_by_token(db, token=token)
    if found is None:
        raise InvitationOver
    person = actions.checked_person(email=found.email, name=name, password=password)
    password_hash = hasher.hash(password)

    def work(db: Session) -> Opened:
        actions.locked_installation(db, now=now)
        invitation = _open_invitation(db, token, now=now)
        if queries.find_user(db, email=invitation.email) is not None:
            raise InvitationOver(
                "A person with this e-mail address has an account already.",
                hint="Sign in, then open the link again.",
            )
        user = actions.add_user(
            db,
            person,
            password_hash,
            workspace_id=invitation.workspace_id,
            role=invitation.role,
            now=now,
        )
        _accepted(db, invitation, user_id=user.id, actor=Actor(user.id, device.ip), now=now)
        return open_session(db, user_id=user.id, device=device, now=now)

    return database.retrying(work)


def _refuse_role(own: Role, role: Role) -> None:
    if role not in team_rules.roles_to_give(own):
        needed = Role.OWNER if role is Role.OWNER else Role.ADMIN
        raise RoleTooLow(f"Only an {needed.value} can invite somebody as {role.value}.", needed=needed)


def _refuse_known(db: Session, workspace_id: str, address: str) -> None:
    user = queries.find_user(db, email=address)
    if user is not None and db.get(Membership, (workspace_id, user.id)) is not None:
        raise InvalidRequest(fields={"email": "This person is a member already."})
    waiting = select(Invitation.id).where(
        Invitation.workspace_id == workspace_id,
        Invitation.email == address,
        col(Invitation.accepted_at).is_(None),
        col(Invitation.revoked_at).is_(None),
    )
    if db.exec(waiting).first() is not None:
        raise InvalidRequest(
            fields={"email": "This address is invited already. Make a new link for that invitation instead."}
        )


def _send(
    db: Session,
    links: Links,
    link: NewLink,
    workspace: Workspace,
    invitation: Invitation,
    *,
    actor: Actor,
    now: datetime,
    resent: bool = False,
) -> None:
    inviter = db.get(User, actor.user_id) if actor.user_id else None
    subject, body = invitation_mail(
        workspace=workspace.name,
        inviter=inviter.name if inviter else None,
        role=invitation.role,
        url=link.url,
    )
    links.mail(db, to=invitation.email, subject=subject, body=body, now=now)
    record(
        db,
        actor=actor,
        action="member.invited",
        about=invitation.id,
        workspace_id=workspace.id,
        after={"email": invitation.email, "role": invitation.role.value, "resent": resent},
        now=now,
    )


def _locked_invitation(db: Session, workspace_id: str, invitation_id: str) -> Invitation:
    invitation = db.get(Invitation, invitation_id, populate_existing=True, with_for_update=True)
    if invitation is None or invitation.workspace_id != workspace_id:
        raise InvitationNotFound
    if invitation.accepted_at is not None or invitation.revoked_at is not None:
        raise InvitationOver("This invitation was accepted or revoked already.", hint="Reload the page.")
    return invitation


def _open_invitation(db: Session, token: str, *, now: datetime) -> Invitation:
    """The invitation of a link that still works, its workspace and itself locked."""
    found = queries.invitation_by_token(db, token=token)
    if found is None:
        raise InvitationOver
    locked_workspace(db, found.workspace_id)
    invitation = db.get_one(Invitation, found.id, populate_existing=True, with_for_update=True)
    ended = (invitation.accepted_at, invitation.revoked_at)
    is_open = team_rules.is_link_open(expires_at=invitation.expires_at, ended=ended, now=now)
    if not is_open or not rules.same_token(invitation.token_hash, rules.token_hash(token)):
        raise InvitationOver
    return invitation


def _accepted(db: Session, invitation: Invitation, *, user_id: str, actor: Actor, now: datetime) -> None:
    invitation.accepted_at, invitation.accepted_by = now, user_id
    db.flush()
    record(
        db,
        actor=actor,
        action="invitation.accepted",
        about=invitation.id,
        workspace_id=invitation.workspace_id,
        after={"email": invitation.email, "role": invitation.role.value, "user_id": user_id},
        now=now,
    )
