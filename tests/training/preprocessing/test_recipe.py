"""A recipe as data: it goes over the wire and back, and a hostile one is refused before anything is done."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.preprocessing import DateParts, Impute, Mapping, OneHot, Preprocessing, Scale, TextVectorize
from flaas_jupyter.training.preprocessing import Recipe
from flaas_jupyter.training.preprocessing.mapping import ColumnMap
from flaas_jupyter.training.preprocessing.values import columns_of

from .tables import patients

TABLE = patients()


def fitted() -> Preprocessing:
    return Preprocessing(
        Impute("age", "mean", indicator=True),
        Impute("sex", "most_frequent"),
        Scale(["age", "chol"]),
        OneHot(["sex", "stage"], missing="column"),
        TextVectorize("note", output="tf_idf"),
        DateParts("admitted", missing="column"),
        Mapping({"b": {"age": ColumnMap("years")}}),
    ).fit(TABLE)


def test_a_recipe_is_the_same_after_a_journey(tmp_path):
    recipe = fitted().recipe
    back = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert back == recipe
    assert back.digest == recipe.digest
    assert np.array_equal(back.apply(columns_of(TABLE)), recipe.apply(columns_of(TABLE)))
    fitted().save(tmp_path / "recipe.json")
    assert Preprocessing.load(tmp_path / "recipe.json").digest == recipe.digest


def test_rows_are_done_one_by_one_so_that_batches_make_no_difference():
    recipe, columns = fitted().recipe, columns_of(TABLE)
    whole = recipe.apply(columns)
    parts = [recipe.apply({name: values[at : at + 37] for name, values in columns.items()}) for at in range(0, 240, 37)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_fitting_again_gives_the_same_digest_and_other_rows_another():
    assert fitted().digest == fitted().digest
    assert Preprocessing(Scale("chol"), rest="drop").fit(TABLE).digest != (
        Preprocessing(Scale("chol"), rest="drop").fit(TABLE.head(100)).digest
    )


def changed(path: list, value) -> dict:
    data = copy.deepcopy(fitted().recipe.to_dict())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {**fitted().recipe.to_dict(), "more": 1},
        changed(["v"], 2),
        changed(["v"], True),
        changed(["steps"], [{"kind": "python", "code": "1"}]),
        changed(["steps", 0, "values"], [float("nan")]),
        changed(["steps", 0, "values"], [1e400]),
        changed(["steps", 0, "columns"], ["age"] * 2),
        changed(["steps", 2, "divisor"], [0.0, 1.0]),
        changed(["steps", 2, "shift"], [0.0]),
        changed(["steps", 3, "categories"], [["a", 1.0], [1.0]]),
        changed(["steps", 3, "categories"], [[], [1.0]]),
        changed(["steps", 4, "vocabulary"], ["Two words"]),
        changed(["steps", 4, "vocabulary"], ["x" * 5000]),
        changed(["steps", 4, "length"], 10**9),
        changed(["steps", 5, "format"], "%Y" * 40),
        changed(["steps", 5, "parts"], ["century"]),
        changed(["inputs"], [["age", "object"]]),
        changed(["inputs"], [["age", "number"], ["age", "number"]]),
        changed(["inputs", 0], ["a\ud800", "number"]),
        changed(["mapping"], {"v": 1, "nodes": {"b": {"age": {"source": "x"}}}}),
        changed(["steps"], [fitted().recipe.steps[0].to_dict()] * 300),
    ],
)
def test_a_hostile_recipe_is_refused(data):
    with pytest.raises(InvalidInput) as error:
        Recipe.from_dict(data)
    assert error.value.code == "bad-recipe"


def test_steps_that_do_not_go_together_are_refused():
    for data, code in (
        (changed(["inputs"], [["chol", "number"]]), "unknown-column"),
        (changed(["steps"], []), "text-left"),
        (changed(["inputs", 2], ["sex", "number"]), "wrong-column-kind"),
    ):
        with pytest.raises(InvalidInput) as error:
            Recipe.from_dict(data)
        assert error.value.code == code


def test_no_value_of_a_row_is_in_a_message():
    recipe = Preprocessing(Scale("chol"), rest="drop").fit(TABLE).recipe
    with pytest.raises(InvalidInput) as error:
        recipe.apply({"chol": np.array([1.0, "a secret"], object)})
    assert "secret" not in str(error.value)
