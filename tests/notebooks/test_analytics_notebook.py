"""The notebook on federated analytics, from the first cell to the last, over node processes of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from flaas_jupyter.demo import hospitals

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04-federated-analytics.ipynb"
HEARTS = Path(os.environ.get("FLAAS_DATA", "data")) / "heart-disease"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", ["scikit-learn", "heart disease"])
def test_the_analytics_notebook_asks_four_hospitals(tmp_path, monkeypatch, source):
    if source == "heart disease" and not HEARTS.is_dir():
        pytest.skip(f"there is no {HEARTS}; set FLAAS_DATA")
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.setenv("FLAAS_DATA", str(tmp_path / "none" if source == "scikit-learn" else HEARTS.parent.resolve()))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are committed without outputs"
    done = NotebookClient(book, timeout=300, kernel_name="python3").execute()
    shown = json.dumps([cell.get("outputs", []) for cell in done.cells], ensure_ascii=False)
    pooled = pd.concat(hospitals.load().values())
    assert f"{pooled.pressure.mean():.9f}"[:10] in shown
    assert shown.count("image/png") == 1
    for words in ("withheld (fewer than 10 rows", "refused. ", "differ by fewer than 10", "of 4 are spent", "answered"):
        assert words in shown, words


def test_the_hospitals_have_complete_rows_of_the_same_columns(tmp_path):
    tables = hospitals.load(tmp_path)
    assert list(tables) == ["north", "south", "east", "west"]
    assert sum(map(len, tables.values())) == 442
    for table in tables.values():
        assert list(table) == ["age", "sex", "pressure", "sick"]
        assert table.notna().all(axis=None)
        assert set(table.sex) == set(table.sick) == {0, 1}
    if HEARTS.is_dir():
        hearts = hospitals.load(HEARTS.parent)
        assert list(hearts) == ["cleveland", "hungarian", "switzerland", "va"]
        assert [list(table) for table in hearts.values()] == [list(table) for table in tables.values()]
