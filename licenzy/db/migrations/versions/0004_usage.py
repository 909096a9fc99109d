"""usage ledger and reservations"""

import sqlalchemy as sa
from alembic import op

revision = '0004_usage'
down_revision = '0003_account_paces'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('usage_reservations',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('subject_id', sa.String(), nullable=False),
    sa.Column('units', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('closed_at', sa.BigInteger(), nullable=True),
    sa.Column('closed_as', sa.String(32), nullable=True),
    sa.Column('committed_units', sa.BigInteger(), nullable=True),
    sa.Column('answer', sa.String(), nullable=True),
    sa.CheckConstraint('units > 0', name=op.f('ck_usage_reservations_units_positive')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_usage_reservations'))
    )
    with op.batch_alter_table('usage_reservations', schema=None) as batch_op:
        batch_op.create_index('ix_usage_reservations_open_of_subject', ['project_id', 'mode', 'subject_id'], unique=False, sqlite_where=sa.text('closed_at IS NULL'), postgresql_where=sa.text('closed_at IS NULL'))
        batch_op.create_index('ix_usage_reservations_open_until', ['expires_at'], unique=False, sqlite_where=sa.text('closed_at IS NULL'), postgresql_where=sa.text('closed_at IS NULL'))

    op.create_table('usage_holds',
    sa.Column('reservation_id', sa.String(), nullable=False),
    sa.Column('entitlement_id', sa.String(), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('units', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('units > 0', name=op.f('ck_usage_holds_units_positive')),
    sa.ForeignKeyConstraint(['entitlement_id'], ['entitlements.id'], name=op.f('fk_usage_holds_entitlement_id_entitlements')),
    sa.ForeignKeyConstraint(['reservation_id'], ['usage_reservations.id'], name=op.f('fk_usage_holds_reservation_id_usage_reservations')),
    sa.PrimaryKeyConstraint('reservation_id', 'entitlement_id', name=op.f('pk_usage_holds'))
    )
    op.create_table('usage_ledger',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('subject_id', sa.String(), nullable=False),
    sa.Column('request_id', sa.String(), nullable=False),
    sa.Column('entitlement_id', sa.String(), nullable=False),
    sa.Column('units', sa.BigInteger(), nullable=False),
    sa.Column('reservation_id', sa.String(), nullable=True),
    sa.Column('used_at', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('units > 0', name=op.f('ck_usage_ledger_units_positive')),
    sa.ForeignKeyConstraint(['entitlement_id'], ['entitlements.id'], name=op.f('fk_usage_ledger_entitlement_id_entitlements')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'subject_id', 'request_id', 'entitlement_id', name=op.f('pk_usage_ledger')),
    sqlite_with_rowid=False
    )
    with op.batch_alter_table('idempotency_keys', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_idempotency_keys_created_at'))
        batch_op.create_index('ix_idempotency_keys_forgotten_by_age', ['created_at'], unique=False, sqlite_where=sa.text("endpoint = 'checkout/session'"), postgresql_where=sa.text("endpoint = 'checkout/session'"))

