"""products include units"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0020_included_units'
down_revision = '0019_named_units'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('products', sa.Column('included', sa.JSON(), nullable=False, server_default='[]'))
    compatible_since('0019_named_units')
