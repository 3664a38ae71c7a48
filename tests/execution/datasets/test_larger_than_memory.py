"""Data sets that do not fit in memory: the same arrays and columns, read from disk, kept once for each version."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.errors import Conflict, InvalidInput
from flaas_jupyter.execution.datasets import DatasetRegistry, store
from flaas_jupyter.execution.datasets.columns_on_disk import ColumnsOnDisk
from flaas_jupyter.training.arrays import Arrays

ROWS = 3000


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def small(home):
    """A registry that holds 20 kB in memory."""
    return DatasetRegistry(home, in_memory=20_000)


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": rng.integers(18, 90, rows), "income": rng.normal(size=rows), "label": rng.integers(0, 3, rows)}
    )


def written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    return path


def same(one: Arrays, other: Arrays) -> None:
    assert one.columns == other.columns
    for group in ("inputs", "targets"):
        mine, theirs = getattr(one, group), getattr(other, group)
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_arrays_are_the_same_but_on_disk(tmp_path, small, home, name):
    path = written(table(), tmp_path / name)
    arrays = small.add("t", path, target="label").load()
    assert arrays.streamed
    assert isinstance(arrays.inputs[""], np.memmap)
    in_memory = DatasetRegistry(tmp_path / "other").add("t", path, target="label").load()
    assert not in_memory.streamed
    same(arrays, in_memory)
    assert arrays.checksum() == in_memory.checksum()
    assert not arrays.inputs[""].flags.writeable
    for file in (home / "store").rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_arrays_with_axes_are_kept_as_models_take_them(tmp_path, small):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 4, 2)), rng.integers(0, 2, ROWS)
    images = rng.integers(0, 255, (ROWS, 3, 3), dtype="uint8")
    np.savez(tmp_path / "a.npz", x_wide=x, x_image=images, y=y)
    arrays = small.add("a", tmp_path / "a.npz").load()
    assert arrays.inputs["wide"].dtype == np.float32
    np.testing.assert_array_equal(arrays.inputs["wide"], x.astype("float32"))
    np.testing.assert_array_equal(arrays.inputs["image"], images)
    np.testing.assert_array_equal(arrays.targets[""], y)
    columns = small.get("a").columns()
    assert list(columns)[:2] == ["image[0]", "image[1]"]
    np.testing.assert_array_equal(columns["wide[5]"], x.reshape(ROWS, -1)[:, 5])


def test_they_are_made_once_for_each_version_and_found_by_the_next_process(tmp_path, small, home, monkeypatch):
    path = written(table(), tmp_path / "t.parquet")
    first = small.add("t", path, target="label").load()
    monkeypatch.setattr(store.Store, "keep_arrays", lambda *_: pytest.fail("made again"))
    assert small.get("t").load() is first
    same(DatasetRegistry(home, in_memory=20_000).get("t").load(), first)


def test_what_no_data_set_has_any_more_is_removed_and_a_run_keeps_what_it_has(tmp_path, small, home):
    path = written(table(), tmp_path / "t.parquet")
    dataset = small.add("t", path, target="label")
    other = small.add("u", path, target="label")
    arrays, version = dataset.load(), dataset.version
    assert other.version == version
    small.remove("t")
    assert (home / "store" / version).exists(), "the other data set has the same content"
    small.remove("u")
    assert not (home / "store" / version).exists()
    np.testing.assert_array_equal(arrays.targets[""], table().label)


def test_new_rows_are_a_new_version_and_the_old_arrays_go(tmp_path, small, home):
    path = written(table(), tmp_path / "t.csv")
    dataset = small.add("t", path, target="label")
    before, old = dataset.load(), dataset.version
    written(table(ROWS + 10, seed=1), path)
    assert dataset.load().rows == ROWS + 10
    assert dataset.version != old
    assert {entry.name for entry in (home / "store").iterdir()} == {dataset.version}
    assert before.rows == ROWS
    assert DatasetRegistry(home).get("t").registration.version == dataset.version, "told to the next process as well"


def test_a_file_that_is_only_touched_is_the_same_version(tmp_path, small):
    path = written(table(), tmp_path / "t.parquet")
    dataset = small.add("t", path, target="label")
    arrays, columns = dataset.load(), dataset.columns()
    os.utime(path, ns=(1, 1))
    assert dataset.load() is arrays
    assert dataset.columns() is columns
    np.testing.assert_array_equal(columns["age"], table().age)


def test_it_is_made_ready_before_a_run_waits_for_it(tmp_path, small, home):
    small.add("t", written(table(), tmp_path / "t.parquet"), target="label")
    small.add("raw", written(table(seed=1), tmp_path / "u.parquet"), target="label", raw=True)
    DatasetRegistry(tmp_path / "o").add("t", tmp_path / "t.parquet", target="label")
    DatasetRegistry(tmp_path / "o").make_ready()
    assert not (tmp_path / "o" / "store").exists(), "in memory it takes seconds"
    small.make_ready()
    assert len(list((home / "store").rglob("arrays.json"))) == 1


def test_what_cannot_be_made_ready_is_logged(tmp_path, small, caplog):
    path = written(table(), tmp_path / "t.parquet")
    small.add("t", path, target="label")
    path.unlink()
    small.make_ready()
    assert "data set t: " in caplog.text


def test_descriptions_do_not_wait_while_arrays_are_made(tmp_path, small, monkeypatch):
    dataset = small.add("t", written(table(), tmp_path / "t.parquet"), target="label")
    keep, seen = store.Store.keep_arrays, []

    def slowly(self, version, key, make):
        seen.append(dataset.description()["rows"])
        return keep(self, version, key, make)

    monkeypatch.setattr(store.Store, "keep_arrays", slowly)
    assert dataset.load().streamed
    assert seen == [ROWS]


def test_a_column_is_read_when_it_is_asked_for_and_only_the_last_are_kept(tmp_path, small):
    frame = table()
    columns = small.add("t", written(frame, tmp_path / "t.parquet"), target="label").columns()
    assert isinstance(columns, ColumnsOnDisk)
    assert (list(columns), len(columns), columns.rows) == (["age", "income", "label"], 3, ROWS)
    assert columns._last == {}
    for name in frame:
        np.testing.assert_array_equal(columns[name], frame[name])
        assert columns[name] is columns[name]
        assert not columns[name].flags.writeable
    assert list(columns._last) == ["label"], "24 kB each, of 20 kB that are kept"
    with pytest.raises(KeyError):
        columns["height"]


def test_columns_of_a_file_that_has_changed_meanwhile_are_not_mixed(tmp_path, small):
    path = written(table(), tmp_path / "t.parquet")
    columns = small.add("t", path, target="label").columns()
    columns["age"]
    written(table(seed=2), path)
    os.utime(path, ns=(5, 5))
    with pytest.raises(InvalidInput) as caught:
        columns["income"]
    assert caught.value.code == "changed-while-read"


def test_texts_are_parsed_once(tmp_path, small, home):
    """A large CSV is read from beginning to end when it is registered; columns are then read from what was kept."""
    frame = table()
    path = written(frame, tmp_path / "t.csv")
    dataset = small.add("t", path, target="label")
    assert (home / "store" / dataset.version / "columns.arrow").exists()
    columns = dataset.columns()
    about = path.stat()
    path.write_bytes(path.read_bytes()[: about.st_size // 2].ljust(about.st_size, b"9"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    np.testing.assert_array_equal(columns["income"], frame["income"])
    same(dataset.load(), DatasetRegistry(tmp_path / "o").add("t", written(frame, tmp_path / "u.csv"), "label").load())


def test_a_disk_without_room_is_told_and_nothing_is_left(tmp_path, small, home, monkeypatch):
    path = written(table(), tmp_path / "t.parquet")
    dataset = small.add("t", path, target="label")
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(Conflict) as caught:
        dataset.load()
    assert caught.value.code == "no-room"
    assert list((home / "store").iterdir()) == []


def test_damaged_arrays_are_made_again(tmp_path, small, home):
    path = written(table(), tmp_path / "t.parquet")
    first = small.add("t", path, target="label").load()
    expected = first.inputs[""].copy()
    (file,) = (home / "store").rglob("0.npy")
    file.write_bytes(b"nonsense")
    np.testing.assert_array_equal(DatasetRegistry(home, in_memory=20_000).get("t").load().inputs[""], expected)


def test_what_a_killed_process_has_left_is_removed(tmp_path, small, home):
    abandoned = home / "store" / ".999999999-x"
    abandoned.mkdir(parents=True)
    small.add("t", written(table(), tmp_path / "t.parquet"), target="label").load()
    assert not abandoned.exists()


def test_memory_can_be_set_by_the_environment(tmp_path, home, monkeypatch):
    monkeypatch.setenv("FLAAS_IN_MEMORY", "1000")
    assert DatasetRegistry(home).add("t", written(table(), tmp_path / "t.parquet"), target="label").load().streamed
    monkeypatch.setenv("FLAAS_IN_MEMORY", "much")
    with pytest.raises(InvalidInput, match="FLAAS_IN_MEMORY"):
        DatasetRegistry(home)


class Doubled:
    """A recipe: a column twice, another as it is."""

    digest = "of-doubled"
    reads = ("income", "city", "label")
    rows_at_once = 1000

    def arrays(self, columns, target):
        assert set(columns) == set(self.reads)
        assert len(columns["city"]) <= 65_536
        x = np.stack([2 * columns["income"], [float(len(c or "")) for c in columns["city"]]], axis=1).astype("float32")
        return Arrays("t", {"": x}, {"": columns[target].astype("int32")}, ("twice", "letters"))


@pytest.mark.parametrize("in_memory", [20_000, 1 << 30])
def test_a_recipe_makes_arrays_of_raw_columns(tmp_path, home, in_memory):
    frame = table().assign(city=np.random.default_rng(1).choice(["Bonn", "Köln", None], ROWS))
    registry = DatasetRegistry(home, in_memory=in_memory)
    dataset = registry.add("t", written(frame, tmp_path / "t.parquet"), target="label", raw=True)
    arrays = dataset.load(recipe=Doubled())
    assert arrays.streamed == (in_memory == 20_000)
    assert arrays.columns == ("twice", "letters")
    np.testing.assert_array_equal(arrays.inputs[""][:, 0], (2 * frame.income).astype("float32"))
    np.testing.assert_array_equal(arrays.inputs[""][:, 1], frame.city.str.len().fillna(0))
    assert dataset.load(recipe=Doubled()) is arrays
