"""API keys of the runtime API: made, shown once, stored as hashes, revoked."""
