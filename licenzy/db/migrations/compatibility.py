"""What every migration says of older code, for processes that run while the next version migrates."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from licenzy.db.schema import number_of


def compatible_since(oldest: str) -> None:
    """State that code of revision `oldest`, and of later ones, works with what this migration leaves.

    Such code goes on serving and counts as ready; older code does not. Only what this migration changes
    matters: what an earlier one said stands when it asks for newer code.
    """
    number = number_of(oldest)
    if not number:
        raise ValueError(f"{oldest!r} does not begin with the number of a migration")
    op.get_bind().execute(
        text(
            "INSERT INTO schema_compatibility (id, min_reader) VALUES (1, :number) "
            "ON CONFLICT (id) DO UPDATE SET min_reader = excluded.min_reader "
            "WHERE schema_compatibility.min_reader < excluded.min_reader"
        ),
        {"number": number},
    )
