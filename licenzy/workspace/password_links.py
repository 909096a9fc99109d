"""Verbs about links that set a new password, once. They sign nobody in, and skip no second factor."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.mail.actions import queue_mail
from licenzy.workspace import actions, members, queries, rules, team_rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.links import Links, NewLink
from licenzy.workspace.mail_texts import issued_reset_mail, reset_mail
from licenzy.workspace.models import PasswordReset, Role, User
from licenzy.workspace.passwords import Passwords
from licenzy.workspace.sessions import end_sessions
from licenzy.workspace.team_locks import locked_member, locked_workspaces_of
from licenzy.workspace.throttling import count_try, throttle_state


class ResetLinkOver(InvalidRequest):
    message = "This link does not work any more."
    hint = "Ask for a new one on the sign-in page."


class _Undone(Exception):
    """Ends work that was only done because the other case does it."""


def request_reset(database: Database, links: Links, *, email: str, ip: str | None, now: datetime) -> None:
    """Mail a link to who has an account with this address; nothing for anybody else.

    Both cost the same work, so the time does not tell which it was. Raises TooManyTries.
    """
    address = rules.normal_email(email) or email.strip().lower()[:200]
    choices = [[rules.reset_throttle(address), rules.reset_address_throttle(ip)]]
    actor = Actor(None, ip)
    with database.read() as db:
        refused = throttle_state(db, choices, action="password.reset_throttled", now=now)
    count_try(database, choices, refused, actor=actor, now=now)
    link = links.make("password-reset")
    subject, body = reset_mail(url=link.url)

    def work(db: Session) -> None:
        user = queries.find_user(db, email=address)
        if user is None or user.disabled_at is not None:
            with suppress(_Undone), db.begin_nested():
                # As many rows as below; the texts are encrypted, too.
                queue_mail(db, links.secret_box, to="nobody", subject=subject, body="", now=now)
                queue_mail(db, links.secret_box, to="nobody", subject=subject, body=body, now=now)
                raise _Undone
            record(db, actor=actor, action="password.reset_refused", about=address, now=now)
            return
        _add(db, link, user_id=user.id, issued_by=None, now=now)
        links.mail(db, to=user.email, subject=subject, body=body, now=now)
        after = {"issued_by": None}
        record(db, actor=actor, action="password.reset_issued", about=user.id, after=after, now=now)

    database.retrying(work)


def issue_reset(
    db: Session, links: Links, *, workspace_id: str, user_id: str, actor: Actor, now: datetime
) -> NewLink:
    """A link for a colleague who cannot sign in, to be passed on, and mailed where a mail server is set.

    Only for persons on whom who acts may act in every workspace that the account opens. Raises
    MemberNotFound, RoleTooLow and BelongsElsewhere.
    """
    locked_workspaces_of(db, user_id=user_id)
    member = locked_member(db, workspace_id=workspace_id, user_id=user_id, actor=actor)
    if actor.user_id == user_id:
        raise InvalidRequest("This is your own account.", hint="Change your password on My account.")
    if member.user.disabled_at is not None:
        raise InvalidRequest("This person is disabled.", hint="Enable them first.")
    members.refuse_foreign_person(db, user_id=user_id, actor=actor, lowest=Role.ADMIN)
    link = links.make("password-reset")
    _add(db, link, user_id=user_id, issued_by=actor.user_id, now=now)
    issuer = db.get(User, actor.user_id) if actor.user_id else None
    subject, body = issued_reset_mail(issuer=issuer.name if issuer else None, url=link.url)
    links.mail(db, to=member.user.email, subject=subject, body=body, now=now)
    record(
        db,
        actor=actor,
        action="password.reset_issued",
        about=user_id,
        workspace_id=workspace_id,
        after={"issued_by": actor.user_id},
        now=now,
    )
    return link


def reset_by_link(
    database: Database, *, token: str, password: str, ip: str | None, hasher: Passwords, now: datetime
) -> None:
    """Set the password of the person whom the link is for, and end all their sessions; it opens none.

    A colleague's link works only while the colleague might still make it: who has kept one gets no account
    that has risen above them, or that has come to open a workspace which is not theirs.
    Raises ResetLinkOver, and InvalidRequest with `fields`.
    """
    with database.read() as db:
        found = queries.open_reset_by_token(db, token=token, now=now)
    if found is None:
        raise ResetLinkOver
    user = found[1]
    actions.refuse_password(password, email=user.email, name=user.name, field="password")
    password_hash = hasher.hash(password)

    def work(db: Session) -> None:
        locked_workspaces_of(db, user_id=user.id)
        db.get_one(User, user.id, populate_existing=True, with_for_update=True)
        still = queries.open_reset_by_token(db, token=token, now=now)
        if still is None:
            raise ResetLinkOver
        reset = still[0]
        if reset.issued_by is not None:
            issuer = Actor(reset.issued_by)
            try:
                members.refuse_foreign_person(db, user_id=user.id, actor=issuer, lowest=Role.ADMIN)
            except members.BelongsElsewhere:
                raise ResetLinkOver from None
        actions.set_password(db, user_id=user.id, password_hash=password_hash, now=now)
        reset.used_at = now
        db.flush()
        _end_open(db, user_id=user.id, now=now)
        end_sessions(db, user_id=user.id, except_id=None, now=now)
        record(
            db,
            actor=Actor(user.id, ip),
            action="password.reset",
            about=user.id,
            after={"link_issued_by": reset.issued_by},
            now=now,
        )

    database.retrying(work)


def _add(db: Session, link: NewLink, *, user_id: str, issued_by: str | None, now: datetime) -> None:
    """The new link. One that somebody asks for by themselves leaves those of colleagues as they are:
    strangers can ask, too."""
    if issued_by is not None:
        _end_open(db, user_id=user_id, now=now)
    life = team_rules.OWN_RESET_LIFE if issued_by is None else team_rules.ISSUED_RESET_LIFE
    db.add(
        PasswordReset(
            id=new_id("rst"),
            user_id=user_id,
            token_hash=link.token_hash,
            issued_by=issued_by,
            created_at=now,
            expires_at=now + life,
        )
    )
    db.flush()


def _end_open(db: Session, *, user_id: str, now: datetime) -> None:
    db.execute(
        update(PasswordReset)
        .where(
            col(PasswordReset.user_id) == user_id,
            col(PasswordReset.used_at).is_(None),
            col(PasswordReset.revoked_at).is_(None),
        )
        .values(revoked_at=now)
    )
