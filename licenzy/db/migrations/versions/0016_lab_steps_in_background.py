"""lab steps that run in the background"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0016_lab_steps_in_background'
down_revision = '0015_names_of_the_field'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('lab_steps', schema=None) as batch_op:
        batch_op.add_column(sa.Column('progress', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('finished_at', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('problem', sa.String(), nullable=True))
        batch_op.create_index(batch_op.f('ix_lab_steps_progress'), ['progress'], unique=False)
    compatible_since('0015')
