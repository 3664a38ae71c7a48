"""What files may hold, and how others are refused: by name and place, without a value from them."""

import contextlib
import gzip
import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tables import encoded, frame, npz, people

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.formats import arrow_ipc, blocks, canonical, json_lines, limits, parquet, tensors
from flaas_jupyter.execution.formats import npz as npz_format
from flaas_jupyter.execution.formats.limits import Limits

SECRET = "Ms. Secret"


@pytest.fixture
def file(tmp_path):
    def write(name: str, data: bytes | str):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


@pytest.fixture
def refused(opened):
    def refuse(path, code="unreadable-data", **options) -> FlaasError:
        def read() -> None:
            source = opened(path, **options)
            source.schema()
            list(source.batches())

        with pytest.raises(FlaasError) as error:
            read()
        assert error.value.code == code, error.value
        for text in (str(error.value), json.dumps(error.value.to_dict())):
            assert SECRET not in text
        return error.value

    return refuse


# ---- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "2", "3"], "int64", [1, 2, 3]),
        (["1", "2", "0.5"], "double", [1.0, 2.0, 0.5]),
        (["1", "", "3"], "int64", [1, None, 3]),
        (["", "NA", ""], "double", [None, None, None]),
        (["True", "False", "true"], "bool", [True, False, True]),
        (["1", "2", "x"], "string", ["1", "2", "x"]),
        (["True", "2", "x"], "string", ["True", "2", "x"]),
        (["2020-01-01", "2020-01-02", ""], "date32[day]", None),
        (["1e3", "-inf", "5"], "double", [1000.0, -np.inf, 5.0]),
    ],
)
@pytest.mark.parametrize("block", [blocks.BLOCK, 10])
def test_types_hold_for_all_rows_wherever_blocks_end(file, opened, monkeypatch, values, kind, expected, block):
    monkeypatch.setattr(blocks.text_blocks, "__kwdefaults__", {**blocks.text_blocks.__kwdefaults__, "block": block})
    source = opened(file("t.csv", "a,b\n" + "".join(f"{value},0\n" for value in values)))
    assert str(source.schema().field("a").type) == kind
    if expected is not None:
        table = pa.Table.from_batches(source.batches())
        assert table.column("a").to_pylist() == expected


def test_line_breaks_in_quotes_do_not_end_rows_wherever_blocks_end(file, opened, monkeypatch):
    table = people(50)
    path = file("t.csv", table.to_csv(index=False))
    for block in (1, 7, 64, 1000):
        monkeypatch.setattr(blocks, "_CHUNK", block)
        monkeypatch.setattr(blocks.text_blocks, "__kwdefaults__", {**blocks.text_blocks.__kwdefaults__, "block": block})
        assert frame(opened(path))["town"].tolist() == table["town"].tolist()


def test_ids_stay_texts_where_that_is_said(file, opened):
    path = file("t.csv", "id,a\n007,1\n010,2\n")
    assert frame(opened(path, texts=("id",)))["id"].tolist() == ["007", "010"]
    assert frame(opened(path))["id"].tolist() == [7, 10]


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_data(file, opened):
    path = file("t.csv", b"\xef\xbb\xbf\r\na,b\r\n\r\n1,2\r\n3,4\r\n\r\n")
    assert frame(opened(path)).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_a_header_alone_has_columns_and_no_rows(file, opened):
    source = opened(file("t.csv", "a,b\n"))
    assert source.schema().names == ["a", "b"]
    assert len(frame(source)) == 0


def test_a_row_with_more_or_fewer_values_is_named(file, refused):
    rows = [f"{SECRET},{i}" for i in range(500)]
    for bad in (f"{SECRET},1,{SECRET}", SECRET):
        told = refused(file("t.csv", "\n".join(["name,b", *rows[:321], bad, *rows[321:]])))
        assert "row 322 " in told.message
        assert "header 2" in told.message
        assert "quotes" in told.hint


