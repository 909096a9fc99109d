"""Mode alignment: which objects belong to test, which to live, and what does not fit. Pure."""
