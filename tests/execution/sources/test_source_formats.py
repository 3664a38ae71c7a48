"""What files may hold, and how others are refused: by name and place, without a value from them."""

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
from flaas_jupyter.execution.formats import blocks, limits, tensors
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
    "data", [b"no gzip", gzip.compress(b"a,b\n1,2\n")[:-9], b"", gzip.compress(b"a,b\n") + b"more"]
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