def test_rows_are_counted_over_blocks_and_line_breaks_in_quotes(file, refused, monkeypatch):
    monkeypatch.setattr(blocks, "_CHUNK", 64)
    monkeypatch.setattr(blocks.text_blocks, "__kwdefaults__", {**blocks.text_blocks.__kwdefaults__, "block": 64})
    told = refused(file("t.csv", "a,b\n" + '"two\nlines",1\n' * 99 + "\n\n1,2,3\n"))
    assert "row 100 " in told.message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f"name,b\n{SECRET},1\n".encode() + "Łódź,2\n".encode("iso8859-2"), "not UTF-8 text (byte 20)"),
        (f"name,b\n{SECRET},1\n".encode("utf-16"), "UTF-16"),
        (f"name,b\n{SECRET},1\n".encode("utf-16-le"), "zero byte"),
        (b"name,b\nx\x00,1\n", "zero byte"),
        (b"", ""),
    ],
)
def test_wrong_encodings_say_where(file, refused, data, said):
    told = refused(file("t.csv", data), "unreadable-data" if data else "empty-data")
    assert said in told.message


def test_names_of_columns_must_tell_them_apart(file, refused, opened):
    assert "a." in refused(file("t.csv", "a,b,a\n1,2,3\n"), "duplicate-columns").message
    assert "Column 1 " in refused(file("t.csv", ",b\n1,2\n"), "unnamed-column").message
    table = pd.DataFrame({"a": [1, 2, 3]}).iloc[[2, 0]]
    assert opened(file("t.parquet", encoded(table)[".parquet"])).schema().names == ["a"]  # not pandas's index


def test_a_hundred_thousand_columns_are_read_and_more_refused(file, opened, refused):
    names = [f"g{i}" for i in range(100_000)]
    path = file("t.csv", ",".join(names) + "\n" + (",".join(["1", "2.5"] * 50_000) + "\n") * 3)
    source = opened(path)
    assert len(source.schema()) == 100_000
    batch = next(source.batches(["g99999", "g0"]))
    assert batch.to_pydict() == {"g99999": [2.5] * 3, "g0": [1] * 3}
    told = refused(file("t.csv", ",".join([*names, "more"]) + "\n"), "too-many-columns")
    assert "100001" in told.message
    assert "np.savez" in told.hint


def test_a_quote_that_is_never_closed_is_found(file, refused, monkeypatch):
    monkeypatch.setattr(blocks.text_blocks, "__kwdefaults__", {"limits": Limits(line=1000), "block": 100})
    told = refused(file("t.csv", 'a,b\n"x,1\n' + f"{SECRET},2\n" * 500))
    assert "quote" in told.message


# ---- compressed -----------------------------------------------------------------------------------------------------


def test_gzip_may_have_several_members(file, opened):
    path = file("t.csv.gz", gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"))
    assert frame(opened(path))["a"].tolist() == [1, 3]


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"a,b\n1,2\n")[:-9], b"", gzip.compress(b"a,b\n") + b"more"],
    ids=["none", "cut", "empty", "more"],
)
def test_damaged_gzip_is_refused(file, refused, data):
    refused(file("t.csv.gz", data))


def test_what_expands_to_a_thousand_times_its_size_is_refused_in_time(file, refused, monkeypatch):
    data = gzip.compress(b"a,b\n" + b"0,0\n" * 50_000_000, 9)
    seen = []
    check = Limits.check

    def watched(self, shown, stored, expanded):
        seen.append(expanded)
        check(self, shown, stored, expanded)

    monkeypatch.setattr(Limits, "check", watched)
    told = refused(file("t.csv.gz", data), "expands-too-much")
    assert "Parquet" in told.hint
    assert max(seen) < 100 << 20  # of 200 MB


def test_an_npz_that_says_it_expands_too_much_is_refused_before_it_is_read(file, refused):
    zeros = npz(x=np.zeros((200_000, 100)), y=np.zeros(200_000))
    refused(file("a.npz", zeros), "expands-too-much")


