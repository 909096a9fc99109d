"""tables and columns are named by the field's terms"""

from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0015_names_of_the_field'
down_revision = '0014_search_text'
branch_labels = None
depends_on = None

_COLUMNS = (
    ('stripe_probes', 'looked_at', 'probed_at'),
    ('resolved_findings', 'mended_at', 'resolved_at'),
    ('reconciliations', 'asked_at', 'requested_at'),
    ('reconciliations', 'asked_by', 'requested_by'),
    ('finished_walks', 'asked_by', 'requested_by'),
)


def upgrade() -> None:
    op.drop_index('ix_stripe_looks_due_at', table_name='stripe_looks')
    op.rename_table('stripe_looks', 'stripe_probes')
    op.rename_table('mended_findings', 'resolved_findings')
    op.create_index('ix_stripe_probes_due_at', 'stripe_probes', ['due_at'], unique=False)
    for table, before, after in _COLUMNS:
        op.execute(f'ALTER TABLE {table} RENAME COLUMN {before} TO {after}')

    compatible_since(revision)
