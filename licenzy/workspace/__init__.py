"""Users, their sessions and their roles in the workspace, and the audit log."""