def test_an_npz_that_lies_about_its_size_is_refused(file, refused):
    honest = npz(x=np.zeros((100, 3)), y=np.zeros(100))
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        entry = archive.getinfo("x.npy")
    right = struct.pack("<L", entry.file_size)
    assert honest.count(right)
    refused(file("a.npz", honest.replace(right, struct.pack("<L", entry.file_size + 1000))))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"x.npy": b"\x93NUMPY\x01\x00nonsense"}, "header"),
        ({"x.npy": b"not numpy"}, "header"),
        ({"../x.npy": b""}, "no array"),
        ({"a/x.npy": b""}, "no array"),
        ({"readme.txt": b"hello"}, "no array"),
    ],
)
def test_archives_that_are_no_npz_are_refused(file, refused, members, said):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert said in refused(file("a.npz", buffer.getvalue())).message


def test_python_objects_are_never_unpickled(file, refused, tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([Trap()], dtype=object), y=np.zeros(1))
    assert "Python objects" in refused(file("a.npz", buffer.getvalue())).message
    assert not (tmp_path / "sprung").exists()


def test_arrays_must_have_as_many_rows_as_each_other(file, refused):
    assert "x 30, y 29" in refused(file("a.npz", npz(x=np.zeros((30, 2)), y=np.zeros(29)))).message
    assert "float64" in refused(file("a.npz", npz(x=np.float64(3), y=np.zeros(29)))).message
    assert "complex" in refused(file("a.npz", npz(x=np.zeros(3, complex), y=np.zeros(3)))).message


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", ">i4", "float16", "float32", ">f8", "U5", "datetime64[s]"])
def test_arrays_of_every_type_come_back(file, opened, dtype):
    array = np.arange(12).astype(dtype)
    found = pa.Table.from_batches(opened(file("a.npz", npz(y=array))).batches(rows=5)).column("y").to_pylist()
    assert found == array.astype(array.dtype.newbyteorder("=")).tolist()
    if np.dtype(dtype).kind in "biuf":
        shaped = np.asfortranarray(array.reshape(6, 2))
        batches = list(opened(file("b.npz", npz(x=shaped))).batches(rows=4))
        np.testing.assert_array_equal(np.concatenate([tensors.to_numpy(b.column("x")) for b in batches]), shaped)


