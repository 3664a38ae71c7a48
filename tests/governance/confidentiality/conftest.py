"""A vault's tables on SQLite and on a temporary PostgreSQL, and a KMS that is asked by a command."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from flaas_jupyter.governance.confidentiality import DataKey

Open = Callable[[], contextlib.AbstractContextManager[Session]]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A data base with the table of data keys."""
    if request.param == "sqlite":
        made = create_engine(f"sqlite:///{tmp_path / 'vault.db'}")
        drop: Callable[[], None] = lambda: None  # noqa: E731
    else:
        cluster = request.getfixturevalue("cluster")
        name = cluster.create()
        made = create_engine(cluster.url(name).replace("postgresql://", "postgresql+psycopg://"))
        drop = lambda: cluster.drop(name)  # noqa: E731
    DataKey.metadata.create_all(made, tables=[DataKey.__table__])
    yield made
    made.dispose()
    drop()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """One session; nothing is committed unless the test does."""
    with Session(engine) as opened:
        yield opened


class Kms:
    """A KMS of the test's own, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set(present="alpha", keys={"alpha": "11" * 32, "beta": "22" * 32})

    def set(self, **changes: object) -> None:
        """Change how it behaves."""
        path = self.folder / "kms.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **changes}))

    @property
    def words(self) -> list[str]:
        """Program and arguments."""
        return [sys.executable, str(Path(__file__).parent / "kms.py"), str(self.folder)]

    @property
    def command(self) -> str:
        """What `FLAAS_KMS_COMMAND` is set to."""
        return shlex.join(self.words)

    @property
    def asked(self) -> list[str]:
        """Operations so far."""
        log = self.folder / "asked"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def kms(tmp_path: Path) -> Kms:
    """A KMS with two keys."""
    folder = tmp_path / "kms"
    folder.mkdir()
    return Kms(folder)
