"""Invitations: links that work once and for a week, on both databases."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.mail.models import Mail
from licenzy.runtime import Runtime
from licenzy.workspace import invitations, members, queries
from licenzy.workspace.actions import Actor, Opened
from licenzy.workspace.invitations import InvitationNotFound, InvitationOver, OtherAddress
from licenzy.workspace.links import Links, NewLink
from licenzy.workspace.models import AuditEntry, Invitation, Membership, Role, User
from licenzy.workspace.team_locks import RoleTooLow
from licenzy.workspace.team_rules import INVITATION_LIFE
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START
from tests.support.threads import join
from tests.workspace.people import HASHER, HOME, actions_recorded, sign_in
from tests.workspace.test_members import add, join_elsewhere, remove

NEWCOMER = "newcomer@example.com"


@pytest.fixture
def links(runtime: Runtime) -> Links:
    return Links("https://licenzy.example.com", runtime.secret_box, mailed=True)


def invite(
    database: Database,
    links: Links,
    cast: Cast,
    *,
    email: str = NEWCOMER,
    role: Role = Role.SUPPORT,
    actor: str | None = None,
) -> NewLink:
    with database.write() as db:
        return invitations.invite(
            db,
            links,
            workspace_id=cast.owner.workspace_id,
            email=email,
            role=role,
            actor=Actor(actor or cast.owner.user_id),
            now=START,
        )


def token_of(link: NewLink) -> str:
    return link.url.rpartition("/")[2]


def join_with(database: Database, link: NewLink, *, now: datetime = START) -> Opened:
    return invitations.join_as_newcomer(
        database,
        token=token_of(link),
        name="New Comer",
        password=PASSWORD,
        device=HOME,
        hasher=HASHER,
        now=now,
    )


def accept(database: Database, link: NewLink, user_id: str, *, now: datetime = START) -> str:
    return database.retrying(
        lambda db: invitations.accept_invitation(db, token=token_of(link), actor=Actor(user_id), now=now)
    )


def only_invitation(database: Database) -> Invitation:
    with database.read() as db:
        return db.exec(select(Invitation)).one()


def role_of(database: Database, cast: Cast, user_id: str) -> Role | None:
    with database.read() as db:
        membership = db.get(Membership, (cast.owner.workspace_id, user_id))
    return membership.role if membership else None


def test_a_newcomer_joins_once_with_the_role_and_is_signed_in(
    database: Database, links: Links, cast: Cast
) -> None:
    link = invite(database, links, cast, email=" NewComer@Example.com ")
    stored = only_invitation(database)
    assert (stored.email, stored.expires_at) == (NEWCOMER, START + INVITATION_LIFE)
    assert token_of(link) not in (stored.token_hash, repr(link))
    opened = join_with(database, link)
    assert role_of(database, cast, opened.user_id) is Role.SUPPORT
    with database.read() as db:
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
        rows = db.exec(select(AuditEntry).order_by(col(AuditEntry.id))).all()
    assert found is not None
    assert [(row.action, row.about) for row in rows] == [
        ("member.invited", stored.id),
        ("invitation.accepted", stored.id),
    ]
    assert not [row for row in rows if token_of(link) in str((row.before, row.after))]
    with pytest.raises(InvitationOver):
        join_with(database, link)
    assert sign_in(database, NEWCOMER)


def test_the_link_is_mailed_where_a_mail_server_is_set(
    database: Database, runtime: Runtime, links: Links, cast: Cast
) -> None:
    link = invite(database, links, cast)
    unmailed = Links(links.base_url, runtime.secret_box, mailed=False)
    assert not invite(database, unmailed, cast, email="other@example.com").mailed
    with database.read() as db:
        mail = db.exec(select(Mail)).one()
    body = runtime.secret_box.decrypt(mail.body or "", bound_to=f"mail {mail.id} body")
    assert (mail.to_email, link.mailed) == (NEWCOMER, True)
    assert link.url in body
    assert "Owner has invited you" in body


def test_who_has_an_account_joins_with_their_own_address_only(
    database: Database, links: Links, cast: Cast
) -> None:
    link = invite(database, links, cast, email=cast.stranger.email)
    with pytest.raises(OtherAddress):
        accept(database, link, cast.colleague.user_id)
    with pytest.raises(InvitationOver, match="has an account already"):
        join_with(database, link)
    assert accept(database, link, cast.stranger.user_id) == cast.owner.workspace_id
    assert role_of(database, cast, cast.stranger.user_id) is Role.SUPPORT
    assert actions_recorded(database) == ["member.invited", "invitation.accepted"]
    with pytest.raises(InvitationOver):
        accept(database, link, cast.stranger.user_id)


def test_an_expired_or_revoked_link_is_over(database: Database, links: Links, cast: Cast) -> None:
    link = invite(database, links, cast)
    with pytest.raises(InvitationOver):
        join_with(database, link, now=START + INVITATION_LIFE)
    with database.write() as db:
        place = {"workspace_id": cast.owner.workspace_id, "invitation_id": only_invitation(database).id}
        invitations.revoke_invitation(db, **place, actor=Actor(cast.owner.user_id), now=START)
    for link_again in (link, NewLink("https://licenzy.example.com/invitations/x", "", False)):
        with pytest.raises(InvitationOver):
            join_with(database, link_again)
    with pytest.raises(InvitationOver), database.write() as db:
        invitations.revoke_invitation(db, **place, actor=Actor(cast.owner.user_id), now=START)
    assert actions_recorded(database) == ["member.invited", "invitation.revoked"]


def test_a_new_link_replaces_the_old_one(database: Database, links: Links, cast: Cast) -> None:
    link = invite(database, links, cast)
    later = START + INVITATION_LIFE + timedelta(days=1)
    with database.write() as db:
        renewed = invitations.resend_invitation(
            db,
            links,
            workspace_id=cast.owner.workspace_id,
            invitation_id=only_invitation(database).id,
            actor=Actor(cast.owner.user_id),
            now=later,
        )
    with pytest.raises(InvitationOver):
        join_with(database, link, now=later)
    assert join_with(database, renewed, now=later)


def test_who_may_invite_as_what(database: Database, links: Links, cast: Cast) -> None:
    admin = add(database, cast, "admin", Role.ADMIN)
    for role in Role:
        with pytest.raises(RoleTooLow):
            invite(database, links, cast, role=role, actor=cast.colleague.user_id)
    with pytest.raises(RoleTooLow):
        invite(database, links, cast, role=Role.OWNER, actor=admin)
    assert invite(database, links, cast, role=Role.ADMIN, actor=admin)
    owners = invite(database, links, cast, email="boss@example.com", role=Role.OWNER)
    with database.read() as db:
        boss = db.exec(select(Invitation).where(Invitation.email == "boss@example.com")).one()
    place = {"workspace_id": cast.owner.workspace_id, "invitation_id": boss.id}
    with pytest.raises(RoleTooLow), database.write() as db:
        invitations.resend_invitation(db, links, **place, actor=Actor(admin), now=START)
    with pytest.raises(RoleTooLow), database.write() as db:
        invitations.revoke_invitation(db, **place, actor=Actor(admin), now=START)
    assert join_with(database, owners)


def test_members_and_invited_addresses_are_not_invited_again(
    database: Database, links: Links, cast: Cast
) -> None:
    invite(database, links, cast)
    for email, sentence in (
        (NEWCOMER, "invited already"),
        (cast.colleague.email, "a member already"),
        ("nonsense", "not an e-mail address"),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            invite(database, links, cast, email=email)
        assert sentence in refusal.value.fields["email"]


def test_an_invitation_of_another_workspace_is_not_found(
    database: Database, links: Links, cast: Cast
) -> None:
    invite(database, links, cast)
    place = {"workspace_id": cast.stranger.workspace_id, "invitation_id": only_invitation(database).id}
    with pytest.raises(InvitationNotFound), database.write() as db:
        invitations.revoke_invitation(db, **place, actor=Actor(cast.stranger.user_id), now=START)
    with pytest.raises(InvitationNotFound), database.write() as db:
        invitations.resend_invitation(db, links, **place, actor=Actor(cast.stranger.user_id), now=START)


def test_the_invitations_of_who_is_removed_end(database: Database, links: Links, cast: Cast) -> None:
    admin = add(database, cast, "admin", Role.ADMIN)
    link = invite(database, links, cast, role=Role.ADMIN, actor=admin)
    remove(database, cast, cast.owner.user_id, admin)
    with pytest.raises(InvitationOver):
        join_with(database, link)
    with database.read() as db:
        removal = db.exec(select(AuditEntry).where(AuditEntry.action == "member.removed")).one()
    assert removal.after == {"invitations_revoked": 1}


def test_who_was_disabled_meanwhile_does_not_join(database: Database, links: Links, cast: Cast) -> None:
    link = invite(database, links, cast, email=cast.stranger.email)
    join_elsewhere(database, cast, cast.colleague.user_id, Role.OWNER)
    with database.write() as db:
        members.disable_user(
            db,
            workspace_id=cast.stranger.workspace_id,
            user_id=cast.stranger.user_id,
            actor=Actor(cast.colleague.user_id),
            now=START,
        )
    with pytest.raises(InvitationOver):
        accept(database, link, cast.stranger.user_id)


def test_of_several_who_open_the_link_at_once_one_joins(database: Database, links: Links, cast: Cast) -> None:
    link = invite(database, links, cast)
    all_there, outcomes = threading.Barrier(4), []

    def try_it() -> None:
        all_there.wait(10)
        try:
            outcomes.append(join_with(database, link).user_id)
        except LicenzyError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert sorted(outcomes)[:3] == ["InvitationOver"] * 3
    with database.read() as db:
        assert len(db.exec(select(User).where(User.email == NEWCOMER)).all()) == 1
