"""Untracked checkouts."""
