"""Members of a workspace: who may do what to whom, and the last owner, on both databases."""

from __future__ import annotations

import threading
from itertools import product

import pytest
from sqlmodel import Session, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.workspace import members, queries, team_rules
from licenzy.workspace.actions import Actor
from licenzy.workspace.models import AuditEntry, Membership, Role, User
from licenzy.workspace.team_locks import LastOwner, MemberNotFound, RoleTooLow
from tests.support.cast import Cast, make_user
from tests.support.clock import START
from tests.support.threads import join
from tests.workspace.people import actions_recorded, sign_in


def add(database: Database, cast: Cast, name: str, role: Role) -> str:
    with database.write() as db:
        return make_user(db, email=f"{name}@example.com", workspace_id=cast.owner.workspace_id, role=role)


def join_elsewhere(database: Database, cast: Cast, user_id: str, role: Role = Role.VIEWER) -> None:
    with database.write() as db:
        workspace_id = cast.stranger.workspace_id
        db.add(Membership(workspace_id=workspace_id, user_id=user_id, role=role, created_at=START))


def roles(database: Database, cast: Cast) -> dict[str, Role]:
    with database.read() as db:
        found = queries.members_of(db, workspace_id=cast.owner.workspace_id)
    return {user.email.partition("@")[0]: membership.role for user, membership in found}


def change(database: Database, cast: Cast, actor_id: str | None, user_id: str, role: Role) -> bool:
    return database.retrying(
        lambda db: members.change_role(
            db,
            workspace_id=cast.owner.workspace_id,
            user_id=user_id,
            role=role,
            actor=Actor(actor_id),
            now=START,
        )
    )


def remove(database: Database, cast: Cast, actor_id: str | None, user_id: str) -> None:
    database.retrying(
        lambda db: members.remove_member(
            db, workspace_id=cast.owner.workspace_id, user_id=user_id, actor=Actor(actor_id), now=START
        )
    )


def disable(database: Database, cast: Cast, actor_id: str | None, user_id: str) -> bool:
    return database.retrying(
        lambda db: members.disable_user(
            db, workspace_id=cast.owner.workspace_id, user_id=user_id, actor=Actor(actor_id), now=START
        )
    )


def enable(database: Database, cast: Cast, actor_id: str | None, user_id: str) -> bool:
    return database.retrying(
        lambda db: members.enable_user(
            db, workspace_id=cast.owner.workspace_id, user_id=user_id, actor=Actor(actor_id), now=START
        )
    )


def test_roles_that_may_be_given() -> None:
    assert team_rules.roles_to_give(Role.VIEWER) == team_rules.roles_to_give(Role.SUPPORT) == []
    assert team_rules.roles_to_give(Role.ADMIN) == [Role.VIEWER, Role.SUPPORT, Role.ADMIN]
    assert team_rules.roles_to_give(Role.OWNER) == list(Role)


@pytest.mark.parametrize("own", list(Role))
def test_who_may_give_which_role_to_whom(database: Database, cast: Cast, own: Role) -> None:
    actor = add(database, cast, "actor", own)
    allowed = {
        Role.VIEWER: [],
        Role.SUPPORT: [],
        Role.ADMIN: [Role.VIEWER, Role.SUPPORT, Role.ADMIN],
        Role.OWNER: list(Role),
    }[own]
    for number, (before, after) in enumerate(product(Role, Role)):
        if before is after:
            continue
        user_id = add(database, cast, f"person{number}", before)
        if before in allowed and after in allowed:
            assert change(database, cast, actor, user_id, after)
            assert roles(database, cast)[f"person{number}"] is after
        else:
            with pytest.raises(RoleTooLow):
                change(database, cast, actor, user_id, after)
            assert roles(database, cast)[f"person{number}"] is before


@pytest.mark.parametrize("own", [Role.VIEWER, Role.SUPPORT, Role.ADMIN])
def test_nobody_raises_themselves(database: Database, cast: Cast, own: Role) -> None:
    actor = add(database, cast, "actor", own)
    for role in Role:
        if role.at_least(own) and role is not own:
            with pytest.raises(RoleTooLow):
                change(database, cast, actor, actor, role)
    assert roles(database, cast)["actor"] is own


def test_an_admin_may_lower_themselves(database: Database, cast: Cast) -> None:
    actor = add(database, cast, "actor", Role.ADMIN)
    assert change(database, cast, actor, actor, Role.VIEWER)
    with pytest.raises(RoleTooLow):
        change(database, cast, actor, actor, Role.ADMIN)


def test_a_change_is_one_row_and_no_change_is_none(database: Database, cast: Cast) -> None:
    assert change(database, cast, cast.owner.user_id, cast.colleague.user_id, Role.ADMIN)
    assert not change(database, cast, cast.owner.user_id, cast.colleague.user_id, Role.ADMIN)
    with database.read() as db:
        (row,) = db.exec(select(AuditEntry)).all()
    assert (row.action, row.about) == ("member.role_changed", cast.colleague.user_id)
    assert (row.actor_user_id, row.workspace_id) == (cast.owner.user_id, cast.owner.workspace_id)
    assert (row.before, row.after) == ({"role": "viewer"}, {"role": "admin"})


