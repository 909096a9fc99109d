"""`licenzy users …` for the people of a workspace."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from flask import Flask

from licenzy.db.unit_of_work import Database
from licenzy.workspace import invitations
from tests.support.cast import PASSWORD, Cast
from tests.workspace.people import HASHER, HOME, actions_recorded


def users(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["users", *arguments])


def answered(app: Flask, *arguments: str) -> dict[str, Any]:
    result = users(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def roles(app: Flask, *arguments: str) -> dict[str, str]:
    return {each["email"]: each["role"] for each in answered(app, "list", *arguments)["users"]}


def test_who_belongs_to_a_workspace(app: Flask, cast: Cast) -> None:
    assert roles(app) == {"owner@example.com": "owner", "colleague@example.com": "viewer"}
    assert roles(app, "--workspace", cast.stranger.workspace_id) == {"stranger@example.com": "owner"}
    listed = answered(app, "list")["users"][0]
    assert set(listed) == {
        "id",
        "email",
        "name",
        "role",
        "joined_at",
        "last_seen_at",
        "disabled_at",
        "second_factor",
    }
    assert "colleague@example.com  viewer  active  Colleague" in users(app, "list").output
    unknown = users(app, "list", "--workspace", "wsp_none")
    assert (unknown.exit_code, "No workspace has this ID." in unknown.output) == (1, True)


def test_the_link_of_an_invitation_is_printed_once(app: Flask, cast: Cast, database: Database) -> None:
    made = answered(app, "invite", "--email", "new@example.com", "--role", "support")
    assert (made["email"], made["role"], made["mailed"]) == ("new@example.com", "support", False)
    (waiting,) = answered(app, "list")["invitations"]
    assert (waiting["email"], waiting["role"]) == ("new@example.com", "support")
    assert made["url"] not in users(app, "list").output
    invitations.join_as_newcomer(
        database,
        token=made["url"].rpartition("/")[2],
        name="New",
        password=PASSWORD,
        device=HOME,
        hasher=HASHER,
        now=app.extensions["licenzy"].clock(),
    )
    assert roles(app)["new@example.com"] == "support"
    again = users(app, "invite", "--email", "new@example.com", "--role", "support")
    assert (again.exit_code, "This person is a member already." in again.output) == (1, True)


def test_changing_and_ending_what_people_may_do(app: Flask, cast: Cast, database: Database) -> None:
    them = ("--email", "Colleague@example.com")
    assert answered(app, "set-role", *them, "--role", "owner")["role"] == "owner"
    assert roles(app)["colleague@example.com"] == "owner"
    assert answered(app, "disable", *them)["disabled"] is True
    assert answered(app, "list")["users"][1]["disabled_at"] is not None
    for refused in (("disable",), ("remove",), ("set-role", "--role", "viewer")):
        result = users(app, *refused, "--email", "owner@example.com")
        assert (result.exit_code, "the only owner" in result.output) == (1, True)
    assert answered(app, "enable", *them)["disabled"] is False
    assert answered(app, "remove", *them)["removed"] is True
    assert list(roles(app)) == ["owner@example.com"]
    assert actions_recorded(database) == [
        "member.role_changed",
        "user.disabled",
        "user.enabled",
        "member.removed",
    ]


def test_who_is_unknown_is_refused_with_a_sentence(app: Flask, cast: Cast) -> None:
    for command in (("disable",), ("enable",), ("remove",), ("set-role", "--role", "viewer")):
        nobody = users(app, *command, "--email", "nobody@example.com")
        assert (nobody.exit_code, "No person has this e-mail address." in nobody.output) == (1, True)
        elsewhere = users(app, *command, "--email", "stranger@example.com")
        assert (elsewhere.exit_code, "not a member of the workspace" in elsewhere.output) == (1, True)
    assert users(app, "set-role", "--email", "x@example.com", "--role", "boss").exit_code == 2