# ---- Parquet, Arrow, JSON lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl", "t.npz"])
def test_what_is_damaged_is_refused_without_its_content(file, refused, name):
    end = {"t.arrow": ".feather", "t.jsonl": ".jsonl"}.get(name, ".parquet")
    data = npz(x=np.zeros((50, 3)), y=np.zeros(50)) if name == "t.npz" else encoded(people())[end]
    refused(file(name, f"{SECRET} {SECRET}".encode()))
    refused(file(name, data[: len(data) // 2]))
    middle = len(data) // 3
    broken = data[:middle] + bytes(255 - byte for byte in data[middle : middle + 200]) + data[middle + 200 :]
    try:
        refused(file(name, broken))
    except pytest.fail.Exception:
        assert name in ("t.parquet", "t.arrow")  # pages of these may have no checksums: other values, no crash


def test_texts_are_texts_however_arrow_keeps_them(file, opened):
    texts = ["a", None, "b"]
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        sink = io.BytesIO()
        table = pa.table({"t": pa.array(texts, pa.string()).cast(kind), "n": pa.nulls(3)})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        source = opened(file("t.arrow", sink.getvalue()))
        assert [str(entry.type) for entry in source.schema()] == ["string", "double"]
        assert pa.Table.from_batches(source.batches()).column("t").to_pylist() == texts


def test_lists_of_one_length_are_tensors_and_others_refused(file, opened, refused, tmp_path):

    table = pa.table({"x": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)), "y": pa.array([1, 0])})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    found = tensors.to_numpy(next(opened(tmp_path / "t.parquet").batches()).column("x"))
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    pa.parquet.write_table(pa.table({"x": [[1.0], [2.0, 3.0]]}), tmp_path / "t.parquet")
    assert "lists" in refused(tmp_path / "t.parquet").message
    pa.parquet.write_table(pa.table({"x": pa.array([1], pa.decimal128(5, 2))}), tmp_path / "t.parquet")
    assert frame(opened(tmp_path / "t.parquet"))["x"].tolist() == [1.0]


def test_parts_with_other_columns_or_types_are_no_table(file, opened, refused, tmp_path):
    file("parts/1.csv", "a,b\n1,2\n")
    file("parts/2.csv", "a,b\n0.5,2\n")
    assert frame(opened(tmp_path / "parts"))["a"].tolist() == [1, 0.5]
    file("parts/3.csv", "a,b\nx,2\n")
    assert "'a'" in refused(tmp_path / "parts", "parts-differ").message
    file("parts/3.csv", "a,c\n1,2\n")
    assert "'b', 'c'" in refused(tmp_path / "parts", "parts-differ").message


def test_mixed_types_in_json_lines_are_refused(file, refused):
    said = refused(file("t.jsonl", f'{{"a": 1}}\n{{"a": "{SECRET}"}}\n'))
    assert "'a'" in said.message
    assert "lists or objects" in refused(file("t.jsonl", '{"a": {"b": 1}}\n')).message
    assert "lists or objects" in refused(file("t.jsonl", '{"a": [1, 2]}\n')).message
    refused(file("t.jsonl", f'{{"a": "{SECRET}"\n'))


def test_values_that_are_left_out_of_json_lines_are_missing(file, opened):
    source = opened(file("t.jsonl", '{"a": 1}\n{"b": "x", "a": 0.5}\n\n{"b": null}\n'))
    table = pa.Table.from_batches(source.batches())
    assert table.to_pydict() == {"a": [1.0, 0.5, None], "b": [None, "x", None]}


def test_a_file_that_changes_while_it_is_read_is_noticed(file, opened):
    source = opened(file("t.csv", "a,b\n" + "1,2\n" * 10))
    reading = source.batches(rows=2)
    next(reading)
    file("t.csv", "a,b\n" + "1,2\n" * 11)
    with pytest.raises(FlaasError) as error:
        list(reading)
    assert error.value.code == "changed-while-read"


# ---- what is small on disk and large when it is read ----------------------------------------------------------------


def small_batches(source, **options) -> int:
    """Read a source; return its rows. No batch takes much more than the limit."""
    rows = 0
    for batch in source.batches(**options):
        assert batch.nbytes <= limits.LIMITS.piece + (1 << 20)
        rows += len(batch)
    return rows


@pytest.fixture
def pieces_of_a_megabyte(monkeypatch):
    monkeypatch.setattr(canonical, "LIMITS", Limits(piece=1 << 20))
    monkeypatch.setattr(limits, "LIMITS", Limits(piece=1 << 20))


@pytest.mark.usefixtures("pieces_of_a_megabyte")
@pytest.mark.parametrize("written", ["text", "bytes", "category", "delta"])
def test_a_text_that_parquet_has_once_for_many_rows_is_not_in_memory_more_often(opened, tmp_path, written):
    path = tmp_path / "t.parquet"
    values = ["x" * 10_000] * 5_000
    column = {
        "bytes": pa.array([value.encode() for value in values]),
        "category": pa.array(values).dictionary_encode(),
    }.get(written, pa.array(values))
    options = {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}} if written == "delta" else {}
    pa.parquet.write_table(pa.table({"t": column, "n": range(5_000)}), path, compression="zstd", **options)
    assert path.stat().st_size < 60_000
    source = opened(path)
    assert str(source.schema().field("t").type) == ("binary" if written == "bytes" else "string")
    if written == "delta":  # Arrow has no dictionaries of these: fewer rows at a time
        assert next(source.batches(["t"])).nbytes <= limits.LIMITS.row
    else:
        assert small_batches(source) == 5_000
    first = next(source.batches(["n", "t"])).slice(0, 1).to_pylist()[0]
    assert (first["n"], len(first["t"])) == (0, 10_000)


