"""products have several prices, and numbered terms"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0017_product_prices'
down_revision = '0016_lab_steps_in_background'
branch_labels = None
depends_on = None

_MOVED = (
    'stripe_price_id',
    'stripe_product_id',
    'stripe_product_name',
    'unit_amount',
    'currency',
    'interval',
    'interval_count',
    'lookup_key',
    'price_livemode',
    'price_active',
    'product_active',
    'checked_at',
)
_TERMS = sa.table(
    'product_terms',
    sa.column('project_id', sa.String()),
    sa.column('product_id', sa.String()),
    sa.column('version', sa.Integer()),
    sa.column('from_', sa.BigInteger()),
    sa.column('terms', sa.JSON()),
)
_PRODUCTS = sa.table(
    'products',
    sa.column('id', sa.String()),
    sa.column('project_id', sa.String()),
    sa.column('units', sa.Integer()),
    sa.column('duration_seconds', sa.BigInteger()),
    sa.column('features', sa.JSON()),
    sa.column('grace_days', sa.Integer()),
    sa.column('created_at', sa.BigInteger()),
)


def upgrade() -> None:
    _create_tables()
    _move_prices()
    _number_terms()
    op.drop_index('ix_products_project_id_mode_stripe_price_id', table_name='products')
    for name in _MOVED:
        op.drop_column('products', name)
    op.add_column('products', sa.Column('terms_version', sa.Integer(), nullable=False, server_default='1'))
    op.add_column('checkout_attempts', sa.Column('price_label', sa.String(), nullable=True))
    op.add_column('entitlements', sa.Column('stripe_price_id', sa.String(), nullable=True))
    op.add_column('entitlements', sa.Column('terms_version', sa.Integer(), nullable=True))
    compatible_since(revision)


def _create_tables() -> None:
    op.create_table('product_prices',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('product_id', sa.String(), nullable=False),
    sa.Column('stripe_price_id', sa.String(), nullable=False),
    sa.Column('label', sa.String(length=32), nullable=False),
    sa.Column('added_at', sa.BigInteger(), nullable=False),
    sa.Column('retired_at', sa.BigInteger(), nullable=True),
    sa.Column('stripe_product_id', sa.String(), nullable=False),
    sa.Column('stripe_product_name', sa.String(), nullable=False),
    sa.Column('unit_amount', sa.BigInteger(), nullable=True),
    sa.Column('currency', sa.String(), nullable=False),
    sa.Column('interval', sa.String(), nullable=True),
    sa.Column('interval_count', sa.Integer(), nullable=True),
    sa.Column('lookup_key', sa.String(), nullable=True),
    sa.Column('livemode', sa.Boolean(), nullable=False),
    sa.Column('active', sa.Boolean(), nullable=False),
    sa.Column('product_active', sa.Boolean(), nullable=False),
    sa.Column('checked_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['product_id'], ['products.id'], name=op.f('fk_product_prices_product_id_products')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_product_prices_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'id', name=op.f('pk_product_prices')),
    sa.UniqueConstraint('project_id', 'product_id', 'stripe_price_id', name=op.f('uq_product_prices_project_id_product_id_stripe_price_id'))
    )
    op.create_index(
        'uq_product_prices_selling_label',
        'product_prices',
        ['project_id', 'product_id', 'label'],
        unique=True,
        sqlite_where=sa.text('retired_at IS NULL'),
        postgresql_where=sa.text('retired_at IS NULL'),
    )
    op.create_index('ix_product_prices_stripe_price_id', 'product_prices', ['project_id', 'mode', 'stripe_price_id'], unique=False)
    op.create_index('ix_product_prices_stripe_product_id', 'product_prices', ['project_id', 'mode', 'stripe_product_id'], unique=False)
    op.create_table('product_terms',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('product_id', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('from_', sa.BigInteger(), nullable=False),
    sa.Column('terms', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['product_id'], ['products.id'], name=op.f('fk_product_terms_product_id_products')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_product_terms_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'product_id', 'version', name=op.f('pk_product_terms'))
    )
    op.create_table('price_backfills',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('price_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('product_id', sa.String(), nullable=False),
    sa.Column('stripe_price_id', sa.String(), nullable=False),
    sa.Column('last_key', sa.String(), nullable=False),
    sa.Column('searched', sa.Integer(), nullable=False),
    sa.Column('total', sa.Integer(), nullable=True),
    sa.Column('found', sa.Integer(), nullable=False),
    sa.Column('requested_at', sa.BigInteger(), nullable=False),
    sa.Column('finished_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['product_id'], ['products.id'], name=op.f('fk_price_backfills_product_id_products')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_price_backfills_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'price_id', name=op.f('pk_price_backfills'))
    )
    op.create_index(op.f('ix_price_backfills_finished_at'), 'price_backfills', ['finished_at'], unique=False)
    op.create_table('unmapped_items',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('purchase_key', sa.String(), nullable=False),
    sa.Column('stripe_price_id', sa.String(), nullable=False),
    sa.Column('stripe_product_id', sa.String(), nullable=True),
    sa.Column('seen_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_unmapped_items_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'purchase_key', 'stripe_price_id', name=op.f('pk_unmapped_items'))
    )


def _move_prices() -> None:
    """Each product's price becomes the one it is sold at, labelled `default`; prices of several stay."""
    op.execute(
        'INSERT INTO product_prices (project_id, id, mode, product_id, stripe_price_id, label, added_at, '
        'stripe_product_id, stripe_product_name, unit_amount, currency, interval, interval_count, lookup_key, '
        'livemode, active, product_active, checked_at) '
        "SELECT project_id, 'ppr_' || substr(id, 5), mode, id, stripe_price_id, 'default', created_at, "
        'stripe_product_id, stripe_product_name, unit_amount, currency, interval, interval_count, lookup_key, '
        'price_livemode, price_active, product_active, checked_at FROM products'
    )


def _number_terms() -> None:
    """The present terms are the first version, of which everything was sold so far as is known."""
    db = op.get_bind()
    terms = [
        {
            'project_id': row.project_id,
            'product_id': row.id,
            'version': 1,
            'from_': row.created_at,
            'terms': {
                'units': row.units,
                'duration_seconds': row.duration_seconds,
                'features': row.features,
                'grace_days': row.grace_days,
            },
        }
        for row in db.execute(sa.select(_PRODUCTS))
    ]
    if terms:
        db.execute(_TERMS.insert(), terms)
