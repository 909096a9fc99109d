"""limits on wrong passwords, and refusals recorded once an hour"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0013_wrong_passwords'
down_revision = '0012_schema_compatibility'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('password_tries',
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('tries', sa.JSON(), nullable=False),
    sa.Column('forget_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_password_tries'))
    )
    op.create_index(op.f('ix_password_tries_forget_at'), 'password_tries', ['forget_at'], unique=False)
    op.create_table('audit_repeats',
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('until', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_audit_repeats'))
    )
    op.create_index(op.f('ix_audit_repeats_until'), 'audit_repeats', ['until'], unique=False)
    with op.batch_alter_table('sign_in_sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('unheeded_header', sa.String(), nullable=True))
    # What it counted ends within a day, and the new limits do not count it.
    op.drop_table('sign_in_tries')
    compatible_since(revision)
