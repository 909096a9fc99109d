"""Reads about a person's second factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from licenzy.workspace.sign_in_models import Passkey, RecoveryCode, TotpFactor


@dataclass(frozen=True, slots=True)
class SecondFactors:
    """What a person can give beside the password."""

    app_since: datetime | None
    """Since when they have an authenticator app."""
    passkeys: Sequence[Passkey]
    codes_left: int
    """Their recovery codes that were not used."""

    @property
    def has_any(self) -> bool:
        """Whether a password alone does not sign them in."""
        return self.app_since is not None or bool(self.passkeys)


def second_factors(db: Session, *, user_id: str) -> SecondFactors:
    """The confirmed factors of a person."""
    app = db.get(TotpFactor, user_id, populate_existing=True)
    passkeys = db.exec(select(Passkey).where(Passkey.user_id == user_id).order_by(col(Passkey.id))).all()
    left = select(func.count()).where(
        col(RecoveryCode.user_id) == user_id, col(RecoveryCode.used_at).is_(None)
    )
    return SecondFactors(app.confirmed_at if app else None, passkeys, db.exec(left).one())
