"""events are fetched by polling where Stripe cannot deliver them"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0026_event_polls'
down_revision = '0025_terms_for_holders'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('event_polls',
    sa.Column('connection_id', sa.String(), nullable=False),
    sa.Column('next_at', sa.BigInteger(), nullable=True),
    sa.Column('quick_until', sa.BigInteger(), nullable=True),
    sa.Column('leased_until', sa.BigInteger(), nullable=True),
    sa.Column('seen_to', sa.BigInteger(), nullable=True),
    sa.Column('polled_at', sa.BigInteger(), nullable=True),
    sa.Column('failures', sa.Integer(), nullable=False),
    sa.Column('problem', sa.String(), nullable=True),
    sa.Column('permission', sa.String(), nullable=True),
    sa.ForeignKeyConstraint(['connection_id'], ['connections.id'], name=op.f('fk_event_polls_connection_id_connections')),
    sa.PrimaryKeyConstraint('connection_id', name=op.f('pk_event_polls'))
    )
    op.create_index('ix_event_polls_next_at', 'event_polls', ['next_at'], unique=False)
    op.add_column('stripe_events', sa.Column('fetched', sa.Boolean(), server_default=sa.false(), nullable=False))
    # Keys that are saved already are polled with from now on; only where the address is a loopback address.
    op.execute(
        "INSERT INTO event_polls (connection_id, next_at, failures) SELECT id, 0, 0 FROM connections "
        "WHERE mode = 'test' AND provider = 'stripe' AND key_sealed IS NOT NULL"
    )
    # Older code leaves the new column to its default, and the new table alone.
    compatible_since('0025')
