"""Verbs of signing in through the OpenID provider of the installation."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.kit.names import clean_name, name_problem
from licenzy.kit.openid_settings import OpenIdSettings
from licenzy.workspace import queries, rules, team_rules
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.challenges import SecondFactorNeeded, begin_challenge
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.members import end_links
from licenzy.workspace.models import Installation, Membership, Role, User
from licenzy.workspace.openid_provider import Identity
from licenzy.workspace.sessions import Device, Opened, end_sessions, open_session
from licenzy.workspace.sign_in_models import ChallengeKind, ProviderIdentity, SignInMethod, SignInSession

CONFIRMED_FOR = timedelta(minutes=5)
"""How old a sign-in there may be that is to prove once more who somebody is."""


class ProviderSignInRefused(InvalidRequest):
    """The provider knows the person, and they get in nevertheless not."""

    status = 403


def sign_in_by_provider(
    database: Database, settings: OpenIdSettings, *, identity: Identity, device: Device, now: datetime
) -> Opened | SecondFactorNeeded:
    """Open a session for whom the provider names, who joins or gets another role if the claim says so.

    A person is found by the provider's own id of them, else by an e-mail address that it has verified. Who
    has a second factor here still gives it, unless the provider says that it had one.
    Raises ProviderSignInRefused, with a row in the audit log.
    """
    role = settings.role_of(identity.role_claim) if settings.role_claim else None

    def open_it(db: Session) -> Opened | SecondFactorNeeded:
        user = _known(db, identity, now=now)
        if user is None:
            # Whoever joins holds this row: a newcomer's second sign-in finds whom the first made.
            db.get(Installation, 1, with_for_update=True)
            user = _known(db, identity, now=now)
        if settings.role_claim and role is None:
            raise ProviderSignInRefused(
                f"Your account at {settings.name} has no access to Licenzy.",
                hint="Ask the person who manages your account there.",
            )
        if user is None:
            user = _joined(db, settings, identity, role, now=now)
        elif user.disabled_at is not None:
            raise ProviderSignInRefused("Your account is disabled.", hint="Ask an owner of your workspace.")
        elif role is not None:
            _follow(db, user, Role(role), device=device, now=now)
        _know(db, user, identity, device=device, now=now)
        details = {"provider": identity.issuer}
        actor = Actor(user.id, device.ip)
        if not identity.gave_second_factor and second_factors(db, user_id=user.id).has_any:
            record(db, actor=actor, action="sign_in.identity_accepted", about=user.id, after=details, now=now)
            return SecondFactorNeeded(
                begin_challenge(db, kind=ChallengeKind.SECOND_FACTOR, user=user, now=now)
            )
        record(db, actor=actor, action="sign_in.succeeded", about=user.id, after=details, now=now)
        return open_session(
            db,
            user_id=user.id,
            device=device,
            second_factor_at=now if identity.gave_second_factor else None,
            method=SignInMethod.SINGLE_SIGN_ON,
            now=now,
        )

    try:
        return database.retrying(open_it)
    except ProviderSignInRefused as refusal:
        with database.write() as db:
            _shut_out(db, identity, role_missing=bool(settings.role_claim and role is None), now=now)
            about = (identity.email or identity.subject)[:200]
            details = {"provider": identity.issuer, "reason": refusal.message}
            record(
                db, actor=Actor(None, device.ip), action="sign_in.failed", about=about, after=details, now=now
            )
        raise


def confirm_by_provider(
    database: Database, *, actor: Actor, session_id: str, identity: Identity, now: datetime
) -> None:
    """Make the session fresh again for who signed in once more there. Raises ProviderSignInRefused."""
    at = identity.authenticated_at
    if at is None or now - at > CONFIRMED_FOR:
        raise ProviderSignInRefused("The provider did not ask for your password again.", hint=_ANEW)
    with database.write() as db:
        known = db.get(ProviderIdentity, (identity.issuer, identity.subject))
        if known is None or known.user_id != actor.user_id:
            raise ProviderSignInRefused("You signed in there as somebody else.", hint=_ANEW)
        session = db.get_one(SignInSession, session_id)
        session.authenticated_at = now
        record(db, actor=actor, action="sign_in.confirmed", about=known.user_id, now=now)


def _known(db: Session, identity: Identity, *, now: datetime) -> User | None:
    known = db.get(ProviderIdentity, (identity.issuer, identity.subject))
    if known is not None:
        known.last_used_at = now
        return _locked(db, known.user_id)
    address = rules.normal_email(identity.email) if identity.email else None
    user = queries.find_user(db, email=address) if address else None
    return _locked(db, user.id) if user else None


def _locked(db: Session, user_id: str) -> User:
    """The person, held until the transaction ends: nobody meanwhile disables them or adds a second factor."""
    return db.get_one(User, user_id, populate_existing=True, with_for_update=True)


def _joined(
    db: Session, settings: OpenIdSettings, identity: Identity, role: str | None, *, now: datetime
) -> User:
    address = rules.normal_email(identity.email) if identity.email else None
    installation = db.get(Installation, 1)
    if role is None:
        raise ProviderSignInRefused(
            "Nobody here has your e-mail address.", hint="Ask an admin of the workspace to invite you."
        )
    if address is None:
        raise ProviderSignInRefused(
            f"{settings.name} does not say that your e-mail address is verified.",
            hint="Verify it there, then sign in again.",
        )
    if installation is None or not queries.is_claimed(db):
        raise ProviderSignInRefused(
            "This installation has no owner yet.", hint="Open the link that the server printed first."
        )
    name = clean_name(identity.name)
    if name_problem(name, most=rules.NAME_MAX) is not None:
        name = address.partition("@")[0][: rules.NAME_MAX]
    user = User(
        id=new_id("usr"), email=address, name=name, password_hash="", password_changed_at=now, created_at=now
    )
    db.add(user)
    db.flush()
    workspace_id = installation.workspace_id
    db.add(Membership(workspace_id=workspace_id, user_id=user.id, role=Role(role), created_at=now))
    record(
        db,
        actor=Actor(user.id),
        action="member.added",
        about=user.id,
        workspace_id=workspace_id,
        after={"email": address, "role": role, "provider": identity.issuer},
        now=now,
    )
    return user


def _follow(db: Session, user: User, role: Role, *, device: Device, now: datetime) -> None:
    """Give the person the claim's role in the first workspace. Owners stay: they are the way back in."""
    workspace_id = db.get_one(Installation, 1).workspace_id
    membership = db.get(Membership, (workspace_id, user.id), with_for_update=True)
    if membership is None:
        db.add(Membership(workspace_id=workspace_id, user_id=user.id, role=role, created_at=now))
    elif membership.role in {role, Role.OWNER}:
        return
    before = {"role": membership.role.value} if membership is not None else None
    links = {}
    if membership is not None:
        if team_rules.is_lowered(membership.role, role):
            links = end_links(db, workspace_id, user.id, now=now)
        membership.role = role
    record(
        db,
        actor=Actor(user.id, device.ip),
        action="member.role_changed" if before else "member.added",
        about=user.id,
        workspace_id=workspace_id,
        before=before,
        after={"role": role.value, "by": "provider", **links},
        now=now,
    )


