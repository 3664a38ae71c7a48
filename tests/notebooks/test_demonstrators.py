"""The demonstrators run from the first cell to the last, as small as they get, and at the size that they begin with."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


@pytest.fixture
def surroundings(tmp_path, monkeypatch, size):
    """What a kernel started from here finds: a home of its own; FLAAS_DATA stays as the caller set it."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.setenv("FLAAS_NOTEBOOK_SIZE", size)
    monkeypatch.setenv("KERAS_BACKEND", "jax")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("name", ["02-poisoning-and-defences", "03-quadratic-voting"])
def test_a_demonstrator_runs_and_shows_its_figures(name, size, surroundings):
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are committed without outputs"
    done = NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}
    ).execute()
    shown = [kind for cell in done.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert shown.count("image/png") >= 3
    assert shown.count("text/html") >= 2  # tables
