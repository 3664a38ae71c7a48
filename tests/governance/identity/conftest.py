"""Every test here that has a data base runs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from .fixtures import *  # noqa: F403
