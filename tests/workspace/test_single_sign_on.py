"""Signing in through a provider, where others act on the same person at the same time or before."""

from __future__ import annotations

import threading

import pytest

from licenzy.db.unit_of_work import Database
from licenzy.kit.openid_settings import OpenIdSettings
from licenzy.runtime import Runtime
from licenzy.workspace.actions import Actor, Device
from licenzy.workspace.invitations import InvitationOver, accept_invitation, invite
from licenzy.workspace.links import Links
from licenzy.workspace.models import Role
from licenzy.workspace.openid_provider import Identity
from licenzy.workspace.sessions import Opened
from licenzy.workspace.single_sign_on import ProviderSignInRefused, sign_in_by_provider
from tests.support.cast import Cast
from tests.support.clock import START
from tests.support.threads import join
from tests.workspace.test_members import add, roles

SETTINGS = OpenIdSettings(
    issuer="https://id.example.com",
    client_id="licenzy",
    client_secret="of the tests",
    name="Our company",
    role_claim="groups",
    roles={"staff": "viewer", "admins": "admin"},
)


def arrive(database: Database, name: str, group: str) -> Opened:
    identity = Identity(
        issuer=SETTINGS.issuer,
        subject=name,
        email=f"{name}@example.com",
        name=name.title(),
        role_claim=[group],
        gave_second_factor=False,
        authenticated_at=None,
    )
    opened = sign_in_by_provider(database, SETTINGS, identity=identity, device=Device(), now=START)
    assert isinstance(opened, Opened)
    return opened


@pytest.mark.parametrize("known", [False, True])
def test_of_several_first_sign_ins_at_once_all_are_the_same_person(
    database: Database, cast: Cast, known: bool
) -> None:
    if known:
        add(database, cast, "ada", Role.VIEWER)
    gate, opened = threading.Barrier(4), list[Opened]()

    def come() -> None:
        gate.wait()
        opened.append(arrive(database, "ada", "staff"))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert len(opened) == 4
    assert len({each.user_id for each in opened}) == 1


@pytest.mark.parametrize("group", ["staff", "guests"])
def test_the_invitations_of_who_loses_the_role_end(
    database: Database, runtime: Runtime, cast: Cast, group: str
) -> None:
    user_id = arrive(database, "ada", "admins").user_id
    assert roles(database, cast)["ada"] is Role.ADMIN
    with database.write() as db:
        link = invite(
            db,
            Links("http://localhost", runtime.secret_box, mailed=False),
            workspace_id=cast.owner.workspace_id,
            email=cast.stranger.email,
            role=Role.ADMIN,
            actor=Actor(user_id),
            now=START,
        )
    if group == "guests":
        with pytest.raises(ProviderSignInRefused):
            arrive(database, "ada", group)
    else:
        arrive(database, "ada", group)
    token = link.url.rpartition("/")[2]
    with pytest.raises(InvitationOver), database.write() as db:
        accept_invitation(db, token=token, actor=Actor(cast.stranger.user_id), now=START)
