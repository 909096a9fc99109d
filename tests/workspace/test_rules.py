"""Passwords, tokens, the ends of sessions: tables of cases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from licenzy.workspace import rules
from licenzy.workspace.models import Role
from tests.support.clock import START


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "1234567",
        "password",
        "PASSWORD",
        "123456789",
        "qwertyuiop",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "licenzy1",
        "Licenzy2026!",
        "mylicenzy",
        "x" * 129,
        "a lone \ud800 surrogate",
    ],
)
def test_it_refuses_passwords_that_are_guessed_first(password: str) -> None:
    assert rules.password_problem(password)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "zwölf Größen überall",
        "пароль для входа",
        "  spaces around  ",
        "七転び八起き、また明日",
        "🐝🐝🐝 and 🍯🍯🍯",
        "licenzy is not all of this one",
        "x1y2z3" * 21,
        "k8#Lq!2v",
    ],
)
def test_it_takes_any_other_of_8_to_128_characters(password: str) -> None:
    assert rules.password_problem(password) is None


def test_it_refuses_every_password_of_the_list() -> None:
    listed = sorted(rules.common_passwords())
    assert len(listed) >= 3000
    assert all(rules.password_problem(password) for password in listed)
    assert all(len(password) >= rules.PASSWORD_MIN for password in listed)


@pytest.mark.parametrize("password", ["adalovelace", "Lovelace1815", "ada@example.com", "example99"])
def test_it_refuses_what_is_known_of_the_person(password: str) -> None:
    context = ["Ada Lovelace", "ada@example.com", "ada", "example", "com"]
    assert rules.password_problem(password, context=context)
    assert rules.password_problem("unrelated words here", context=context) is None


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("ada+tag@example.com", "ada+tag@example.com"),
        ("no address", None),
        ("two@signs@example.com", None),
        ("", None),
        ("ada@example.com\r\nBcc: x@example.com", None),
    ],
)
def test_addresses_have_one_form(text: str, normal: str | None) -> None:
    assert rules.normal_email(text) == normal


@pytest.mark.parametrize("given", ["", "x", "übel", "\ud800", "secret-tokens", "Secret-token"])
def test_only_the_same_token_is_the_same(given: str) -> None:
    assert rules.same_token("secret-token", "secret-token")
    assert not rules.same_token("secret-token", given)


def test_a_session_ends_by_revocation_age_and_idleness() -> None:
    def over(**changes: object) -> bool:
        facts = {
            "last_seen_at": START,
            "expires_at": START + rules.SESSION_LIFE,
            "revoked_at": None,
            "now": START,
        }
        return rules.is_over(**{**facts, **changes})  # type: ignore[arg-type]

    soon = timedelta(microseconds=1)
    assert not over()
    assert over(revoked_at=START)
    assert not over(now=START + rules.SESSION_IDLE - soon)
    assert over(now=START + rules.SESSION_IDLE)
    end = START + rules.SESSION_LIFE
    assert not over(now=end - soon, last_seen_at=end - soon)
    assert over(now=end, last_seen_at=end)


def test_windows_of_a_throttle_follow_each_other() -> None:
    hourly = rules.Throttle("key", most=20, window=timedelta(hours=1))
    end = hourly.ends_at(START)
    assert START < end <= START + timedelta(hours=1)
    assert hourly.number(end) == hourly.number(START) + 1


def test_strangers_and_the_owner_use_up_different_counters() -> None:
    stranger = {t.key for t in rules.throttles("ada@example.com", "192.0.2.1", familiar=False)}
    owner = {t.key for t in rules.throttles("ada@example.com", "198.51.100.7", familiar=True)}
    assert not stranger & owner


def test_roles_are_a_ladder() -> None:
    ladder = [Role.VIEWER, Role.SUPPORT, Role.ADMIN, Role.OWNER]
    for height, role in enumerate(ladder):
        assert [role.at_least(other) for other in ladder] == [n <= height for n in range(4)]
