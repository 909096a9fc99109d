"""The audit log of a workspace."""
