"""Links that set a password: who gets one, how often, and what ends with it, on both databases."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.mail.models import Mail
from licenzy.runtime import Runtime
from licenzy.workspace import actions, members, password_links, queries
from licenzy.workspace.actions import Actor, SignInRefused, TooManyTries
from licenzy.workspace.links import Links, NewLink
from licenzy.workspace.models import PasswordReset, Role
from licenzy.workspace.password_links import ResetLinkOver
from licenzy.workspace.team_locks import MemberNotFound, RoleTooLow
from licenzy.workspace.team_rules import ISSUED_RESET_LIFE, OWN_RESET_LIFE
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START
from tests.support.statements import statements_sent
from tests.support.threads import join
from tests.workspace.people import HASHER, actions_recorded, sign_in
from tests.workspace.test_members import add, change, join_elsewhere, remove

NEW = "an entirely new one"
LATER = START + timedelta(seconds=1)


@pytest.fixture
def links(runtime: Runtime) -> Links:
    return Links("https://licenzy.example.com", runtime.secret_box, mailed=True)


def request(database: Database, links: Links, email: str, *, ip: str = "198.51.100.7") -> None:
    password_links.request_reset(database, links, email=email, ip=ip, now=LATER)


def issue(database: Database, links: Links, cast: Cast, actor_id: str, user_id: str) -> NewLink:
    with database.write() as db:
        return password_links.issue_reset(
            db,
            links,
            workspace_id=cast.owner.workspace_id,
            user_id=user_id,
            actor=Actor(actor_id),
            now=LATER,
        )


def use(database: Database, url: str, *, password: str = NEW, now: datetime = LATER) -> None:
    token = url.rpartition("/")[2]
    password_links.reset_by_link(
        database, token=token, password=password, ip="198.51.100.7", hasher=HASHER, now=now
    )


def mailed_links(database: Database, runtime: Runtime) -> list[str]:
    with database.read() as db:
        mails = db.exec(select(Mail)).all()
    bodies = [runtime.secret_box.decrypt(each.body or "", bound_to=f"mail {each.id} body") for each in mails]
    return [word for body in bodies for word in body.split() if "/password-reset/" in word]


def test_who_asks_gets_a_link_that_works_once_for_an_hour(
    database: Database, runtime: Runtime, links: Links, cast: Cast
) -> None:
    before = sign_in(database, cast.owner.email)
    request(database, links, " OWNER@example.com")
    (url,) = mailed_links(database, runtime)
    with database.read() as db:
        stored = db.exec(select(PasswordReset)).one()
    assert url.rpartition("/")[2] != stored.token_hash
    with pytest.raises(ResetLinkOver):
        use(database, url, now=LATER + OWN_RESET_LIFE)
    use(database, url)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=before.token, now=LATER) is None
    with pytest.raises(ResetLinkOver):
        use(database, url, password="yet another one")
    with pytest.raises(SignInRefused):
        sign_in(database, cast.owner.email, PASSWORD)
    assert sign_in(database, cast.owner.email, NEW)
    assert [each for each in actions_recorded(database) if each.startswith("password")] == [
        "password.reset_issued",
        "password.reset",
    ]


@pytest.mark.parametrize("password", ["short", "password", "owner@example.com"])
def test_a_bad_password_is_refused_and_uses_nothing_up(
    database: Database, runtime: Runtime, links: Links, cast: Cast, password: str
) -> None:
    request(database, links, cast.owner.email)
    (url,) = mailed_links(database, runtime)
    with pytest.raises(InvalidRequest) as refusal:
        use(database, url, password=password)
    assert set(refusal.value.fields) == {"password"}
    use(database, url)


def test_nobody_and_the_disabled_cost_the_same_and_get_nothing(
    database: Database, links: Links, cast: Cast
) -> None:
    with database.write() as db:
        members.disable_user(
            db,
            workspace_id=cast.owner.workspace_id,
            user_id=cast.colleague.user_id,
            actor=Actor(),
            now=START,
        )
    counts = []
    for email in (cast.owner.email, "nobody@example.com", cast.colleague.email, "no address"):
        with statements_sent() as sent:
            request(database, links, email)
            seen = [each for each in sent.taken() if "SAVEPOINT" not in each]
            counts.append(len([each for each in seen if each.startswith("INSERT")]))
    assert set(counts) == {counts[0]}
    with database.read() as db:
        assert [each.to_email for each in db.exec(select(Mail))] == [cast.owner.email]
        assert len(db.exec(select(PasswordReset)).all()) == 1


def test_asking_is_throttled_alike_for_known_and_unknown(
    database: Database, links: Links, cast: Cast
) -> None:
    refusals = []
    for email in (cast.owner.email, "nobody@example.com"):
        for number in range(3):
            request(database, links, email, ip=f"203.0.113.{number}")
        with pytest.raises(TooManyTries) as refusal:
            request(database, links, email, ip="203.0.113.9")
        refusals.append((refusal.value.message, refusal.value.hint))
    assert len(set(refusals)) == 1
    for number in range(10):
        request(database, links, f"person{number}@example.com", ip="192.0.2.1")
    with pytest.raises(TooManyTries, match="from your network"):
        request(database, links, "another@example.com", ip="192.0.2.1")


def test_a_link_ends_with_a_change_of_the_password(
    database: Database, runtime: Runtime, links: Links, cast: Cast
) -> None:
    request(database, links, cast.owner.email)
    (url,) = mailed_links(database, runtime)
    actions.reset_password(
        database,
        actor=Actor(),
        email=cast.owner.email,
        password=NEW,
        hasher=HASHER,
        now=LATER + timedelta(seconds=1),
    )
    with pytest.raises(ResetLinkOver):
        use(database, url, now=LATER + timedelta(seconds=2))


def test_a_colleague_makes_a_link_for_a_day(database: Database, links: Links, cast: Cast) -> None:
    link = issue(database, links, cast, cast.owner.user_id, cast.colleague.user_id)
    newer = issue(database, links, cast, cast.owner.user_id, cast.colleague.user_id)
    with pytest.raises(ResetLinkOver):
        use(database, link.url)
    with pytest.raises(ResetLinkOver):
        use(database, newer.url, now=LATER + ISSUED_RESET_LIFE)
    # Strangers may ask for links as well: that ends none.
    request(database, links, cast.colleague.email)
    use(database, newer.url, now=LATER + ISSUED_RESET_LIFE - timedelta(seconds=1))


def test_who_may_make_a_link_for_whom(database: Database, links: Links, cast: Cast) -> None:
    admin, peer = (add(database, cast, name, Role.ADMIN) for name in ("admin", "peer"))
    for actor, person in ((admin, cast.owner.user_id), (cast.colleague.user_id, admin)):
        with pytest.raises(RoleTooLow):
            issue(database, links, cast, actor, person)
    with pytest.raises(InvalidRequest, match="your own account"):
        issue(database, links, cast, admin, admin)
    with pytest.raises(MemberNotFound):
        issue(database, links, cast, cast.owner.user_id, cast.stranger.user_id)
    assert issue(database, links, cast, admin, peer)
    # Whoever sets a password opens all that the account opens.
    join_elsewhere(database, cast, peer, Role.OWNER)
    with pytest.raises(members.BelongsElsewhere):
        issue(database, links, cast, admin, peer)
    join_elsewhere(database, cast, admin, Role.ADMIN)
    with pytest.raises(members.BelongsElsewhere):
        issue(database, links, cast, admin, peer)


def test_the_links_of_who_is_removed_end(database: Database, links: Links, cast: Cast) -> None:
    admin = add(database, cast, "admin", Role.ADMIN)
    link = issue(database, links, cast, admin, cast.colleague.user_id)
    remove(database, cast, cast.owner.user_id, admin)
    with pytest.raises(ResetLinkOver):
        use(database, link.url)


def test_a_link_ends_when_its_maker_may_no_more_act_on_the_person(
    database: Database, links: Links, cast: Cast
) -> None:
    admin, risen, elsewhere = (add(database, cast, name, Role.ADMIN) for name in ("admin", "risen", "gone"))
    kept = [issue(database, links, cast, admin, each) for each in (risen, elsewhere)]
    change(database, cast, cast.owner.user_id, risen, Role.OWNER)
    join_elsewhere(database, cast, elsewhere)
    for link in kept:
        with pytest.raises(ResetLinkOver):
            use(database, link.url)
    change(database, cast, cast.owner.user_id, risen, Role.ADMIN)
    use(database, kept[0].url)


def test_of_several_uses_at_once_one_sets_the_password(database: Database, links: Links, cast: Cast) -> None:
    link = issue(database, links, cast, cast.owner.user_id, cast.colleague.user_id)
    all_there, outcomes = threading.Barrier(4), []

    def try_it(number: int) -> None:
        all_there.wait(10)
        try:
            use(database, link.url, password=f"{NEW} {number}")
            outcomes.append("set")
        except LicenzyError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=30)
    assert sorted(outcomes) == ["ResetLinkOver"] * 3 + ["set"]
