"""usage packs name their unit, and sides the one that calls draw"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0019_named_units'
down_revision = '0018_keys_led_by_project'
branch_labels = None
depends_on = None

_UNITS = ('products', 'entitlements', 'usage_reservations')


def upgrade() -> None:
    for table in _UNITS:
        op.add_column(table, sa.Column('unit', sa.String(length=32), nullable=False, server_default='units'))
    op.add_column(
        'project_sides', sa.Column('default_unit', sa.String(length=32), nullable=False, server_default='units')
    )
    op.add_column('project_sides', sa.Column('default_unit_used_at', sa.BigInteger(), nullable=True))
    # What was consumed or reserved so far was so without naming a unit.
    op.execute(
        'UPDATE project_sides SET default_unit_used_at = coalesce(('
        'SELECT min(l.used_at) FROM usage_ledger l '
        'WHERE l.project_id = project_sides.project_id AND l.mode = project_sides.mode'
        '), ('
        'SELECT min(r.created_at) FROM usage_reservations r '
        'WHERE r.project_id = project_sides.project_id AND r.mode = project_sides.mode))'
    )
    # Older code would draw any pack for a call, whatever its unit, and not note that a call named none.
    compatible_since(revision)
