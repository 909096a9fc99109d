"""The lifecycle lab."""
