"""The lifecycle lab: what happens to a purchase at the sandbox, and what becomes of access."""
