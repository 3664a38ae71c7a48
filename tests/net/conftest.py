"""Networks of namespaces, for whoever may make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from namespaces import Lab, missing
from scattered import Federation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    why_not = missing() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.net)
        if why_not:
            item.add_marker(pytest.mark.skip(reason=why_not))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    with Lab() as lab:
        yield Federation(lab, tmp_path)
        await lab.end()