def test_parquet_texts_come_back_as_they_were(opened, tmp_path):
    texts = ["a", None, "", "Łódź", "b" * 3_000] * 400
    table = pa.table({"t": texts, "u": [None] * 2_000, "v": pa.array(texts).cast(pa.large_string())})
    for options in ({}, {"use_dictionary": False}, {"dictionary_pagesize_limit": 2_000}, {"row_group_size": 300}):
        pa.parquet.write_table(table, tmp_path / "t.parquet", **options)
        found = pa.Table.from_batches(opened(tmp_path / "t.parquet").batches(rows=700))
        assert found.column("t").to_pylist() == texts
        assert found.column("v").to_pylist() == texts
        assert found.column("u").null_count == 2_000


def test_rows_of_arrays_in_parquet_are_bounded(opened, refused, tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1_000 * 100)), 1_000)
    pa.parquet.write_table(pa.table({"x": values}), path)
    monkeypatch.setattr(parquet, "LIMITS", Limits(row=80_000))
    assert max(len(batch) for batch in opened(path).batches()) == 10
    monkeypatch.setattr(parquet, "LIMITS", Limits(row=7_999))
    refused(path, "expands-too-much")


def arrow(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_an_arrow_batch_that_expands_too_much_is_refused_before_it_is_expanded(file, refused, compression, monkeypatch):
    monkeypatch.setattr(arrow_ipc, "LIMITS", Limits(free=1 << 20, ratio=50))
    data = arrow(pa.table({"a": np.zeros(2_000_000)}), compression=compression)
    before = pa.total_allocated_bytes()
    seen = []
    check = Limits.check

    def watched(self, shown, stored, expanded):
        seen.append((expanded, pa.total_allocated_bytes() - before))
        check(self, shown, stored, expanded)

    monkeypatch.setattr(Limits, "check", watched)
    refused(file("t.arrow", data), "expands-too-much")
    expanded, allocated = seen[-1]
    assert expanded == 16_000_000
    assert allocated < 4_000_000


def test_dictionaries_views_and_columns_of_nothing_count_as_what_they_come_to(file, refused, opened, monkeypatch):
    long = pa.array(["x" * 100_000])
    indices = pa.array(np.zeros(20_000, np.int8))
    coded = arrow(pa.table({"t": pa.DictionaryArray.from_arrays(indices, long)}))
    view = struct.pack("<i4sii", 100_000, b"xxxx", 0, 0) * 20_000
    views = (
        pa.StringViewArray.from_buffers(pa.string_view(), 20_000, [None, pa.py_buffer(view), long.buffers()[2]])
        if hasattr(pa.StringViewArray, "from_buffers")
        else None
    )
    assert len(coded) < 200_000
    refused(file("t.arrow", coded), "expands-too-much")
    if views is not None:
        refused(file("v.arrow", arrow(pa.table({"t": views}))), "expands-too-much")
    refused(file("n.arrow", arrow(pa.table({"n": pa.nulls(100_000_000)}))), "expands-too-much")


@pytest.mark.usefixtures("pieces_of_a_megabyte")
def test_dictionaries_of_arrow_files_are_decoded_in_pieces(file, opened):
    long = pa.array(["x" * 10_000, None, "y"])
    indices = pa.array(([0, 1, 2, None] * 1_000), pa.int8())
    path = file("t.arrow", arrow(pa.table({"t": pa.DictionaryArray.from_arrays(indices, long), "n": range(4_000)})))
    assert small_batches(opened(path)) == 4_000
    found = pa.Table.from_batches(opened(path).batches())
    assert found.column("n").to_pylist() == list(range(4_000))
    assert found.column("t").to_pylist() == ["x" * 10_000, None, "y", None] * 1_000


def test_one_row_of_texts_may_not_be_larger_than_a_row_may(file, refused, monkeypatch):
    monkeypatch.setattr(canonical, "LIMITS", Limits(piece=1 << 10, row=1 << 12))
    texts = pa.array(["x" * 5_000] * 10).dictionary_encode()
    refused(file("t.arrow", arrow(pa.table({"t": texts}))), "expands-too-much")


@pytest.mark.parametrize(("compression", "old"), [(None, False), (None, True), ("zstd", False), ("lz4", False)])
def test_arrow_files_of_every_kind_are_read(file, opened, compression, old):
    table = pa.table({"a": range(1000), "t": pa.array(["x", None] * 500).dictionary_encode(), "b": [True, None] * 500})
    version = pa.ipc.MetadataVersion.V4 if old else pa.ipc.MetadataVersion.V5
    options = {"compression": compression, "metadata_version": version}
    data = arrow(table, **options, use_legacy_format=old)
    found = pa.Table.from_batches(opened(file("t.arrow", data)).batches(rows=300))
    assert found.to_pylist() == table.to_pylist()


def test_metadata_of_arrow_that_are_damaged_are_refused_or_read(file, opened):
    data = arrow(pa.table({"a": range(50), "t": ["x"] * 50}), compression="zstd")
    rng = np.random.default_rng(0)
    for place in rng.integers(8, len(data) - 6, 60):
        broken = data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]
        with contextlib.suppress(FlaasError):
            list(opened(file("t.arrow", broken)).batches())


