"""Searching one project and mode, from any of its pages."""
