"""The guide and the API reference."""
