"""Objects of a notebook as sources, and files made of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tables import frame, people, same

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.execution.formats import tensors
from flaas_jupyter.execution.sources.frame import table_of, write


@pytest.mark.parametrize("end", [".parquet", ".arrow"])
def test_a_table_is_written_and_read_as_it_is(opened, tmp_path, end):
    path = tmp_path / f"kept/people{end}"
    for value in (people(), people().iloc[::-1].iloc[::-1], pa.Table.from_pandas(people())):
        source = table_of(value)
        write(source, path)
        same(frame(opened(path)), people())
        assert opened(path).schema() == source.schema()
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("end", [".parquet", ".arrow"])
def test_arrays_are_written_and_read_as_they_are(opened, tmp_path, end):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3, 4)).astype("float32"), rng.random((20, 2)) > 0.5
    for value, names in (((x, y), ("x", "y")), ({"x_a": x, "y": y}, ("x_a", "y"))):
        write(table_of(value), tmp_path / f"a{end}")
        batches = list(opened(tmp_path / f"a{end}").batches(rows=7))
        for name, array in zip(names, (x, y), strict=True):
            found = np.concatenate([tensors.to_numpy(batch.column(name)) for batch in batches])
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype


def test_the_stamp_is_of_the_content():
    assert table_of(people()).stamp() == table_of(people().copy()).stamp()
    assert table_of(people()).stamp() != table_of(people(seed=1)).stamp()


def test_numbers_may_name_columns():
    assert table_of(pd.DataFrame(np.zeros((3, 2)))).schema().names == ["0", "1"]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "bad-source"),
        (np.float64(3), "bad-source"),
        ({}, "bad-source"),
        ({"x": np.zeros(3), "y": np.zeros(2)}, "bad-source"),
        ({"x": np.float64(1)}, "bad-source"),
        (pd.DataFrame({"a": [1, "Ms. Secret"]}), "bad-source"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "duplicate-columns"),
        (pd.DataFrame([[1, 2]], columns=["a", " "]), "unnamed-column"),
        (pd.DataFrame({"a": [[1, 2], [3]]}), "unreadable-data"),
    ],
)
def test_what_is_no_table_is_refused(value, code):
    with pytest.raises(InvalidInput) as error:
        table_of(value).schema()
    assert error.value.code == code
    assert "Secret" not in str(error.value)


def test_half_a_file_is_never_there(tmp_path):
    source = table_of(people())
    source.batches = lambda *args, **options: iter([None])
    with pytest.raises((AttributeError, TypeError)):
        write(source, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_columns_of_nothing_and_tensors_of_no_rows_are_arrays():
    kind = pa.fixed_shape_tensor(pa.float32(), (2, 3))
    assert tensors.to_numpy(pa.chunked_array([], kind)).shape == (0, 2, 3)
    assert tensors.to_numpy(pa.chunked_array([], pa.int64())).shape == (0,)
    turned = pa.fixed_shape_tensor(pa.int64(), (2, 3), permutation=[1, 0])
    array = pa.ExtensionArray.from_storage(turned, pa.array([[1, 2, 3, 4, 5, 6]], pa.list_(pa.int64(), 6)))
    assert tensors.to_numpy(array).tolist() == [[[1, 4], [2, 5], [3, 6]]]
