"""The lifecycle lab: what happens to a purchase in the sandbox, and its effect on access."""
