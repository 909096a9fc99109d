"""Who belongs to a workspace, and what each of them may do."""
