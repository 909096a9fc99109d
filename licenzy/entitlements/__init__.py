"""Entitlements: facts in, a projection of them in rows, and one decision read from the rows."""
