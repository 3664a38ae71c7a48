"""Alembic migrations; `Database.migrate` runs them when the API starts."""
