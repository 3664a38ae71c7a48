"""The notebook on data and explanations, from the first cell to the last, over node processes of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06-data-and-explanations.ipynb"
DATA = Path(os.environ.get("FLAAS_DATA", "data"))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("source", "size"),
    [("scikit-learn", "tiny"), ("scikit-learn", "small"), ("heart disease and credit default", "small")],
)
def test_the_notebook_brings_tables_in_trains_and_explains(tmp_path, monkeypatch, source, size):
    if source != "scikit-learn" and not ((DATA / "heart-disease").is_dir() and (DATA / "credit-default").is_dir()):
        pytest.skip(f"there are no heart-disease and credit-default in {DATA}; set FLAAS_DATA")
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.setenv("FLAAS_NOTEBOOK_SIZE", size)
    monkeypatch.setenv("FLAAS_DATA", str(tmp_path / "none" if source == "scikit-learn" else DATA.resolve()))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are committed without outputs"
    done = NotebookClient(book, timeout=600, kernel_name="python3").execute()
    shown = json.dumps([cell.get("outputs", []) for cell in done.cells], ensure_ascii=False)
    assert shown.count("image/png") == 11
    for words in ("SHAP values of the margin", "opened to the owner of their node only", "answered", "4 nodes"):
        assert words in shown, words
