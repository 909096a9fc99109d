"""The fixtures themselves."""

from __future__ import annotations

import socket

import pytest
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.projects.models import Project
from tests.support.cast import Cast
from tests.support.network import NetworkRefused


def test_the_cast_has_two_projects_that_only_their_people_share(database: Database, cast: Cast) -> None:
    with database.read() as db:
        assert len(db.exec(select(Project)).all()) == 2
    assert cast.owner.project_id == cast.colleague.project_id != cast.stranger.project_id


def test_each_test_has_an_empty_database(database: Database) -> None:
    with database.read() as db:
        assert db.exec(select(Project)).all() == []


def test_the_app_answers(client: FlaskClient) -> None:
    assert client.get("/nowhere-at-all").status_code in {404, 303, 302}


def test_other_machines_cannot_be_reached() -> None:
    with socket.socket() as speaker, pytest.raises(NetworkRefused):
        speaker.connect(("192.0.2.1", 80))
