"""Mail: queued with what it is about, sent by the worker."""
