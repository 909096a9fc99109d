"""The two calls that merchants make on every request of their own: checking access, and consuming units."""
