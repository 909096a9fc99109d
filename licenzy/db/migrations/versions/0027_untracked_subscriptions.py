"""subscriptions that were sold elsewhere are kept"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0027_untracked_subscriptions'
down_revision = '0026_event_polls'
branch_labels = None
depends_on = None

_TABLE = 'untracked_checkouts'
_KEY = ('project_id', 'mode', 'purchase_key')
_WAITING = 'adopted_at IS NULL AND ended_at IS NULL AND listed'
_ROWS = sa.table(
    _TABLE, *(sa.column(name) for name in (*_KEY, 'id', 'adopted_at'))
)


def upgrade() -> None:
    _keep_one_of_each_purchase()
    op.drop_index('ix_untracked_checkouts_project_id_mode_purchase_key', table_name=_TABLE)
    with op.batch_alter_table(_TABLE) as batch:
        for name, kind in (('session_id', sa.String()), ('payment_status', sa.String()), ('event_id', sa.String())):
            batch.alter_column(name, existing_type=kind, nullable=True)
        batch.add_column(sa.Column('status', sa.String(), nullable=True))
        batch.add_column(sa.Column('items', sa.JSON(), nullable=True))
        batch.add_column(sa.Column('ended_at', sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column('state_at', sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column('sold_here', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column('listed', sa.Boolean(), nullable=False, server_default=sa.true()))
        batch.create_unique_constraint(op.f('uq_untracked_checkouts_project_id_mode_purchase_key'), _KEY)
    op.create_index(
        'ix_untracked_checkouts_waiting',
        _TABLE,
        ['project_id', 'mode', 'id'],
        unique=False,
        sqlite_where=sa.text(f'{_WAITING} = 1'),
        postgresql_where=sa.text(_WAITING),
    )
    op.add_column('projects', sa.Column('adopt_known_customers', sa.Boolean(), nullable=False, server_default=sa.false()))
    # Older code keeps no subscriptions, and keeps and adopts checkouts as before. Only its page of a
    # subscription that no checkout made cannot be shown.
    compatible_since('0025_terms_for_holders')


def _keep_one_of_each_purchase() -> None:
    """Of several sessions of one subscription the one that was adopted stays, else the first."""
    columns = [_ROWS.c[name] for name in _KEY]
    rank = (
        sa.func.row_number()
        .over(partition_by=columns, order_by=(_ROWS.c.adopted_at.is_(None), _ROWS.c.adopted_at, _ROWS.c.id))
        .label('rank')
    )
    ranked = sa.select(_ROWS.c.project_id, _ROWS.c.mode, _ROWS.c.id, rank).subquery()
    others = sa.select(ranked.c.project_id, ranked.c.mode, ranked.c.id).where(ranked.c.rank > 1)
    db = op.get_bind()
    for row in db.execute(others).all():
        here = (_ROWS.c.project_id == row.project_id, _ROWS.c.mode == row.mode, _ROWS.c.id == row.id)
        db.execute(sa.delete(_ROWS).where(*here))
