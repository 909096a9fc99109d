"""What verbs about a team refuse: a role too low, the last owner, an invitation that has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import flash

from licenzy.errors import LicenzyError, NotFound
from licenzy.portal.guards import WorkspaceMember, refuse_role
from licenzy.workspace.team_locks import RoleTooLow


@contextmanager
def refusing_roles(member: WorkspaceMember) -> Iterator[None]:
    """Within it a role that is too low, such as an admin's who acts on an owner, is answered and recorded
    as the guard does it."""
    try:
        yield
    except RoleTooLow as low:
        refuse_role(member.user, f"{low.message} {low.hint}", needed=low.needed, member=member)


@contextmanager
def flashed_team_refusals(member: WorkspaceMember) -> Iterator[None]:
    """The same, and what else is refused is flashed with what to do about it. What is not there is a 404."""
    try:
        with refusing_roles(member):
            yield
    except NotFound:
        raise
    except LicenzyError as error:
        flash(" ".join(part for part in (error.message, error.hint) if part), "error")
