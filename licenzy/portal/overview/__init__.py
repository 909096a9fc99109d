"""The start page of a project and mode."""