def _know(db: Session, user: User, identity: Identity, *, device: Device, now: datetime) -> None:
    """Know the person by the provider's own id from now on, whatever becomes of the address."""
    if db.get(ProviderIdentity, (identity.issuer, identity.subject)) is not None:
        return
    db.add(
        ProviderIdentity(
            issuer=identity.issuer,
            subject=identity.subject,
            user_id=user.id,
            created_at=now,
            last_used_at=now,
        )
    )
    record(
        db,
        actor=Actor(user.id, device.ip),
        action="provider_identity.linked",
        about=user.id,
        after={"provider": identity.issuer},
        now=now,
    )


def _shut_out(db: Session, identity: Identity, *, role_missing: bool, now: datetime) -> None:
    """End the sessions of somebody whom the provider no longer gives a role; local owners keep theirs."""
    known = db.get(ProviderIdentity, (identity.issuer, identity.subject))
    if known is None or not role_missing:
        return
    installation = db.get(Installation, 1)
    workspace_id = installation.workspace_id if installation else ""
    membership = db.get(Membership, (workspace_id, known.user_id))
    if membership is not None and membership.role is Role.OWNER:
        return
    if membership is not None:
        db.delete(membership)
        links = end_links(db, workspace_id, known.user_id, now=now)
        record(
            db,
            actor=Actor(),
            action="member.removed",
            about=known.user_id,
            workspace_id=workspace_id,
            before={"role": membership.role.value},
            after={"by": "provider", **links},
            now=now,
        )
    end_sessions(db, user_id=known.user_id, except_id=None, now=now)


_ANEW = "Start again from the sign-in page."
