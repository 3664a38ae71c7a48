"""Where nodes' columns differ, and the mapping that is suggested."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.harmonising import differences, suggest
from flaas_jupyter.training.preprocessing import Mapping
from flaas_jupyter.training.preprocessing.mapping import ColumnMap
from flaas_jupyter.units import conversion

COMMON = [
    {"name": "age", "dtype": "int64"},
    {"name": "weight", "dtype": "float64", "unit": "kg"},
    {"name": "sex", "dtype": "string", "categories": ["female", "male"]},
    {"name": "temperature", "dtype": "float64", "unit": "°C"},
    {"name": "glucose", "dtype": "float64", "unit": "mmol/L"},
]
OTHER = [
    {"name": "Age", "dtype": "float64"},
    {"name": "weight_lb", "dtype": "float64", "unit": "lb"},
    {"name": "sex", "dtype": "string", "categories": ["F", "M"]},
    {"name": "temperature", "dtype": "float64", "unit": "F"},
    {"name": "glucose", "dtype": "float64", "unit": "mg/dL"},
    {"name": "extra", "dtype": "string"},
]
NODES = {"a": COMMON, "b": OTHER, "c": COMMON}
NAMES = {"a": "north", "b": "south", "c": "west"}


def test_differences_are_shown_side_by_side():
    table = differences(NODES, NAMES).set_index(["column", "field"])
    assert list(table.columns) == ["north", "south", "west"]
    assert table.loc["weight", "absent"].to_list() == ["", "absent", ""]
    assert table.loc["temperature", "unit"].to_list() == ["°C", "F", "°C"]
    assert table.loc["sex", "categories"].to_list() == [("female", "male"), ("F", "M"), ("female", "male")]
    assert differences({"a": COMMON, "c": COMMON}, NAMES).empty


def test_names_units_and_codes_are_brought_together():
    mapping = suggest(NODES, NAMES)
    assert set(mapping.nodes) == {"b"}
    south = mapping.nodes["b"]
    assert south["age"] == ColumnMap("Age")
    assert south["weight"] == ColumnMap("weight_lb", factor=0.45359237, unit="kg")
    assert south["sex"].recode == (("F", "female"), ("M", "male"))
    assert south["temperature"].factor * 98.6 + south["temperature"].offset == pytest.approx(37.0)
    assert south["glucose"].factor * 90 == pytest.approx(4.9957, abs=1e-3)
    assert mapping.unresolved == ("south: 'extra' is at no other node",)
    assert len(mapping.table) == 5


def test_what_is_not_clear_is_left_to_people():
    codes = [{"name": "sex", "dtype": "int64", "categories": [1, 2]}]
    texts = [{"name": "sex", "dtype": "string", "categories": ["female", "male"]}]
    mapping = suggest({"a": texts, "b": codes, "c": texts}, NAMES)
    assert "sex" not in mapping.nodes.get("b", {}) or not mapping.nodes["b"]["sex"].recode
    assert "no code is known" in mapping.unresolved[0]
    strange = [{"name": "dose", "dtype": "float64", "unit": "spoons"}]
    plain = [{"name": "dose", "dtype": "float64", "unit": "ml"}]
    assert "no factor" in suggest({"a": plain, "b": strange, "c": plain}, NAMES).unresolved[0]
    far = [{"name": "dose", "dtype": "float64", "range": [0, 2000]}]
    near = [{"name": "dose", "dtype": "float64", "range": [0, 2]}]
    assert "declare the units" in suggest({"a": near, "b": far, "c": near}, NAMES).unresolved[0]


@pytest.mark.parametrize(
    ("unit", "wanted", "about", "value", "result"),
    [
        ("lb", "kg", "", 10.0, 4.5359237),
        ("Inches", "cm", "", 10.0, 25.4),
        ("°F", "°C", "", 212.0, 100.0),
        ("K", "C", "", 273.15, 0.0),
        ("mg/dL", "mmol/L", "total cholesterol", 200.0, 5.1726),
        ("umol/L", "mg/dL", "creatinine", 88.4, 1.0),
        ("%", "ratio", "", 50.0, 0.5),
        ("days", "h", "", 2.0, 48.0),
        ("mmHg", "kPa", "", 120.0, 15.9987),
    ],
)
def test_units_are_turned_into_one_another(unit, wanted, about, value, result):
    factor, offset = conversion(unit, wanted, about)
    assert factor * value + offset == pytest.approx(result, rel=1e-3)
    back = conversion(wanted, unit, about)
    assert back[0] * result + back[1] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("unit", "wanted"), [("lb", "cm"), ("mg/dL", "mmol/L"), ("spoons", "ml"), ("F", "kg")])
def test_units_of_other_things_have_no_factor(unit, wanted):
    assert conversion(unit, wanted, "something") is None


def test_a_mapping_is_known_by_what_is_in_it_and_recodes_kinds():
    mapping = Mapping({"b": {"sex": ColumnMap("s", recode=((1, "f"), (2, "m"))), "w": ColumnMap("w", 2)}})
    same = Mapping({"b": {"sex": ColumnMap("s", recode=((1.0, "f"), (2.0, "m"))), "w": ColumnMap("w", 2.0)}})
    assert mapping.digest == same.digest == Mapping.from_dict(mapping.to_dict()).digest
    made = mapping.apply({"s": np.array([1.0, 2.0, 3.0, np.nan]), "w": np.array([1, 2, 3, 4])}, "b")
    assert made["sex"].tolist() == ["f", "m", "3", None]
    assert made["w"].tolist() == [2.0, 4.0, 6.0, 8.0]
    labels = ColumnMap("y", recode=(("no", 0), ("yes", 1)))
    assert labels.values(np.array(["no", "yes"], object)).dtype == np.int64
    assert mapping.apply({"s": np.array([1.0])}, "a")["s"].tolist() == [1.0], "it says nothing of this node"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"v": 1},
        {"v": 1, "nodes": {"b": {"x": {"source": "y"}}}},
        {"v": 1, "nodes": {"b": {"x": {"source": "y", "factor": 0, "offset": 0, "recode": [], "unit": None}}}},
        {"v": 1, "nodes": {"b": {"x": {"source": "y", "factor": 2, "offset": 0, "recode": [[1, 2]], "unit": None}}}},
        {
            "v": 1,
            "nodes": {"b": {"x": {"source": "y", "factor": 1, "offset": 0, "recode": [[1, 2], [1, 3]], "unit": None}}},
        },
    ],
)
def test_a_mapping_that_is_none_is_refused(data):
    with pytest.raises(InvalidInput) as error:
        Mapping.from_dict(data)
    assert error.value.code == "bad-recipe"
