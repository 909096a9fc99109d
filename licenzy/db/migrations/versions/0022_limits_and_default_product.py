"""limits, products that nobody buys, and features and limits set for one subject"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0022_limits_and_default_product'
down_revision = '0021_usage_windows'
branch_labels = None
depends_on = None

_NO_LIMITS = sa.text("'{}'")
_IS_DEFAULT = sa.text('is_default AND archived_at IS NULL')


def upgrade() -> None:
    for table in ('products', 'entitlements'):
        op.add_column(table, sa.Column('limits', sa.JSON(), nullable=False, server_default=_NO_LIMITS))
        op.add_column(table, sa.Column('adds', sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ('is_default', 'grants_access'):
        op.add_column('products', sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        'uq_products_default',
        'products',
        ['project_id', 'mode'],
        unique=True,
        sqlite_where=_IS_DEFAULT,
        postgresql_where=_IS_DEFAULT,
    )
    # Older code knows no free products, and would take a limit that was set by hand for access.
    compatible_since(revision)
