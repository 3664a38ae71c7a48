"""The notebook on vertical learning, over node processes that it starts by itself."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_vertical_notebook_trains_over_real_nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.setenv("FLAAS_NOTEBOOK_SIZE", "small")
    monkeypatch.setenv("FLAAS_DATA", str(tmp_path / "none"))  # with the data that scikit-learn carries
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.delenv("FLAAS_URL", raising=False)
    book = nbformat.read(NOTEBOOKS / "05-vertical-learning.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are committed without outputs"
    done = NotebookClient(book, timeout=300, kernel_name="python3").execute()
    shown = json.dumps([cell.get("outputs", []) for cell in done.cells], ensure_ascii=False)
    assert "vertical, one way" in shown
    assert "scores stay at clinic" in shown
    assert "has not agreed to it" in shown
    assert "What the others can tell of the labels: AUC" in shown
