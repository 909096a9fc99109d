"""The list of projects, and new ones."""
