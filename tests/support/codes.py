"""An authenticator app in a test, and what it takes to set one up."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyotp

from licenzy.db.unit_of_work import Database
from licenzy.kit.secret_box import SecretBox
from licenzy.workspace import queries, second_factor
from licenzy.workspace.audit import Actor
from licenzy.workspace.sessions import Device, open_session
from licenzy.workspace.sign_in_models import TotpFactor
from tests.support.clock import START


def code_at(secret: str, now: datetime, *, steps: int = 0) -> str:
    """What the app shows at this time, or so many times 30 seconds later."""
    return str(pyotp.TOTP(secret).at(now + timedelta(seconds=30 * steps)))


def app_of(
    database: Database, secret_box: SecretBox, user_id: str, *, now: datetime = START
) -> tuple[str, list[str]]:
    """Set an authenticator app up for a person, whose code of now was not used; its secret and the codes."""
    actor = Actor(user_id)
    with database.write() as db:
        opened = open_session(db, user_id=user_id, device=Device(), now=now)
        session = queries.signed_in_by_token(db, token=opened.token, now=now)
        assert session is not None
        second_factor.begin_app(db, secret_box, actor=actor, now=now)
        secret = second_factor.app_being_set_up(db, secret_box, user_id=user_id)
        codes = second_factor.confirm_app(
            db,
            secret_box,
            actor=actor,
            session_id=session.session_id,
            code=code_at(secret, now),
            now=now,
        )
        # As if the code that confirmed it were long past, so that a test may use the one of now.
        db.get_one(TotpFactor, user_id).last_step = 0
    return secret, codes
