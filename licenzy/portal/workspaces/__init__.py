"""A workspace's settings, and new workspaces."""
