"""A catalog and its endpoints as a TOML file: read, compared, applied and exported."""
