"""checkouts sell several products"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0024_checkout_items'
down_revision = '0023_trials'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('checkout_attempts', sa.Column('items_sold', sa.JSON(), nullable=True))
    # Older code would grant only the first of several products that a checkout sold.
    compatible_since(revision)
