"""The version of a data set: the same for the same values, from wherever they come; another for others."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.datasets.contents import ColumnHash, version_of

ROWS = 700


def table(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    found = {
        "age": rng.integers(18, 90, ROWS),
        "income": rng.normal(size=ROWS),
        "owns": rng.random(ROWS) > 0.5,
        "city": rng.choice(["Bonn", "Köln", "", None, "a,b", 'quoted "x"'], ROWS),
        "label": np.arange(ROWS) % 2,
    }
    frame = pd.DataFrame(found | columns)
    frame["city"] = frame["city"].replace("", None)  # CSV does not tell them apart
    frame.loc[[3, 500], "income"] = np.nan
    return frame


def hashed(batches: list[pa.RecordBatch]) -> str:
    schema = batches[0].schema
    hashes = [ColumnHash(field.type) for field in schema]
    for batch in batches:
        for column, each in zip(batch.columns, hashes, strict=True):
            each.update(column)
    return version_of(schema, hashes, sum(batch.num_rows for batch in batches))


@pytest.fixture
def version(tmp_path):
    """Registers a file and returns its version."""
    registry = DatasetRegistry(tmp_path / "home")

    def of(path, **options) -> str:
        name = f"d{len(registry.list())}"
        return registry.add(name, path, **({"target": "label", "raw": True} | options)).version

    return of


def test_formats_and_compression_do_not_matter(tmp_path, version):
    frame = table()
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    pa.parquet.write_table(arrow, tmp_path / "one.parquet")
    pa.parquet.write_table(
        arrow, tmp_path / "small.parquet", row_group_size=64, compression="zstd", use_dictionary=False
    )
    pa.feather.write_feather(arrow, str(tmp_path / "t.arrow"), chunksize=99)
    large = arrow.set_column(3, "city", arrow["city"].cast(pa.large_string()))
    pa.parquet.write_table(large, tmp_path / "large.parquet")
    dictionary = arrow.set_column(3, "city", arrow["city"].dictionary_encode())
    pa.parquet.write_table(dictionary, tmp_path / "dictionary.parquet")
    nan = pa.array(frame["income"].to_numpy(), from_pandas=False)
    assert nan.null_count == 0
    pa.parquet.write_table(arrow.set_column(1, "income", nan), tmp_path / "nan.parquet")
    names = ["t.csv", "t.csv.gz", "one.parquet", "small.parquet", "t.arrow", "large.parquet", "dictionary.parquet"]
    assert len({version(tmp_path / name) for name in [*names, "nan.parquet"]}) == 1


def test_a_folder_of_parts_is_the_file_they_are_parts_of(tmp_path, version):
    frame = table()
    frame.to_parquet(tmp_path / "whole.parquet", index=False)
    (tmp_path / "parts").mkdir()
    for number, part in enumerate(np.array_split(np.arange(ROWS), 3)):
        frame.iloc[part].to_parquet(tmp_path / "parts" / f"{number}.parquet", index=False)
    assert version(tmp_path / "parts") == version(tmp_path / "whole.parquet")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(age=t.age.where(t.index != 77, t.age + 1)),
        lambda t: t.assign(city=t.city.where(t.index != 77, None)) if t.city[77] else t.assign(city="x"),
        lambda t: t.rename(columns={"age": "Age"}),
        lambda t: t.iloc[::-1],
        lambda t: t.iloc[:-1],
        lambda t: t[["income", "age", "owns", "city", "label"]],
        lambda t: t.assign(age=t.age.astype("int32")),
        lambda t: t.assign(income=t.income.astype("float32")),
        lambda t: t.assign(income=t.income.fillna(0.0)),
        lambda t: t.assign(owns=~t.owns),
    ],
    ids=["value", "text", "name", "order", "fewer", "columns", "int32", "float32", "filled", "truth"],
)
def test_whatever_changes_is_another_version(tmp_path, version, change):
    table().to_parquet(tmp_path / "a.parquet", index=False)
    change(table()).to_parquet(tmp_path / "b.parquet", index=False)
    assert version(tmp_path / "a.parquet") != version(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("left", "right"), [(["ab", "c"], ["a", "bc"]), (["", None], [None, ""]), (["a", ""], ["", "a"])]
)
def test_texts_that_run_into_one_another_are_told_apart(left, right):
    one, other = (hashed([pa.record_batch({"t": pa.array(texts)})]) for texts in (left, right))
    assert one != other


def test_how_rows_come_in_batches_does_not_matter():
    batch = pa.RecordBatch.from_pandas(table(), preserve_index=False)
    whole = hashed([batch])
    for size in (1, 7, 128, 699):
        assert hashed([batch.slice(start, size) for start in range(0, ROWS, size)]) == whole


def test_the_hash_is_the_one_that_is_documented():
    values = np.array([1.5, 0.0, -2.0])
    batch = pa.record_batch(
        {"a": pa.array([1.5, None, -2.0]), "t": pa.array(["x", None, "yz"]), "b": pa.array([True, False, None])}
    )
    sha = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731
    empty, second, third = sha(b""), sha(np.array([1], "<i8").tobytes()), sha(np.array([2], "<i8").tobytes())
    columns = [
        ["a", "double", [], sha(values.astype("<f8").tobytes()), empty, second],
        ["t", "string", [], sha(b"xyz"), sha(np.array([1, 0, 2], "<i8").tobytes()), second],
        ["b", "bool", [], sha(b"\x01\x00\x00"), empty, third],
    ]
    document = json.dumps([3, columns], ensure_ascii=False, separators=(",", ":"))
    assert hashed([batch]) == hashlib.sha256(b"flaas/contents/1" + document.encode()).hexdigest()


def test_arrays_have_versions_by_shape_and_values(tmp_path, version):
    x, y = np.random.default_rng(0).normal(size=(40, 3, 2)).astype("float32"), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "b.npz", x=x, y=y)
    np.savez(tmp_path / "c.npz", x=x.reshape(40, 6), y=y)
    a, b, c = (version(tmp_path / f"{name}.npz", target=None, raw=False) for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3], pa.timestamp("us", tz="UTC")),
        pa.array([1, None, 3], pa.date32()),
        pa.array([1, None, 3], pa.time64("us")),
        pa.array([1, None, 3], pa.duration("ms")),
        pa.array([b"a", None, b"bc"], pa.binary()),
        pa.array(["1.50", None, "2.00"]).cast(pa.decimal128(5, 2)),
        pa.array([[1], None, [2, 3]], pa.list_(pa.int64())),
        pa.array([2**63, None, 1], pa.uint64()),
        pa.array([None, None, None], pa.float64()),
    ],
    ids=lambda column: str(column.type),
)
def test_every_type_has_a_hash_that_does_not_depend_on_batches(column):
    batch = pa.record_batch({"c": column})
    assert hashed([batch]) == hashed([batch.slice(0, 1), batch.slice(1, 2)])
    other = pa.record_batch({"c": column.take(pa.array([2, 1, 0]))})
    assert (hashed([batch]) == hashed([other])) == column.equals(other["c"])
