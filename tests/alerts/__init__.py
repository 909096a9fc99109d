"""Mail about what blocks live mode."""
