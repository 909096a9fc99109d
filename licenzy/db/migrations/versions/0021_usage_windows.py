"""windows of included units, and which of them the ledger and holds name"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0021_usage_windows'
down_revision = '0020_included_units'
branch_labels = None
depends_on = None

_OPEN = sa.text('spent_at_end IS NULL')


def upgrade() -> None:
    op.add_column('entitlements', sa.Column('included', sa.JSON(), nullable=True))
    op.add_column('entitlements', sa.Column('windows_due_at', sa.BigInteger(), nullable=True))
    for table in ('usage_ledger', 'usage_holds'):
        op.add_column(table, sa.Column('window_starts_at', sa.BigInteger(), nullable=True))
    op.add_column('usage_ledger', sa.Column('unit', sa.String(length=32), nullable=True))
    op.create_table(
        'usage_windows',
        sa.Column('project_id', sa.String(), nullable=False),
        sa.Column('mode', sa.String(length=32), nullable=False),
        sa.Column('entitlement_id', sa.String(), nullable=False),
        sa.Column('unit', sa.String(length=32), nullable=False),
        sa.Column('starts_at', sa.BigInteger(), nullable=False),
        sa.Column('ends_at', sa.BigInteger(), nullable=False),
        sa.Column('subject_id', sa.String(), nullable=False),
        sa.Column('holder_id', sa.String(), nullable=False),
        sa.Column('granted_units', sa.BigInteger(), nullable=False),
        sa.Column('carried_units', sa.BigInteger(), nullable=False),
        sa.Column('used_units', sa.BigInteger(), nullable=False),
        sa.Column('reserved_units', sa.BigInteger(), nullable=False),
        sa.Column('overdrawn_units', sa.BigInteger(), nullable=False),
        sa.Column('opened_at', sa.BigInteger(), nullable=False),
        sa.Column('spent_at_end', sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            'granted_units + carried_units >= used_units + reserved_units + overdrawn_units',
            name=op.f('ck_usage_windows_remaining_not_negative'),
        ),
        sa.CheckConstraint(
            'used_units >= 0 AND reserved_units >= 0 AND carried_units >= 0 AND overdrawn_units >= 0',
            name=op.f('ck_usage_windows_counters_not_negative'),
        ),
        sa.ForeignKeyConstraint(
            ['project_id'], ['projects.id'], name=op.f('fk_usage_windows_project_id_projects')
        ),
        sa.ForeignKeyConstraint(
            ['project_id', 'mode', 'entitlement_id'],
            ['entitlements.project_id', 'entitlements.mode', 'entitlements.id'],
            name=op.f('fk_usage_windows_project_id_entitlements'),
        ),
        sa.PrimaryKeyConstraint(
            'project_id', 'mode', 'entitlement_id', 'unit', 'starts_at', name=op.f('pk_usage_windows')
        ),
    )
    for name, columns in (
        ('ix_usage_windows_open', ['project_id', 'mode', 'holder_id']),
        ('ix_usage_windows_open_of_subject', ['subject_id']),
    ):
        op.create_index(name, 'usage_windows', columns, sqlite_where=_OPEN, postgresql_where=_OPEN)
    # Older code would not see what a window holds, and projects entitlements without their windows.
    compatible_since(revision)
