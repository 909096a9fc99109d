"""terms can be given to those who have a product already"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0025_terms_for_holders'
down_revision = '0024_checkout_items'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('term_changes',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('product_id', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('run', sa.Integer(), nullable=False),
    sa.Column('requested_by', sa.String(), nullable=True),
    sa.Column('requested_at', sa.BigInteger(), nullable=False),
    sa.Column('last_id', sa.String(), nullable=False),
    sa.Column('total', sa.Integer(), nullable=True),
    sa.Column('checked', sa.Integer(), nullable=False),
    sa.Column('changed', sa.Integer(), nullable=False),
    sa.Column('failed', sa.Integer(), nullable=False),
    sa.Column('stopped_at', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['project_id', 'product_id'], ['products.project_id', 'products.id'], name=op.f('fk_term_changes_project_id_products')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_term_changes_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'id', name=op.f('pk_term_changes'))
    )
    op.create_index(op.f('ix_term_changes_ended_at'), 'term_changes', ['ended_at'], unique=False)
    op.create_index('ix_term_changes_product_id', 'term_changes', ['project_id', 'mode', 'product_id'], unique=False)
    op.create_index(
        'uq_term_changes_running',
        'term_changes',
        ['project_id', 'product_id'],
        unique=True,
        sqlite_where=sa.text('ended_at IS NULL'),
        postgresql_where=sa.text('ended_at IS NULL'),
    )
    op.create_index(
        'ix_entitlements_product_code', 'entitlements', ['project_id', 'mode', 'product_code', 'id'], unique=False
    )
    # Older code does not know the facts that give a purchase other terms, and would take them back with the
    # next event of the purchase.
    compatible_since(revision)
