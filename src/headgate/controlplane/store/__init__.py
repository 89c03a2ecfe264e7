"""The rows, their history and their feed, on SQLite or PostgreSQL. The only room that knows SQL."""
