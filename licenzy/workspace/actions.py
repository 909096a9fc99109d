"""Verbs about people: claim an installation, sign in and out, change and reset passwords.

Who has a second factor gives it next: `second_step.py`, and passkeys by `passkeys.py`.

Verbs that take a `Database` hash passwords, which takes tens of milliseconds, and so open their own
short transactions around it; a failed try must also be counted although the caller is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.workspace import queries, rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.challenges import SecondFactorNeeded, begin_challenge
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.models import Installation, Membership, Role, User, Workspace
from licenzy.workspace.passwords import Passwords, common_passwords
from licenzy.workspace.sessions import (
    Device,
    Opened,
    end_other_sessions,
    end_session,
    end_sessions,
    note_seen,
    open_session,
    sign_out,
)
from licenzy.workspace.sign_in_models import ChallengeKind, SignInSession
from licenzy.workspace.throttling import TooManyTries, count_try, take_back_try, throttle_state

__all__ = [
    "Actor",
    "AlreadyClaimed",
    "Device",
    "Opened",
    "SecondFactorNeeded",
    "SignInRefused",
    "TooManyTries",
    "change_password",
    "claim_install",
    "confirm_password",
    "create_user",
    "end_other_sessions",
    "end_session",
    "ensure_first_workspace",
    "note_seen",
    "record",
    "reset_password",
    "sign_in",
    "sign_out",
]


class AlreadyClaimed(NotFound):
    message = "This installation already has an owner."
    hint = "Sign in, or ask the owner for an account."


class SignInRefused(InvalidRequest):
    message = "The e-mail address or the password is wrong."
    hint = "Passwords are case-sensitive. The operator of this server can reset a forgotten one."


def ensure_first_workspace(db: Session, *, now: datetime) -> str:
    """The id of the workspace that the claiming owner will join, made if this is the first call."""
    installation = db.get(Installation, 1)
    if installation is not None:
        return installation.workspace_id
    workspace = Workspace(id=new_id("wsp"), name="My workspace", created_at=now)
    try:
        with db.begin_nested():
            db.add(workspace)
            db.flush()
            db.add(Installation(id=1, workspace_id=workspace.id))
            db.flush()
    except IntegrityError:  # Another process made it between our read and our write.
        return db.get_one(Installation, 1).workspace_id
    return workspace.id


def claim_install(
    database: Database,
    *,
    email: str,
    name: str,
    password: str,
    device: Device,
    hasher: Passwords,
    now: datetime,
) -> Opened:
    """Make the first owner and sign them in.

    Raises InvalidRequest with `fields`, and AlreadyClaimed once there is anybody: for all but one of any
    parallel claims, and whenever `create_user` came first.
    """
    person = checked_person(email=email, name=name, password=password)
    password_hash = hasher.hash(password)
    with database.write() as db:
        installation = locked_installation(db, now=now)
        if queries.is_claimed(db):
            raise AlreadyClaimed
        workspace_id = installation.workspace_id
        user = add_user(db, person, password_hash, workspace_id=workspace_id, role=Role.OWNER, now=now)
        installation.claimed_at, installation.claimed_by = now, user.id
        actor = Actor(user.id, device.ip)
        record(
            db, actor=actor, action="installation.claimed", about=user.id, workspace_id=workspace_id, now=now
        )
        return open_session(db, user_id=user.id, device=device, now=now)


def create_user(
    database: Database,
    *,
    actor: Actor,
    email: str,
    name: str,
    password: str,
    role: Role,
    workspace_id: str,
    hasher: Passwords,
    now: datetime,
) -> User:
    """Add a person to a workspace. Raises InvalidRequest with `fields`."""
    person = checked_person(email=email, name=name, password=password)
    password_hash = hasher.hash(password)
    with database.write() as db:
        locked_installation(db, now=now)
        if queries.find_user(db, email=person.email) is not None:
            raise InvalidRequest(fields={"email": "A person with this e-mail address already exists."})
        user = add_user(db, person, password_hash, workspace_id=workspace_id, role=role, now=now)
        record(
            db,
            actor=actor,
            action="member.added",
            about=user.id,
            workspace_id=workspace_id,
            after={"email": user.email, "role": role.value},
            now=now,
        )
        return user


def sign_in(
    database: Database, *, email: str, password: str, device: Device, hasher: Passwords, now: datetime
) -> Opened | SecondFactorNeeded:
    """Open a session for who knows the password, or go on to the second factor of who has one.

    Raises SignInRefused, worded and timed alike for an unknown address and a wrong password, and
    TooManyTries before any password is looked at. A device that is known for the account has a limit of
    its own, which nobody else can use up; where that is spent, it is treated like any other.
    """
    address = rules.normal_email(email) or email.strip().lower()
    with database.read() as db:
        user = queries.find_user(db, email=address)
        actor = Actor(user.id if user else None, device.ip)
        known = device.known_to(user, now=now)
        own = [[rules.device_throttle(known.device_id, address)]] if known else []
        choices = [*own, [rules.account_throttle(address), rules.address_throttle(device.ip)]]
        refused = throttle_state(db, choices, action="sign_in.throttled", now=now)
    throttles = count_try(database, choices, refused, actor=actor, now=now)
    stored = user.password_hash if user is not None and user.disabled_at is None else None
    right = hasher.matches(stored, password)
    if user is None or not right:
        with database.write() as db:
            record(db, actor=actor, action="sign_in.failed", about=address[:200], now=now)
        raise SignInRefused
    user_id, changed_at = user.id, user.password_changed_at
    renewed = hasher.hash(password) if hasher.is_outdated(user.password_hash) else None

    def open_it(db: Session) -> Opened | SecondFactorNeeded:
        take_back_try(db, throttles=throttles, now=now)
        person = db.get_one(User, user_id, populate_existing=True, with_for_update=True)
        if person.password_changed_at != changed_at or person.disabled_at is not None:
            raise SignInRefused  # Changed while the given one was looked at, which ended all sessions.
        if renewed is not None and person.password_hash == stored:
            person.password_hash = renewed
        if second_factors(db, user_id=user_id).has_any:
            record(db, actor=actor, action="sign_in.password_accepted", about=user_id, now=now)
            return SecondFactorNeeded(
                begin_challenge(db, kind=ChallengeKind.SECOND_FACTOR, user=person, now=now)
            )
        record(db, actor=actor, action="sign_in.succeeded", about=user_id, now=now)
        return open_session(db, user_id=user_id, device=device, now=now)

    return database.retrying(open_it)


def confirm_password(
    database: Database, *, actor: Actor, session_id: str, password: str, hasher: Passwords, now: datetime
) -> None:
    """Make the session fresh again for who gives the password once more.

    Raises InvalidRequest with `fields`, and TooManyTries.
    """
    user = _own_user(database, actor, session_id, password, hasher=hasher, now=now)
    with database.write() as db:
        _refuse_if_changed(db, user, field="password")
        session = db.get_one(SignInSession, session_id)
        session.authenticated_at = now
        record(db, actor=actor, action="sign_in.confirmed", about=user.id, now=now)


def change_password(
    database: Database,
    *,
    actor: Actor,
    session_id: str,
    current: str,
    new: str,
    hasher: Passwords,
    now: datetime,
) -> int:
    """Change one's own password and end one's other sessions; the number of those that ended.

    Raises InvalidRequest with `fields`, and TooManyTries.
    """
    user = _own_user(database, actor, session_id, current, field="current", hasher=hasher, now=now)
    refuse_password(new, email=user.email, name=user.name, field="new")
    password_hash = hasher.hash(new)
    with database.write() as db:
        _refuse_if_changed(db, user, field="current")
        set_password(db, user_id=user.id, password_hash=password_hash, now=now)
        db.get_one(SignInSession, session_id).authenticated_at = now
        ended = end_sessions(db, user_id=user.id, except_id=session_id, now=now)
        record(db, actor=actor, action="password.changed", about=user.id, now=now)
        return ended


def reset_password(
    database: Database, *, actor: Actor, email: str, password: str, hasher: Passwords, now: datetime
) -> None:
    """Set somebody's password and end all their sessions; for the command line.

    Raises InvalidRequest with `fields`.
    """
    address = rules.normal_email(email)
    with database.read() as db:
        user = queries.find_user(db, email=address) if address else None
    if user is None:
        raise InvalidRequest(fields={"email": "No person has this e-mail address."})
    refuse_password(password, email=user.email, name=user.name, field="password")
    password_hash = hasher.hash(password)
    with database.write() as db:
        set_password(db, user_id=user.id, password_hash=password_hash, now=now)
        end_sessions(db, user_id=user.id, except_id=None, now=now)
        record(db, actor=actor, action="password.reset", about=user.id, now=now)


def refuse_password(password: str, *, email: str, name: str, field: str) -> None:
    """Raise InvalidRequest, at this field, for a password that this person may not have."""
    problem = _password_problem(password, _context(email, name))
    if problem is not None:
        raise InvalidRequest(fields={field: problem})


def _password_problem(password: str, context: list[str]) -> str | None:
    return rules.password_problem(password, common=common_passwords(), context=context)


@dataclass(frozen=True, slots=True)
class NewPerson:
    """An address in normal form and a clean name."""

    email: str
    name: str


def checked_person(*, email: str, name: str, password: str) -> NewPerson:
    """Who somebody says to be, once it may be stored. Raises InvalidRequest with `fields`."""
    fields: dict[str, str] = {}
    address, title = rules.normal_email(email), clean_name(name)
    if address is None:
        fields["email"] = "This is not an e-mail address."
    unnamed = name_problem(title, most=rules.NAME_MAX)
    if unnamed is not None:
        fields["name"] = unnamed
    problem = _password_problem(password, _context(email, title))
    if problem is not None:
        fields["password"] = problem
    if fields or address is None:
        raise InvalidRequest(fields=fields)
    return NewPerson(address, title)


def _context(email: str, name: str) -> list[str]:
    """The words about a person that an attacker would try first."""
    return [name, email, *email.replace("@", ".").split(".")]


def locked_installation(db: Session, *, now: datetime) -> Installation:
    """The installation's row, held until the transaction ends.

    Whoever adds a person holds it, so that nobody is added between a claim's look and its write. Postgres
    gives each statement what was committed before it, so what is read after the lock includes whoever
    held it before. SQLite has one writer at a time anyway.
    """
    ensure_first_workspace(db, now=now)
    return db.get_one(Installation, 1, populate_existing=True, with_for_update=True)


def add_user(
    db: Session, person: NewPerson, password_hash: str, *, workspace_id: str, role: Role, now: datetime
) -> User:
    """A new person in a workspace; the caller holds `locked_installation` and records it."""
    user = User(
        id=new_id("usr"),
        email=person.email,
        name=person.name,
        password_hash=password_hash,
        password_changed_at=now,
        created_at=now,
    )
    db.add(user)
    db.flush()
    db.add(Membership(workspace_id=workspace_id, user_id=user.id, role=role, created_at=now))
    db.flush()
    return user


def _own_user(
    database: Database,
    actor: Actor,
    session_id: str,
    password: str,
    *,
    hasher: Passwords,
    now: datetime,
    field: str = "password",
) -> User:
    """The acting person, once their password proved right.

    Guessing it here is counted for this session alone: strangers can neither use that up, nor gain by it.
    """
    choices = [[rules.session_throttle(session_id)]]
    with database.read() as db:
        user = db.get_one(User, actor.user_id)
        refused = throttle_state(db, choices, action="password.throttled", now=now)
    throttles = count_try(database, choices, refused, actor=actor, now=now)
    if not hasher.matches(user.password_hash, password):
        with database.write() as db:
            record(db, actor=actor, action="password.wrong", about=user.id, now=now)
        raise InvalidRequest(fields={field: _NOT_CURRENT})
    database.retrying(lambda db: take_back_try(db, throttles=throttles, now=now))
    return user


def _refuse_if_changed(db: Session, user: User, *, field: str) -> None:
    """Refuse, where the password was changed or the person disabled while it was being looked at."""
    person = db.get_one(User, user.id, with_for_update=True)
    if person.password_hash != user.password_hash or person.disabled_at is not None:
        raise InvalidRequest(fields={field: _NOT_CURRENT})


_NOT_CURRENT = "This is not your current password."


def set_password(db: Session, *, user_id: str, password_hash: str, now: datetime) -> None:
    """Store a new password; links made before it that would set another one work no more."""
    user = db.get_one(User, user_id)
    user.password_hash = password_hash
    user.password_changed_at = now
    db.flush()