def test_other_names_in_each_json_line_do_not_square(file, refused, opened, monkeypatch):
    monkeypatch.setattr(json_lines, "_VALUES", 10_000)
    parsed = []
    read = pa.json.read_json

    def watched(*args):
        table = read(*args)
        parsed.append(table.num_rows * table.num_columns)
        return table

    monkeypatch.setattr(pa.json, "read_json", watched)
    for lines in (
        [f'{{"k{i}": {i}}}' for i in range(200)],
        [f'{{"x": "v", ":k{i}": {i}}}' for i in range(200)],
        [f'{{"x": 1, "z{i}\\"x": {i}}}' for i in range(200)],
        [f'{{"x" : 1, "x{i}" :{i}}}' for i in range(200)],
    ):
        parsed.clear()
        path = file("t.jsonl", "\n".join(lines))
        source = opened(path)
        assert len(source.schema()) in (200, 201)
        rows = sum(len(batch) for batch in source.batches())
        assert (rows, max(parsed) <= 10_000) == (200, True)
    refused(file("one.jsonl", "".join(lines)), "unreadable-data")
    monkeypatch.setattr(limits, "LIMITS", Limits(free=1 << 10, ratio=5))
    monkeypatch.setattr(json_lines, "LIMITS", limits.LIMITS)
    refused(path, "expands-too-much")


def test_more_names_in_json_lines_than_columns_are_refused_soon(file, refused, monkeypatch):
    monkeypatch.setattr(canonical, "LIMITS", Limits(columns=100))
    monkeypatch.setattr(json_lines, "_VALUES", 10_000)
    seen = []
    monkeypatch.setattr(pa.json, "read_json", lambda *args: seen.append(args))
    refused(file("t.jsonl", "".join(f'{{"k{i}": 1}}\n' for i in range(500))), "too-many-columns")
    assert not seen


def test_the_limit_of_columns_is_held_after_each_block(file, refused, monkeypatch):
    monkeypatch.setattr(canonical, "LIMITS", Limits(columns=100))
    monkeypatch.setattr(blocks.text_blocks, "__kwdefaults__", {**blocks.text_blocks.__kwdefaults__, "block": 10})
    monkeypatch.setattr(blocks, "_CHUNK", 200)
    seen = []
    read = pa.json.read_json
    monkeypatch.setattr(pa.json, "read_json", lambda *args: seen.append(1) or read(*args))
    refused(file("t.jsonl", "".join(f'{{"k{i}": 1}}\n' for i in range(2_000))), "too-many-columns")
    assert len(seen) < 20


