"""people, their factors and what they are mailed"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0029_people'
down_revision = '0028_imports'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('mails',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('to_email', sa.String(), nullable=False),
    sa.Column('subject', sa.String(), nullable=False),
    sa.Column('body', sa.String(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('next_try_at', sa.BigInteger(), nullable=False),
    sa.Column('leased_until', sa.BigInteger(), nullable=True),
    sa.Column('sent_at', sa.BigInteger(), nullable=True),
    sa.Column('dead_at', sa.BigInteger(), nullable=True),
    sa.Column('problem', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mails'))
    )
    op.create_index('ix_mails_next_try_at', 'mails', ['next_try_at'], unique=False, sqlite_where=sa.text('sent_at IS NULL AND dead_at IS NULL'), postgresql_where=sa.text('sent_at IS NULL AND dead_at IS NULL'))
    op.create_table('invitations',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('workspace_id', sa.String(), nullable=False),
    sa.Column('email', sa.String(), nullable=False),
    sa.Column('role', sa.String(32), nullable=False),
    sa.Column('token_hash', sa.String(), nullable=False),
    sa.Column('invited_by', sa.String(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('accepted_at', sa.BigInteger(), nullable=True),
    sa.Column('accepted_by', sa.String(), nullable=True),
    sa.Column('revoked_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['accepted_by'], ['users.id'], name=op.f('fk_invitations_accepted_by_users')),
    sa.ForeignKeyConstraint(['invited_by'], ['users.id'], name=op.f('fk_invitations_invited_by_users')),
    sa.ForeignKeyConstraint(['workspace_id'], ['workspaces.id'], name=op.f('fk_invitations_workspace_id_workspaces')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitations')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_invitations_token_hash'))
    )
    op.create_index('ix_invitations_workspace_id', 'invitations', ['workspace_id'], unique=False)
    op.create_table('passkeys',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('credential_id', sa.String(), nullable=False),
    sa.Column('public_key', sa.String(), nullable=False),
    sa.Column('sign_count', sa.BigInteger(), nullable=False),
    sa.Column('transports', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('last_used_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_passkeys_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_passkeys')),
    sa.UniqueConstraint('credential_id', name=op.f('uq_passkeys_credential_id'))
    )
    op.create_index(op.f('ix_passkeys_user_id'), 'passkeys', ['user_id'], unique=False)
    op.create_table('password_resets',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('token_hash', sa.String(), nullable=False),
    sa.Column('issued_by', sa.String(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('used_at', sa.BigInteger(), nullable=True),
    sa.Column('revoked_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['issued_by'], ['users.id'], name=op.f('fk_password_resets_issued_by_users')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_password_resets_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_password_resets')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_password_resets_token_hash'))
    )
    op.create_index('ix_password_resets_user_id', 'password_resets', ['user_id'], unique=False)
    op.create_table('provider_identities',
    sa.Column('issuer', sa.String(), nullable=False),
    sa.Column('subject', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('last_used_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_provider_identities_user_id_users')),
    sa.PrimaryKeyConstraint('issuer', 'subject', name=op.f('pk_provider_identities'))
    )
    op.create_index('ix_provider_identities_user_id', 'provider_identities', ['user_id'], unique=False)
    op.create_table('recovery_codes',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('code_hash', sa.String(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('used_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_recovery_codes_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_recovery_codes'))
    )
    op.create_index(op.f('ix_recovery_codes_user_id'), 'recovery_codes', ['user_id'], unique=False)
    op.create_table('sign_in_challenges',
    sa.Column('token_hash', sa.String(), nullable=False),
    sa.Column('kind', sa.String(32), nullable=False),
    sa.Column('user_id', sa.String(), nullable=True),
    sa.Column('secrets', sa.String(), nullable=True),
    sa.Column('password_stamp', sa.String(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('used_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_sign_in_challenges_user_id_users')),
    sa.PrimaryKeyConstraint('token_hash', name=op.f('pk_sign_in_challenges'))
    )
    op.create_index(op.f('ix_sign_in_challenges_expires_at'), 'sign_in_challenges', ['expires_at'], unique=False)
    op.create_index(op.f('ix_sign_in_challenges_user_id'), 'sign_in_challenges', ['user_id'], unique=False)
    op.create_table('totp_factors',
    sa.Column('user_id', sa.String(), nullable=False),
    sa.Column('secret', sa.String(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('confirmed_at', sa.BigInteger(), nullable=True),
    sa.Column('last_step', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_totp_factors_user_id_users')),
    sa.PrimaryKeyConstraint('user_id', name=op.f('pk_totp_factors'))
    )
    op.create_table('alerts',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('code', sa.String(), nullable=False),
    sa.Column('about', sa.String(), nullable=False),
    sa.Column('first_at', sa.BigInteger(), nullable=False),
    sa.Column('mailed_at', sa.BigInteger(), nullable=True),
    sa.Column('cleared_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_alerts_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'code', 'about', name=op.f('pk_alerts'))
    )
    op.create_table('alert_checks',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('next_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_alert_checks_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', name=op.f('pk_alert_checks'))
    )
    op.create_table('api_key_refusals',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('key_id', sa.String(), nullable=False),
    sa.Column('request_id', sa.String(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('status', sa.Integer(), nullable=False),
    sa.Column('code', sa.String(), nullable=False),
    sa.Column('method', sa.String(), nullable=False),
    sa.Column('path', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_api_key_refusals_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'key_id', 'request_id', name=op.f('pk_api_key_refusals'))
    )
    op.create_table('erasures',
    sa.Column('project_id', sa.String(), nullable=False),
    sa.Column('mode', sa.String(32), nullable=False),
    sa.Column('subject_id', sa.String(), nullable=False),
    sa.Column('requested_by', sa.String(), nullable=True),
    sa.Column('requested_at', sa.BigInteger(), nullable=False),
    sa.Column('names_sealed', sa.String(), nullable=True),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('step', sa.String(), nullable=False),
    sa.Column('last_key', sa.String(), nullable=False),
    sa.Column('due_at', sa.BigInteger(), nullable=False),
    sa.Column('leased_until', sa.BigInteger(), nullable=True),
    sa.Column('finished_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['project_id', 'mode', 'subject_id'], ['subjects.project_id', 'subjects.mode', 'subjects.id'], name=op.f('fk_erasures_project_id_mode_subject_id_subjects')),
    sa.ForeignKeyConstraint(['project_id'], ['projects.id'], name=op.f('fk_erasures_project_id_projects')),
    sa.PrimaryKeyConstraint('project_id', 'mode', 'subject_id', name=op.f('pk_erasures'))
    )
    op.create_index('ix_erasures_due_at', 'erasures', ['due_at'], unique=False, sqlite_where=sa.text('finished_at IS NULL'), postgresql_where=sa.text('finished_at IS NULL'))
    op.add_column('api_keys', sa.Column('scopes', sa.String(), server_default='runtime', nullable=False))
    op.add_column('api_keys', sa.Column('replaced_by', sa.String(), nullable=True))
    op.add_column('memberships', sa.Column('alerts_since', sa.BigInteger(), nullable=True))
    op.add_column('projects', sa.Column('archived_at', sa.BigInteger(), nullable=True))
    op.add_column('projects', sa.Column('deleted_at', sa.BigInteger(), nullable=True))
    op.add_column('sign_in_sessions', sa.Column('second_factor_at', sa.BigInteger(), nullable=True))
    op.add_column('sign_in_sessions', sa.Column('method', sa.String(32), server_default='password', nullable=False))
    op.add_column('workspaces', sa.Column('time_zone', sa.String(64), server_default='UTC', nullable=False))
    op.add_column('workspaces', sa.Column('date_format', sa.String(32), server_default='day_first', nullable=False))
    op.add_column('workspaces', sa.Column('second_factor_required_at', sa.BigInteger(), nullable=True))
    op.execute('UPDATE audit_log SET workspace_id = '
    '(SELECT projects.workspace_id FROM projects WHERE projects.id = audit_log.project_id) '
    'WHERE workspace_id IS NULL AND project_id IS NOT NULL')
    here = sa.text('workspace_id IS NOT NULL')
    person = sa.text('workspace_id IS NULL AND project_id IS NULL')
    done_to_one = sa.text('workspace_id IS NULL AND project_id IS NULL AND actor_user_id IS NULL')
    older = sa.text('workspace_id IS NULL AND project_id IS NOT NULL')
    op.drop_index('ix_audit_log_workspace_id_at', table_name='audit_log')
    for name, columns, where in (
        ('ix_audit_log_workspace_id_at', ['workspace_id', 'at'], here),
        ('ix_audit_log_by_action', ['workspace_id', 'action', 'at'], here),
        ('ix_audit_log_by_actor', ['workspace_id', 'actor_user_id', 'at'], here),
        ('ix_audit_log_by_mode', ['workspace_id', 'mode', 'at'], here),
        ('ix_audit_log_of_people', ['actor_user_id', 'at'], person),
        ('ix_audit_log_of_people_by_action', ['actor_user_id', 'action', 'at'], person),
        ('ix_audit_log_about_people', ['about', 'at'], done_to_one),
        ('ix_audit_log_without_workspace', ['at'], older),
    ):
        op.create_index(name, 'audit_log', columns, unique=False, sqlite_where=where, postgresql_where=where)
    # Older code asks nobody for a second factor, and lets every API key make every call: both only while it
    # still runs beside the new one, which alone can choose either.
    compatible_since('0028_imports')
