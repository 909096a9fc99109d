"""Archiving projects, taking them back, deleting them, and removing the rows of deleted ones."""
