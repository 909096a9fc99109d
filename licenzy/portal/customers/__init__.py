"""The merchant's customers, grants and operator actions."""
