"""Everything that must survive: rows, revisions, audit, tokens and data planes, on SQLite or PostgreSQL."""
