"""A server for these tests alone: the others do not need one."""

from postgres import database, new_database, postgres, postgres_server

__all__ = ["database", "new_database", "postgres", "postgres_server"]