def test_the_last_owner_stays(database: Database, cast: Cast) -> None:
    disabled = add(database, cast, "disabled", Role.OWNER)
    assert disable(database, cast, cast.owner.user_id, disabled)
    owner = cast.owner.user_id
    for attempt in (
        lambda: change(database, cast, owner, owner, Role.ADMIN),
        lambda: remove(database, cast, owner, owner),
        lambda: change(database, cast, None, owner, Role.VIEWER),
        lambda: remove(database, cast, None, owner),
        lambda: disable(database, cast, None, owner),
    ):
        with pytest.raises(LastOwner):
            attempt()
    assert roles(database, cast)["owner"] is Role.OWNER
    assert actions_recorded(database) == ["user.disabled"]
    # The other one cannot sign in, and so may go.
    remove(database, cast, owner, disabled)


def test_who_leaves_and_who_is_removed(database: Database, cast: Cast) -> None:
    admin = add(database, cast, "admin", Role.ADMIN)
    with pytest.raises(RoleTooLow):
        remove(database, cast, admin, cast.owner.user_id)
    with pytest.raises(RoleTooLow):
        remove(database, cast, cast.colleague.user_id, admin)
    remove(database, cast, cast.colleague.user_id, cast.colleague.user_id)
    remove(database, cast, cast.owner.user_id, admin)
    assert set(roles(database, cast)) == {"owner"}
    assert actions_recorded(database) == ["member.left", "member.removed"]


def test_strangers_are_not_found_either_way(database: Database, cast: Cast) -> None:
    for actor, person in ((cast.owner, cast.stranger), (cast.stranger, cast.colleague)):
        for verb in (remove, disable, enable):
            with pytest.raises(MemberNotFound):
                verb(database, cast, actor.user_id, person.user_id)
    assert actions_recorded(database) == []


def test_disabling_ends_all_sessions_at_once(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "colleague@example.com")
    assert disable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    assert not disable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    with pytest.raises(LicenzyError):
        sign_in(database, "colleague@example.com")
    assert enable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    assert not enable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
    assert sign_in(database, "colleague@example.com")
    recorded = actions_recorded(database)
    assert (recorded.count("user.disabled"), recorded.count("user.enabled")) == (1, 1)


def test_only_owners_disable_and_nobody_themselves(database: Database, cast: Cast) -> None:
    admin = add(database, cast, "admin", Role.ADMIN)
    for verb in (disable, enable):
        with pytest.raises(RoleTooLow):
            verb(database, cast, admin, cast.colleague.user_id)
    with pytest.raises(InvalidRequest):
        disable(database, cast, cast.owner.user_id, cast.owner.user_id)


def test_who_belongs_elsewhere_is_not_disabled(database: Database, cast: Cast) -> None:
    join_elsewhere(database, cast, cast.colleague.user_id)
    with pytest.raises(members.BelongsElsewhere):
        disable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    join_elsewhere(database, cast, cast.owner.user_id, Role.ADMIN)
    with pytest.raises(members.BelongsElsewhere):
        disable(database, cast, cast.owner.user_id, cast.colleague.user_id)
    with database.write() as db:
        db.get_one(Membership, (cast.stranger.workspace_id, cast.owner.user_id)).role = Role.OWNER
    assert disable(database, cast, cast.owner.user_id, cast.colleague.user_id)


def test_the_last_owner_of_another_workspace_is_not_disabled(database: Database, cast: Cast) -> None:
    join_elsewhere(database, cast, cast.colleague.user_id, Role.OWNER)
    remove_stranger = Actor()
    with database.write() as db:
        members.remove_member(
            db,
            workspace_id=cast.stranger.workspace_id,
            user_id=cast.stranger.user_id,
            actor=remove_stranger,
            now=START,
        )
    with pytest.raises(LastOwner):
        disable(database, cast, None, cast.colleague.user_id)


@pytest.mark.parametrize("verb", ["remove", "demote", "disable"])
def test_of_two_owners_who_act_on_each_other_at_once_one_stays(
    database: Database, cast: Cast, verb: str
) -> None:
    other = add(database, cast, "other", Role.OWNER)
    both, refused = threading.Barrier(2), []

    def act(actor: str, on: str) -> None:
        both.wait(10)
        try:
            if verb == "remove":
                remove(database, cast, actor, on)
            elif verb == "demote":
                change(database, cast, actor, on, Role.VIEWER)
            else:
                disable(database, cast, actor, on)
        except (LastOwner, RoleTooLow, MemberNotFound) as error:
            refused.append(error)

    pairs = ((cast.owner.user_id, other), (other, cast.owner.user_id))
    threads = [threading.Thread(target=act, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert len(refused) == 1
    with database.read() as db:
        assert len(_able_owners(db, cast)) == 1


@pytest.mark.parametrize("verb", ["leave", "demote"])
def test_of_two_owners_who_go_at_once_one_stays(database: Database, cast: Cast, verb: str) -> None:
    other = add(database, cast, "other", Role.OWNER)
    both, refused = threading.Barrier(2), []

    def go(user_id: str) -> None:
        both.wait(10)
        try:
            if verb == "leave":
                remove(database, cast, user_id, user_id)
            else:
                change(database, cast, user_id, user_id, Role.VIEWER)
        except LastOwner as error:
            refused.append(error)

    threads = [threading.Thread(target=go, args=(each,)) for each in (cast.owner.user_id, other)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert len(refused) == 1
    with database.read() as db:
        assert len(_able_owners(db, cast)) == 1


def _able_owners(db: Session, cast: Cast) -> list[User]:
    found = queries.members_of(db, workspace_id=cast.owner.workspace_id)
    return [user for user, each in found if each.role is Role.OWNER and user.disabled_at is None]
