"""JSON lines, CSV and tables with tabs that would stop a reader, and the names that formats go by."""

from __future__ import annotations

import json
import logging

import pytest
from tables import frame

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.formats import reader_of
from flaas_jupyter.execution.formats.canonical import require_names
from flaas_jupyter.execution.sources.select_only import single_select

GOOD = '{"a": 1, "b": "x"}\n'
DEEP = 20_000


@pytest.fixture
def refused(opened, tmp_path):
    def refuse(text: str, name: str = "t.jsonl") -> str:
        (tmp_path / name).write_text(text)
        with pytest.raises(FlaasError) as error:
            list(opened(tmp_path / name).batches())
        assert error.value.code == "unreadable-data"
        return error.value.message

    return refuse


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"a": ' + "[" * DEEP + "]" * DEEP + "}", "line 3 has lists"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "line 3 has lists"),
        ('{"a": ' + "[" * DEEP, "line 3 has lists"),
        ('{"b": "\\\\", "a": ' + "[" * DEEP + "]" * DEEP + "}", "line 3 has lists"),
        ('{"a": "\n' + "[" * DEEP + '"}', "line 3 is not"),
        ('{"a": ' + "[\n" * DEEP, "line 3 is not"),
        ('{"a": 1 "b": 2}', "line 3 is not"),
        ('["x"]', "line 3 is not"),
        ('{"a": 1, "a": 2}', "line 3 has several values for one key"),
    ],
)
def test_lines_that_nest_or_are_no_objects_are_refused_with_their_number(refused, line, why):
    assert why in refused(GOOD * 2 + line + "\n" + GOOD)


def test_brackets_and_quotes_in_texts_are_no_brackets(opened, tmp_path):
    texts = ["[" * DEEP, '\\"' * 99 + "{[", "\\", '"', "}]}", "x"]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"a": text}) + "\r\n\n" for text in texts))
    assert frame(opened(tmp_path / "t.jsonl")).a.tolist() == texts


def test_tabs_and_json_by_the_ends_of_names_or_by_format(opened, tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\n1\tx, y\n2\tz\n")
    (tmp_path / "t.json").write_text(GOOD)
    (tmp_path / "t.data").write_text(GOOD)
    assert frame(opened(tmp_path / "t.tsv")).b.tolist() == ["x, y", "z"]
    assert frame(opened(tmp_path / "t.json")).b.tolist() == ["x"]
    for name in ("json", "JSONL", ".ndjson"):
        assert frame(opened(tmp_path / "t.data", format=name)).a.tolist() == [1]
    assert reader_of("CSV").suffixes == reader_of(".csv").suffixes == (".csv", ".csv.gz")


def test_json_beside_data_is_no_part_of_them(opened, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "parts/about.json").write_text("{}")
    assert frame(opened(tmp_path / "parts")).a.tolist() == [1]


def test_records_of_the_node_are_no_data(opened, home):
    for name in ("datasets.json", "lineage.jsonl"):
        (home / name).write_text(GOOD)
        with pytest.raises(FlaasError) as error:
            opened(home / name)
        assert error.value.code == "own-home"


def test_a_first_record_that_is_no_header_is_refused(refused):
    assert "no list of names" in refused("a" * (2 << 20) + "\n1\n", "t.csv")


def test_names_of_columns_have_a_longest_length():
    require_names("t.csv", ["a" * 1_000])
    with pytest.raises(FlaasError) as error:
        require_names("t.csv", ["a", "b" * 1_001])
    assert error.value.code == "bad-column-name"
    assert "column 2" in error.value.message
    assert len(error.value.message) < 300


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\x07", "a\u202eb", "a\nb"])
def test_names_that_cannot_be_printed_are_refused(name):
    with pytest.raises(FlaasError) as error:
        require_names("t.csv", ["a", name])
    assert error.value.code == "bad-column-name"
    assert name not in str(error.value)


@pytest.mark.parametrize(
    "query",
    ["EXPLAIN SELECT 'Secret'", "REPLACE INTO t VALUES ('Secret')", "SELECT * FROM pragma_table_info('Secret')",
     "SELECT * FROM pragma_database_list"],
)  # fmt: skip
def test_queries_that_are_refused_are_not_logged(caplog, query):
    logging.getLogger("sqlglot").setLevel(logging.WARNING)
    with caplog.at_level(logging.DEBUG), pytest.raises(FlaasError) as error:
        single_select(query, "sqlite")
    assert error.value.code == "not-a-select"
    assert "Secret" not in caplog.text
