"""Passwords, tokens, the ends of sessions: tables of cases."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from licenzy.workspace import rules
from licenzy.workspace.models import Role
from licenzy.workspace.passwords import common_passwords
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
    assert rules.password_problem(password, common=common_passwords())


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
    assert rules.password_problem(password, common=common_passwords()) is None


def test_it_refuses_every_password_of_the_list() -> None:
    listed = sorted(common_passwords())
    assert len(listed) >= 3000
    assert all(rules.password_problem(password, common=common_passwords()) for password in listed)
    assert all(len(password) >= rules.PASSWORD_MIN for password in listed)


@pytest.mark.parametrize("password", ["adalovelace", "Lovelace1815", "ada@example.com", "example99"])
def test_it_refuses_what_is_known_of_the_person(password: str) -> None:
    context = ["Ada Lovelace", "ada@example.com", "ada", "example", "com"]
    assert rules.password_problem(password, common=common_passwords(), context=context)
    assert rules.password_problem("unrelated words here", common=common_passwords(), context=context) is None


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("ada+tag@example.com", "ada+tag@example.com"),
        ("no address", None),
        ("two@signs@example.com", None),
        ("", None),
        ("ada@example.com\r\nBcc: x@example.com", None),
        ("=?utf-8?q?x=0D=0ABcc=3Aeve?=@example.com", None),
        ("=?utf-8?q?eve?=@example.com", None),
        ("a=b?c@example.com", "a=b?c@example.com"),
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


LIMITS = [rules.ACCOUNT_LIMIT, rules.ADDRESS_LIMIT, rules.OWN_LIMIT]


def admitted(limit: rules.Limit, gaps: list[float]) -> list[datetime]:
    """When tries were let through that come so many seconds one after the other."""
    now, tries = START, list[datetime]()
    for gap in gaps:
        now += timedelta(seconds=gap)
        if not limit.wait(tries, now=now):
            tries.append(now)
    return tries


@pytest.mark.parametrize("limit", LIMITS)
@given(
    gaps=st.lists(
        st.one_of(st.just(0.0), st.sampled_from([0.5, 1.0, 59.0, 60.0, 61.0, 300.0]), st.floats(0, 4000)),
        max_size=300,
    )
)
def test_no_window_ever_holds_more_than_the_limit(limit: rules.Limit, gaps: list[float]) -> None:
    tries = admitted(limit, gaps)
    for first in tries:
        held = [each for each in tries if first <= each < first + limit.window]
        assert len(held) <= limit.most


@pytest.mark.parametrize("limit", LIMITS)
@given(
    gaps=st.lists(st.one_of(st.floats(0, 70), st.just(0.0), st.floats(0, 4000)), max_size=200),
    later=st.floats(0, 4000),
)
@example(gaps=[0.0, 3570.0, 0.0, 0.0, 0.0], later=0.0)
def test_waiting_as_long_as_told_is_enough_and_is_bounded(
    limit: rules.Limit, gaps: list[float], later: float
) -> None:
    tries = admitted(limit, gaps)
    now = (tries[-1] if tries else START) + timedelta(seconds=later)
    wait = limit.wait(tries, now=now)
    assert not limit.wait(tries, now=now + wait)
    if wait:
        # Guessing on while one has to wait changes nothing: refused tries are not counted.
        # The wait may end sooner, where one of the tries becomes too old to count meanwhile.
        assert limit.wait(tries, now=now + wait / 2) <= wait - wait / 2
    if len(limit.recent(tries, now=now)) < limit.most:
        assert wait <= limit.apart


def test_who_guesses_as_often_as_they_can_gets_60_tries_an_hour_and_others_wait_a_minute() -> None:
    limit = rules.ACCOUNT_LIMIT
    tries = admitted(limit, [0.36] * 30_000)
    assert len([each for each in tries if each < START + timedelta(hours=1)]) == 60
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert [gap > timedelta(seconds=1) for gap in gaps[:5]] == [False] * 4 + [True]
    # The burst of five is paid for once, when all 60 of the first hour are used up.
    assert sorted(gaps)[-2] <= timedelta(seconds=61)
    assert timedelta(seconds=290) < max(gaps) < timedelta(seconds=302)
    assert gaps.index(max(gaps)) == 59


def test_a_try_that_was_overtaken_waits_no_longer_than_the_others() -> None:
    later = [START + timedelta(milliseconds=each) for each in range(5)]
    assert rules.ACCOUNT_LIMIT.wait(later, now=START) == timedelta(minutes=1)


def test_an_address_that_is_busy_waits_seconds() -> None:
    tries = admitted(rules.ADDRESS_LIMIT, [0.01] * 60_000)
    assert max(later - earlier for earlier, later in pairwise(tries)) <= timedelta(seconds=20)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ("unix:", "unix:"),
    ],
)
def test_addresses_of_one_customer_are_one_network(ip: str | None, network: str) -> None:
    assert rules.network_of(ip) == network


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (42, "42 seconds"), (60, "60 seconds"), (61, "2 minutes"), (300, "5 minutes")],
)
def test_times_to_wait_are_words(seconds: int, words: str) -> None:
    assert rules.wait_in_words(seconds) == words


def test_roles_are_a_ladder() -> None:
    ladder = [Role.VIEWER, Role.SUPPORT, Role.ADMIN, Role.OWNER]
    for height, role in enumerate(ladder):
        assert [role.at_least(other) for other in ladder] == [n <= height for n in range(4)]
