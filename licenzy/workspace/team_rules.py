"""Pure decisions about a team: who may give which role, and who may act on whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from licenzy.workspace.models import Role

INVITATION_LIFE = timedelta(days=7)
OWN_RESET_LIFE = timedelta(hours=1)
"""How long a link works that somebody asked for by themselves."""
ISSUED_RESET_LIFE = timedelta(hours=24)
"""How long a link works that a colleague made, who has to pass it on."""


def roles_to_give(own: Role) -> list[Role]:
    """The roles that somebody with this role may give and take: up to their own, from admin on."""
    return [role for role in Role if own.at_least(Role.ADMIN) and own.at_least(role)]


def may_act_on(own: Role, their: Role) -> bool:
    """Whether somebody with the role `own` may change what a person with the role `their` is."""
    return their in roles_to_give(own)


def is_lowered(before: Role, after: Role) -> bool:
    """Whether a role was exchanged for one that may do less."""
    return not after.at_least(before)


def is_link_open(*, expires_at: datetime, ended: Sequence[datetime | None], now: datetime) -> bool:
    """Whether a link works: it was neither used nor revoked, and is not too old."""
    return now < expires_at and all(at is None for at in ended)
