"""Storage: engines for SQLite and Postgres, the unit of work, column types, migrations."""
