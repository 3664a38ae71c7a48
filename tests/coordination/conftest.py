"""Every test here runs on SQLite and on a temporary PostgreSQL, there most of them in `make test-long` only."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgresql
import pytest

from flaas_jupyter.coordination.founding import PLATFORM

from .hosted_api import Api, Federation

ON_POSTGRESQL_TOO = {
    "test_control",
    "test_critical_actions",
    "test_database",
    "test_events",
    "test_idempotency",
    "test_isolation",
    "test_mesh",
    "test_presence",
    "test_queries",
    "test_row_level_security",
    "test_scheduling",
}
"""What is about transactions, locks, notifications and policies of the data base; the rest only asks it for rows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.stem not in ON_POSTGRESQL_TOO and "postgresql" in item.name:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="package", autouse=True)
def installation_key() -> Iterator[None]:
    """Give all API processes on copies of one data base the key that it was made with, wherever their home is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAAS_SECRETS_KEY", base64.urlsafe_b64encode(b"installation key of these tests.").decode())
        yield


@dataclass(frozen=True)
class Template:
    """A data base with a federation founded in it, to be copied, and the tokens that were made."""

    database: Any
    people: dict[tuple[str, str], str]

    @classmethod
    def of(cls, database: Any, url: str) -> Template:
        """Found a federation at `url`."""
        api = Api(url)
        try:
            federation = Federation(api, {(role, PLATFORM): token for role, token in api.first_tokens.items()})
            federation.found()
            return cls(database, federation.people)
        finally:
            api.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The template in SQLite."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    return Template.of(path, f"sqlite:///{path}")


@pytest.fixture(scope="session")
def postgresql_template(cluster: postgresql.Cluster) -> Template:
    """The template in PostgreSQL."""
    name = cluster.create()
    return Template.of(name, cluster.url(name))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which data base the test runs on."""
    return request.param


@pytest.fixture
def template(database_kind: str, request: pytest.FixtureRequest) -> Template:
    """The template in the test's data base."""
    return request.getfixturevalue(f"{database_kind}_template")


@pytest.fixture
def database_url(
    database_kind: str, template: Template, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A data base of the test's own with a federation in it."""
    if database_kind == "sqlite":
        path = tmp_path / "coordination.db"
        shutil.copyfile(template.database, path)
        yield f"sqlite:///{path}"
        return
    cluster = request.getfixturevalue("cluster")
    name = cluster.create(template.database)
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def fresh_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A data base with nothing in it at all."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
        return
    cluster = request.getfixturevalue("cluster")
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def start_api(database_url: str) -> Iterator[Callable[..., Api]]:
    """Start API processes on the data base, and stop them at the end of the test."""
    started: list[Api] = []

    def start(**settings: Any) -> Api:
        api = Api(database_url, **settings)
        started.append(api)
        return api

    yield start
    for api in started:
        api.stop()


@pytest.fixture
def api(start_api: Callable[..., Api]) -> Api:
    """An API with short times."""
    return start_api()


@pytest.fixture
def enter(template: Template) -> Callable[[Api], Federation]:
    """Return the federation at an API that the test has started."""
    return lambda api: Federation(api, dict(template.people))


@pytest.fixture
def federation(api: Api, enter: Callable[[Api], Federation]) -> Federation:
    """Organisations and a project; nodes as the test needs them."""
    return enter(api)
