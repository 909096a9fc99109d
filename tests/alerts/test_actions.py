"""What blocks live mode is mailed once, to who wants it, and once more when it is gone."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from sqlmodel import col, select, update

from licenzy.alerts.actions import EVERY, AlertWatch, check_next
from licenzy.alerts.models import Alert
from licenzy.alignment.modes import Mode
from licenzy.archiving.actions import archive_project
from licenzy.connections.models import Connection
from licenzy.errors import NotFound
from licenzy.mail.actions import bound_to
from licenzy.mail.models import Mail
from licenzy.runtime import Runtime
from licenzy.workspace.alerts import choose_alerts
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry, Membership, User
from tests.support.cast import WEBHOOK_SECRET, Cast, Person, make_connection, make_key, make_product
from tests.support.clock import StandingClock
from tests.support.threads import join
from tests.support.visits import submit, visiting
from tests.support.worker import work_once


def watch(runtime: Runtime) -> AlertWatch:
    return AlertWatch(runtime.database, runtime.secret_box, runtime.settings.base_url, runtime.clock)


def want(runtime: Runtime, *people: Person, wanted: bool = True) -> None:
    with runtime.database.write() as db:
        for each in people:
            choose_alerts(
                db,
                actor=Actor(each.user_id),
                workspace_id=each.workspace_id,
                wanted=wanted,
                now=runtime.clock(),
            )


def check(runtime: Runtime) -> list[tuple[str, str, str]]:
    """Check what is due; the mail that this queued, by address, subject and text."""
    with runtime.database.read() as db:
        before = set(db.exec(select(Mail.id)).all())
    while check_next(watch(runtime)):
        pass
    with runtime.database.read() as db:
        mails = db.exec(select(Mail).order_by(col(Mail.id))).all()
    return [
        (
            each.to_email,
            each.subject,
            runtime.secret_box.decrypt(each.body or "", bound_to=bound_to(each.id)),
        )
        for each in mails
        if each.id not in before
    ]


@pytest.fixture
def live(runtime: Runtime, cast: Cast) -> Connection:
    """A live side whose webhook secret is missing."""
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id, mode=Mode.LIVE)
        make_key(db, project_id=cast.project_id, mode=Mode.LIVE)
        return make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            mode=Mode.LIVE,
            webhook_secret=None,
        )


def test_a_finding_is_mailed_once_and_when_it_is_gone(
    runtime: Runtime, cast: Cast, live: Connection, clock: StandingClock
) -> None:
    want(runtime, cast.owner, cast.colleague, cast.stranger)
    found = check(runtime)
    assert {address for address, _subject, _text in found} == {cast.owner.email, cast.colleague.email}
    assert len(found) == 2
    _address, subject, text = found[0]
    assert subject.endswith("in live mode of Our project")
    assert "Webhook secret missing" in text
    assert f"{runtime.settings.base_url}/projects/{cast.project_id}/live/connection" in text
    assert "/account/notifications" in text
    clock.now += EVERY
    assert check(runtime) == []
    with runtime.database.write() as db:
        connection = db.get_one(Connection, live.id)
        connection.webhook_secret_sealed = runtime.secret_box.encrypt(
            WEBHOOK_SECRET, bound_to=f"connection:{live.id}:webhook_secret"
        )
        connection.webhook_secret_saved_at = connection.proven_at = clock.now
    clock.now += EVERY
    gone = [mail for mail in check(runtime) if "no longer blocks" in mail[2]]
    assert [(address, subject) for address, subject, _text in gone] == [
        (address, "Fixed: Webhook secret missing in live mode of Our project")
        for address in sorted((cast.owner.email, cast.colleague.email))
    ]
    assert "- Webhook secret missing" in gone[0][2]
    clock.now += EVERY
    assert check(runtime) == []


def test_what_comes_back_is_mailed_again(
    runtime: Runtime, cast: Cast, live: Connection, clock: StandingClock
) -> None:
    want(runtime, cast.owner)
    assert len(check(runtime)) == 1
    with runtime.database.write() as db:
        db.execute(update(Alert).values(cleared_at=clock.now))
    clock.now += EVERY
    assert len(check(runtime)) == 1
    clock.now += EVERY
    assert check(runtime) == []


def test_a_side_is_checked_once_in_five_minutes(
    runtime: Runtime, cast: Cast, live: Connection, clock: StandingClock
) -> None:
    assert not check_next(watch(runtime))  # Nobody wants to be mailed.
    want(runtime, cast.owner)
    assert check_next(watch(runtime))
    clock.now += EVERY / 2
    assert not check_next(watch(runtime))
    clock.now += EVERY / 2
    assert check_next(watch(runtime))
    clock.now += EVERY
    want(runtime, cast.owner, wanted=False)
    assert not check_next(watch(runtime))


def test_two_workers_mail_once(runtime: Runtime, cast: Cast, live: Connection) -> None:
    want(runtime, cast.owner)
    together = threading.Barrier(2)

    def work() -> None:
        together.wait(10)
        check_next(watch(runtime))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=20)
    with runtime.database.read() as db:
        assert len(db.exec(select(Mail)).all()) == 1


def test_archived_projects_and_disabled_people_are_left_alone(
    runtime: Runtime, cast: Cast, live: Connection, clock: StandingClock
) -> None:
    want(runtime, cast.owner, cast.colleague)
    with runtime.database.write() as db:
        db.get_one(User, cast.colleague.user_id).disabled_at = clock.now
    assert [address for address, _subject, _text in check(runtime)] == [cast.owner.email]
    with runtime.database.write() as db:
        archive_project(db, actor=Actor(), project_id=cast.project_id, now=clock.now)
    clock.now += EVERY
    assert not check_next(watch(runtime))


def test_the_worker_checks(runtime: Runtime, cast: Cast, live: Connection) -> None:
    want(runtime, cast.owner)
    work_once(runtime)
    with runtime.database.read() as db:
        assert len(db.exec(select(Mail)).all()) == 1


def test_a_person_chooses_on_their_page(app: Flask, runtime: Runtime, cast: Cast) -> None:
    client = visiting(app, cast.colleague.email)
    page = "/account/notifications"
    assert "This installation sends no mail" in client.get(page).text
    assert submit(client, page, {"wanted": "y"}).status_code == 303
    assert "You are mailed about its projects since" in client.get(page).text
    key = (cast.colleague.workspace_id, cast.colleague.user_id)
    with runtime.database.read() as db:
        assert db.get_one(Membership, key).alerts_since is not None
        [row] = db.exec(select(AuditEntry).where(AuditEntry.action == "member.alerts_changed")).all()
    assert (row.before, row.after) == ({"mailed": False}, {"mailed": True})
    assert submit(client, page, {"wanted": ""}).status_code == 303
    with runtime.database.read() as db:
        assert db.get_one(Membership, key).alerts_since is None


def test_nobody_chooses_for_a_workspace_of_others(runtime: Runtime, cast: Cast) -> None:
    with pytest.raises(NotFound), runtime.database.write() as db:
        choose_alerts(
            db,
            actor=Actor(cast.stranger.user_id),
            workspace_id=cast.owner.workspace_id,
            wanted=True,
            now=runtime.clock(),
        )
