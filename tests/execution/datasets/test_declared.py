"""What owners declare, what is found wrong, and a mapping that an owner adopts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.datasets.quality import report
from flaas_jupyter.execution.datasets.schema import ColumnSchema, DatasetSchema
from flaas_jupyter.preprocessing import DateParts, Impute, OneHot, Preprocessing, Scale
from flaas_jupyter.training.preprocessing import Mapping
from flaas_jupyter.training.preprocessing.at_node import at_node
from flaas_jupyter.training.preprocessing.mapping import ColumnMap

TOML = """
[columns.wt_lb]
unit = "lb"
range = [0, 1000]

[columns.sex]
categories = ["F", "M"]

[columns.religion]
role = "sensitive"

[columns.person]
role = "id"
"""
POUND = 0.45359237


def rows(count: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "person": [f"p{i}" for i in range(count)],
            "age": rng.normal(50, 10, count).round(1),
            "wt_lb": rng.normal(150, 20, count).round(),
            "sex": rng.choice(["F", "M"], count),
            "religion": rng.choice(["a", "b"], count),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, count), "D"),
            "sick": rng.integers(0, 2, count),
        }
    )
    table.loc[rng.random(count) < 0.1, "age"] = None
    table.loc[rng.random(count) < 0.1, "sex"] = None
    return table


@pytest.fixture
def registry(tmp_path):
    rows().to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.toml").write_text(TOML)
    made = DatasetRegistry(tmp_path)
    made.add("rows", tmp_path / "rows.csv", "sick", raw=True, schema=DatasetSchema.load(tmp_path / "rows.toml"))
    return made


def test_ids_and_sensitive_columns_are_no_features_and_no_recipe_reads_them(registry):
    description = registry.get("rows").description()
    assert [feature["name"] for feature in description["features"]] == ["age", "wt_lb", "sex", "seen"]
    for column in ("religion", "person"):
        recipe = Preprocessing(OneHot(column), rest="drop").fit(rows().head(40)).recipe
        with pytest.raises(InvalidInput) as error:
            at_node(recipe, "n", description)
        assert error.value.code == "recipe-does-not-fit"
        with pytest.raises(KeyError):
            registry.get("rows").columns("train")[column]


def test_a_recipe_makes_at_a_node_what_it_makes_in_a_notebook(registry):
    table = rows()
    prep = Preprocessing(
        Impute("age"), Scale(["age", "wt_lb"]), OneHot("sex"), DateParts("seen"), exclude=["person", "religion"]
    ).fit(table, "sick")
    dataset = registry.get("rows")
    arrays = dataset.load(recipe=at_node(prep.recipe, "n", dataset.description()))
    assert np.array_equal(arrays.inputs[""], prep.transform(table).to_numpy())
    assert arrays.targets[""].dtype == np.int32
    assert arrays.targets[""].tolist() == table.sick.to_list()
    assert arrays.columns == tuple(prep.columns)
    with pytest.raises(NotAllowed) as error:
        dataset.load()
    assert error.value.code == "needs-preprocessing"


def test_a_gap_that_no_step_fills_is_told_by_column_and_not_by_value(registry):
    dataset = registry.get("rows")
    prep = Preprocessing(Scale("age"), rest="drop").fit(rows(), "sick")
    with pytest.raises(InvalidInput) as error:
        dataset.load(recipe=at_node(prep.recipe, "n", dataset.description()))
    assert error.value.code == "missing-values"
    assert "'age'" in error.value.hint


def test_a_mapping_that_the_owner_adopts_is_between_the_file_and_everybody(registry, tmp_path):
    before = registry.get("rows").version
    part = {
        "weight": ColumnMap("wt_lb", factor=POUND, unit="kg"),
        "sex": ColumnMap("sex", recode=(("F", "female"), ("M", "male"))),
        "faith": ColumnMap("religion"),
        "label": ColumnMap("sick"),
    }
    dataset = registry.adopt("rows", part)
    description = dataset.description()
    assert [feature["name"] for feature in description["features"]] == ["age", "weight", "sex", "seen"]
    assert description["target"]["name"] == "label"
    told = {entry["name"]: entry for entry in description["schema"]}
    assert (told["weight"]["unit"], told["weight"]["range"]) == ("kg", [0.0, 1000 * POUND])
    assert told["sex"]["categories"] == ["female", "male"]
    assert told["faith"]["role"] == "sensitive", "another name does not open a column"
    columns = dataset.columns()
    assert np.allclose(columns["weight"], rows().wt_lb * POUND)
    assert set(columns["sex"].tolist()) == {"female", "male", None}
    assert dataset.version != before
    reopened = DatasetRegistry(tmp_path).get("rows")
    assert np.allclose(reopened.columns()["weight"], rows().wt_lb * POUND)
    back = registry.adopt("rows", {})
    assert back.version == before
    assert back.schema["wt_lb"].unit == "lb"


def test_a_recipe_with_a_mapping_maps_what_its_owner_has_not(registry):
    part = {"weight": ColumnMap("wt_lb", factor=POUND)}
    common = rows().rename(columns={"wt_lb": "weight"}).assign(weight=rows().wt_lb * POUND)
    recipe = Preprocessing(Scale("weight"), Mapping({"n": part}), rest="drop").fit(common, "sick").recipe
    expected = recipe.apply({"weight": common.weight.to_numpy()})
    dataset = registry.get("rows")
    made = dataset.load(recipe=at_node(recipe, "n", dataset.description()))
    assert np.allclose(made.inputs[""], expected, atol=1e-5)
    with pytest.raises(InvalidInput) as error:
        at_node(recipe, "another", dataset.description())
    assert error.value.code == "recipe-does-not-fit"
    mapped = registry.adopt("rows", part)
    again = mapped.load(recipe=at_node(recipe, "n", mapped.description(), adopted=True))
    assert np.allclose(again.inputs[""], expected, atol=1e-5)


def test_a_mapping_that_does_not_fit_changes_nothing(registry):
    for part, code in (
        ({"weight": ColumnMap("kilos")}, "recipe-does-not-fit"),
        ({"age": ColumnMap("wt_lb")}, "duplicate-columns"),
    ):
        with pytest.raises(InvalidInput) as error:
            registry.adopt("rows", part)
        assert error.value.code == code
    assert registry.get("rows").registration.mapping == {}


def test_owners_adopt_a_mapping_on_the_command_line(registry, tmp_path, monkeypatch):
    from flaas_jupyter.communications.identity import Identity

    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    node = Identity.load_or_create(tmp_path / "node.key").node_id
    mapping = Mapping({node: {"weight": ColumnMap("wt_lb", factor=POUND)}})
    (tmp_path / "mapping.json").write_text(json.dumps(mapping.to_dict()))
    asked = CliRunner().invoke(main, ["dataset", "map", "rows", str(tmp_path / "mapping.json")], input="n\n")
    assert asked.exit_code == 1
    assert "wt_lb" in asked.output
    assert registry.get("rows").registration.mapping == {}
    done = CliRunner().invoke(main, ["dataset", "map", "rows", str(tmp_path / "mapping.json"), "--yes"])
    assert done.exit_code == 0, done.output
    assert mapping.digest[:12] in done.output
    assert "weight" in DatasetRegistry(tmp_path).get("rows").registration.mapping
    other = Mapping({"ab" * 32: {"weight": ColumnMap("wt_lb")}})
    (tmp_path / "other.json").write_text(json.dumps(other.to_dict()))
    refused = CliRunner().invoke(main, ["dataset", "map", "rows", str(tmp_path / "other.json"), "--yes"])
    assert refused.exit_code == 1
    assert "not-mapped" in refused.output


# ---- schema ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "no table"),
        ('[columns.age]\nrole = "lable"', "label"),
        ('[columns.age]\nunits = "years"', "unit"),
        ("[columns.age]\nrange = [3, 1]", "range"),
        ("[columns.age]\nrange = [1]", "range"),
        ("[columns.age]\nrange = [nan, 1]", "range"),
        ('[columns.age]\ncategories = ["a", 1]', "categories"),
        ('[columns.age]\ncategories = ["a", "a"]', "twice"),
        ('[columns.age]\ncategories = "abc"', "categories"),
        ('[columns.age]\nrange = [0, 1]\ncategories = ["a"]', "one of them"),
        ('[columns.age]\ndescription = "a\\u0007b"', "printable"),
        ("[columns.age]\nunit = 7", "unit"),
        ("not toml", "TOML"),
    ],
)
def test_a_schema_that_says_something_else_is_refused_by_column_and_key(tmp_path, text, told):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InvalidInput) as error:
        DatasetSchema.load(tmp_path / "s.toml")
    assert error.value.code == "bad-schema"
    assert told in str(error.value)


def test_a_draft_is_written_down_and_read_again(tmp_path):
    draft = DatasetSchema.infer(rows(), target="sick", id_column="person")
    (tmp_path / "s.toml").write_text(draft.to_toml())
    assert DatasetSchema.load(tmp_path / "s.toml") == draft
    assert draft["sex"].categories == ("F", "M")
    assert draft["person"] == ColumnSchema("person", "string", "id")
    assert draft["sick"].role == "label"
    assert DatasetSchema.from_list(draft.to_list()) == draft
    assert {entry["name"] for entry in draft.public()} == set(rows().columns) - {"person"}


def test_a_schema_of_too_much_is_refused():
    for columns in (
        tuple(ColumnSchema(f"c{i}") for i in range(3000)),
        tuple(ColumnSchema(f"c{i}", description="x" * 400) for i in range(400)),
    ):
        with pytest.raises(InvalidInput) as error:
            DatasetSchema(columns)
        assert error.value.code == "bad-schema"


# ---- quality --------------------------------------------------------------------------------------------------------


def test_the_report_finds_what_was_put_in_and_says_where(tmp_path):
    table = rows()
    table["one"] = 5
    table["mixed"] = ["12" if i else "unknown" for i in range(len(table))]
    table.loc[7, "wt_lb"] = 5000.0
    table.loc[9, "sex"] = "X"
    table = pd.concat([table, table.iloc[[0, 1]]], ignore_index=True)
    table.to_csv(tmp_path / "bad.csv", index=False)
    (tmp_path / "s.toml").write_text(TOML + '\n[columns.age]\ndtype = "date"\n')
    registry = DatasetRegistry(tmp_path)
    schema = DatasetSchema.load(tmp_path / "s.toml")
    found = report(registry.add("bad", tmp_path / "bad.csv", "sick", raw=True, schema=schema))
    told = {(finding.column, finding.kind): finding for finding in found.findings}
    missing = int(table.age.isna().sum())
    assert told["age", "missing"].rows == missing
    assert told["age", "missing"].first == int(np.argmax(table.age.isna())) + 1
    assert (told["wt_lb", "range"].rows, told["wt_lb", "range"].first) == (1, 8)
    assert told["wt_lb", "outliers"].first == 8
    assert told["sex", "categories"].rows == 1
    assert told["one", "constant"].rows == len(table)
    assert (told["mixed", "mixed"].rows, told["mixed", "mixed"].detail) == (2, "texts")
    assert (told[None, "duplicates"].rows, told[None, "duplicates"].first) == (2, len(table) - 1)
    assert ("age", "type") in told
    text = str(found) + json.dumps(found.to_dict())
    assert "5000" not in text
    assert "unknown" not in text


def test_a_clean_table_has_no_findings(tmp_path):
    pd.DataFrame({"x": np.linspace(0, 1, 100), "y": np.arange(100) % 2}).to_csv(tmp_path / "ok.csv", index=False)
    found = report(DatasetRegistry(tmp_path).add("ok", tmp_path / "ok.csv", "y"))
    assert found.findings == ()
    assert "nothing was found" in str(found)


def test_what_stands_in_for_an_unknown_data_set_is_said(tmp_path):
    with pytest.raises(FlaasError) as error:
        DatasetRegistry(tmp_path).adopt("none", {})
    assert error.value.code == "unknown-dataset"
