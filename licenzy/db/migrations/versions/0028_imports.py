"""imports of the purchases that an account has already"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0028_imports'
down_revision = '0027_untracked_subscriptions'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('import_files',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('import_id', sa.String(), nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('content', sa.String(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_import_files_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'import_id', 'kind', name=op.f('pk_import_files'))
    )
    op.create_table('import_rows',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('import_id', sa.String(), nullable=False),
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('status', sa.String(), nullable=False),
    sa.Column('is_over', sa.Boolean(), nullable=False),
    sa.Column('made_at', sa.BigInteger(), nullable=False),
    sa.Column('stripe_customer_id', sa.String(), nullable=True),
    sa.Column('email', sa.String(), nullable=True),
    sa.Column('items', sa.JSON(), nullable=False),
    sa.Column('named', sa.JSON(), nullable=False),
    sa.Column('found', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('outcome', sa.String(length=32), nullable=False),
    sa.Column('reason', sa.String(), nullable=True),
    sa.Column('subject_ref', sa.String(), nullable=True),
    sa.Column('matched_by', sa.String(), nullable=True),
    sa.Column('candidates', sa.JSON(), nullable=False),
    sa.Column('used', sa.JSON(), nullable=False),
    sa.Column('chosen', sa.Boolean(), nullable=False),
    sa.Column('left_out', sa.Boolean(), nullable=False),
    sa.Column('is_newest', sa.Boolean(), nullable=False),
    sa.Column('applied_at', sa.BigInteger(), nullable=True),
    sa.Column('result', sa.String(), nullable=True),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_import_rows_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'import_id', 'key', name=op.f('pk_import_rows'))
    )
    op.create_index('ix_import_rows_number', 'import_rows', ['project_id', 'mode', 'import_id', 'number'], unique=False)
    op.create_index('ix_import_rows_outcome', 'import_rows', ['project_id', 'mode', 'import_id', 'outcome', 'number'], unique=False)
    op.create_index('ix_import_rows_to_write', 'import_rows', ['project_id', 'mode', 'import_id', 'outcome', 'number'], unique=False, sqlite_where=sa.text('applied_at IS NULL'), postgresql_where=sa.text('applied_at IS NULL'))
    op.create_table('imports',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('connection_id', sa.String(), nullable=False),
    sa.Column('account_id', sa.String(), nullable=True),
    sa.Column('step', sa.String(length=32), nullable=False),
    sa.Column('metadata_keys', sa.JSON(), nullable=False),
    sa.Column('with_ended', sa.Boolean(), nullable=False),
    sa.Column('payments_since', sa.BigInteger(), nullable=True),
    sa.Column('announced', sa.Boolean(), nullable=False),
    sa.Column('after', sa.String(), nullable=True),
    sa.Column('sessions_from', sa.BigInteger(), nullable=True),
    sa.Column('seen', sa.Integer(), nullable=False),
    sa.Column('rows', sa.Integer(), nullable=False),
    sa.Column('problem', sa.String(), nullable=True),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('next_try_at', sa.BigInteger(), nullable=True),
    sa.Column('leased_until', sa.BigInteger(), nullable=True),
    sa.Column('started_by', sa.String(), nullable=True),
    sa.Column('started_at', sa.BigInteger(), nullable=False),
    sa.Column('run_by', sa.String(), nullable=True),
    sa.Column('run_at', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['connection_id'], ['connections.id'], name=op.f('fk_imports_connection_id_connections')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_imports_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'id', name=op.f('pk_imports'))
    )
    op.create_index('uq_imports_open', 'imports', ['project_id', 'mode'], unique=True, sqlite_where=sa.text('ended_at IS NULL'), postgresql_where=sa.text('ended_at IS NULL'))
    op.create_table('other_customers',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('stripe_customer_id', sa.String(), nullable=False),
    sa.Column('subject_id', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['project_id', 'mode', 'subject_id'], ['subjects.project_id', 'subjects.mode', 'subjects.id'], name=op.f('fk_other_customers_project_id_subjects')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_other_customers_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'stripe_customer_id', 'subject_id', name=op.f('pk_other_customers'))
    )
    op.create_index('ix_other_customers_subject_id', 'other_customers', ['project_id', 'mode', 'subject_id'], unique=False)
    # Older code would not know the facts that an import records, and take access back with the next event.
    compatible_since(revision)