def test_rows_and_arrays_that_npz_has_as_a_whole_are_bounded(file, refused, opened, monkeypatch):
    monkeypatch.setattr(npz_format, "LIMITS", Limits(row=80_000))
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(1_000, 100))
    for arrays in (
        {"x": rng.normal(size=(1, 10_001))},
        {"x": np.asfortranarray(tall)},
        {"x": np.array(["a" * 20_001])},
    ):
        refused(file("a.npz", npz(**arrays)), "expands-too-much")
    halves = np.asfortranarray(tall[:60])
    told = refused(file("a.npz", npz(x=halves, y=halves)), "expands-too-much")
    assert "ascontiguousarray" in told.hint
    assert sum(len(batch) for batch in opened(file("a.npz", npz(x=tall))).batches()) == 1_000
    assert sum(len(batch) for batch in opened(file("a.npz", npz(x=halves))).batches()) == 60


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 0)), np.zeros((3, 2, 0)), np.zeros((0, 0)), np.zeros((3, *[1] * 40)),
        np.zeros(3, "M8"), np.zeros(3, "M8[Y]"), np.zeros(3, np.longdouble), np.zeros(3, "m8[s]"), np.zeros(3, "S3"),
    ],
    ids=lambda array: f"{array.dtype}-{array.ndim}",
)  # fmt: skip
def test_arrays_that_are_no_columns_are_refused(file, refused, array):
    refused(file("a.npz", npz(x=array, y=np.zeros(len(array)))))


def test_texts_of_no_length_are_no_column(file, refused):
    buffer, array = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<U0", "fortran_order": False, "shape": (3,)})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", array.getvalue())
    refused(file("a.npz", buffer.getvalue()))


# ---- images ---------------------------------------------------------------------------------------------------------


def test_folders_named_by_numbers_are_these_classes_and_empty_ones_count(file, opened, image, tmp_path):
    file("digits/7/a.png", image((2, 2), 0))
    file("digits/10/a.jpg", image((2, 2), 0, "JPEG"))
    assert next(opened(tmp_path / "digits").batches()).column("y").to_pylist() == [10, 7]
    file("pets/dog/a.png", image((2, 2), (1, 2, 3)))
    (tmp_path / "pets/cat").mkdir()
    batch = next(opened(tmp_path / "pets").batches())
    assert batch.column("y").to_pylist() == [1]
    assert tensors.to_numpy(batch.column("x"))[0, 0, 0].tolist() == [1, 2, 3]


def test_images_that_are_none_or_too_large_or_of_other_sizes_are_refused(file, refused, image, tmp_path):
    file("a/cat/1.png", image((2, 2), 0))
    file("a/cat/2.png", image((2, 3), 0))
    assert "3x2" in refused(tmp_path / "a", "parts-differ").message
    file("b/cat/1.png", SECRET)
    refused(tmp_path / "b")
    file("c/1.png", image((2, 2), 0))
    assert "class" in refused(tmp_path / "c").message
    bomb = bytearray(image((1, 1), 0))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    file("d/cat/1.png", bytes(bomb))
    refused(tmp_path / "d", "expands-too-much")
    refused(tmp_path / "a/cat/1.png", "unknown-data-format")
    refused(tmp_path / "a", "unknown-data-format", format="images:0x4")


def test_files_of_no_known_kind_are_refused(file, refused, tmp_path):
    assert ".parquet" in refused(file("t.xlsx", b""), "unknown-data-format").message
    refused(file("t.csv", b"a\n1\n"), "unknown-data-format", format="excel")
    assert "ends in" in refused(file("empty/readme.txt", b"").parent).message
    refused(tmp_path / "t.csv", "bad-source", query="SELECT 1")


def test_limits_are_those_of_the_documentation():
    assert (limits.LIMITS.ratio, limits.LIMITS.free, limits.LIMITS.columns) == (200, 64 << 20, 100_000)
