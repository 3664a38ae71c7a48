"""Views of a simulation and of an owner's own rows: pandas' figures, what is withheld and why, and bad input."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import flaas_jupyter as flaas
from flaas_jupyter import own_exploration
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, NotFound
from flaas_jupyter.exploration import PARTS, Exploration
from flaas_jupyter.exploration.describing import columns_of, level_of, nodes_of
from flaas_jupyter.exploration.views import grid, round_step
from flaas_jupyter.home import Home
from flaas_jupyter.simulation.analytics import AnalyticsOptions, SimulatedSource
from flaas_jupyter.simulation.exploration import SimulatedExplored

ROWS = 900
CLIENTS = 40
"""So many that masks, which cancel, are left away, where a test is not about them."""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS),
            "income": rng.lognormal(7.5, 0.6, ROWS),
            "height": rng.normal(170, 10, ROWS),
            "ill": (rng.random(ROWS) < 0.2).astype(int),
        }
    )


def exploration(table: pd.DataFrame, **options) -> Exploration:
    return flaas.simulate(table.drop(columns="ill"), table.ill, clients=3, seed=1, **options).explore()


@pytest.fixture
def explored(table):
    return exploration(table, analytics_policy=flaas.ReleasePolicy())


def column(view):
    return view.to_dict()["column"]


def edges_of(found):
    edges = [math.inf if edge is None else edge for edge in found["edges"]]
    return [-math.inf, *edges[1:]] if found["edges"][0] is None else edges


# ---- right ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["age", "income", "height"])
def test_a_distribution_is_numpys_in_the_bins_that_are_shown(explored, table, name):
    found = column(explored.column(name))
    assert found["counts"] == np.histogram(table[name], edges_of(found))[0].tolist()
    assert sum(found["counts"]) == ROWS
    assert all(count >= 10 for count in found["counts"]), "smaller bins are told with their neighbours"
    assert found["summary"]["mean"] == pytest.approx(table[name].mean())
    assert found["summary"]["std"] == pytest.approx(table[name].std())
    assert found["summary"]["count"] == ROWS
    assert abs(found["summary"]["median"] - table[name].median()) <= found["bounds_error"] + 1e-9
    assert {len(found["counts"]), len(found["edges"]) - 1} == {len(found["suppressed"])}


def test_merged_bins_say_that_they_are(explored):
    found = column(explored.column("income"))
    wide = [place for place, each in enumerate(np.diff(edges_of(found))) if each > min(np.diff(edges_of(found))) * 1.5]
    assert wide
    assert all("together" in found["reasons"][str(place)] for place in wide)
    assert not any(found["suppressed"])


def test_fewer_bins_are_sums_of_the_same_and_ask_nothing_that_could_be_subtracted(explored, table):
    fine = column(explored.column("height"))
    for bins in (5, 8, 3):
        coarse = column(explored.column("height", bins=bins))
        assert len(coarse["counts"]) <= bins + 2
        assert set(coarse["edges"]) <= set(fine["edges"])
        assert coarse["counts"] == np.histogram(table.height, edges_of(coarse))[0].tolist()
    part = column(explored.column("height", bounds=(160, 180)))
    assert sum(part["counts"]) < ROWS
    assert set(part["edges"]) <= set(fine["edges"])


def test_whole_numbers_have_a_bin_each_and_a_constant_is_one_bin():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"ward": rng.integers(0, 4, 200), "one": np.ones(200), "ill": rng.integers(0, 2, 200)})
    found = exploration(table)
    wards = column(found.column("ward"))
    assert wards["edges"] == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert wards["counts"] == table.ward.value_counts().sort_index().tolist()
    assert column(found.column("one"))["counts"] == [200]


def test_labels_missing_and_correlations(explored, table):
    labels = explored.labels().to_dict()["labels"]
    assert labels["classes"] == ["0", "1"]
    assert labels["counts"] == table.ill.value_counts().sort_index().tolist()
    assert column(explored.column("ill"))["counts"] == labels["counts"]
    missing = explored.missing().to_dict()["missing"]
    assert [(each["column"], each["count"]) for each in missing] == [(name, 0) for name in table.columns]
    wanted = table[["age", "height"]].corr()
    np.testing.assert_allclose(explored.correlations(["age", "height"]).table.to_numpy(), wanted, atol=1e-9)
    assert explored.correlations(["age"]).table.to_numpy().tolist() == [[1.0]]


def test_every_view_is_json_a_table_and_a_chart(explored):
    import matplotlib

    matplotlib.use("Agg")
    for part in PARTS:
        view = explored.view(part, **({"name": "age"} if part == "column" else {}))
        assert json.loads(json.dumps(view.to_dict(), allow_nan=False))["part"] == part
        assert view.table.shape[0] > 0
        assert view.title in repr(view)
        assert "<table" in view._repr_html_()
        if part in ("overview", "nodes"):
            with pytest.raises(InvalidInput, match="table of words"):
                view.plot()
        else:
            assert view.plot() is not None


def test_names_are_escaped_in_html():
    table = pd.DataFrame({"<b>x</b>": np.arange(60.0), "ill": np.arange(60) % 2})
    found = exploration(table)
    assert "<b>x" not in found.overview()._repr_html_()
    assert "<b>x" not in found.column("<b>x</b>")._repr_html_()


# ---- withheld -------------------------------------------------------------------------------------------------------


def test_small_classes_are_withheld_with_a_reason():
    table = pd.DataFrame({"x": np.arange(200.0), "ill": np.r_[np.zeros(195, int), np.ones(5, int)]})
    view = exploration(table).labels()
    labels = view.to_dict()["labels"]
    assert labels["counts"] == [None, None], "the other class would give the small one away"
    assert labels["suppressed"] == [True, True]
    assert "fewer than 10" in labels["reasons"]["1"]
    assert view.suppressed
    assert any("fewer than 10" in reason for reason in view.reasons)


def test_a_federation_of_few_rows_shows_nothing_and_says_why():
    table = pd.DataFrame({"x": np.arange(6.0), "ill": [0, 1, 0, 1, 0, 1]})
    found = exploration(table)
    seen = column(found.column("x"))
    assert seen["counts"] == []
    assert seen["reasons"][""]
    assert set(seen["summary"].values()) == {None}
    missing = found.missing().to_dict()["missing"][0]
    assert (missing["count"], missing["suppressed"]) == (None, True)
    assert missing["reason"]
    assert found.drift().to_dict()["drift"][0]["distance"] is None


# ---- with differential privacy --------------------------------------------------------------------------------------


def test_owners_who_require_privacy_are_asked_with_epsilon_and_limits(table):
    policy = flaas.ReleasePolicy(privacy="required")
    found = exploration(table, analytics_policy=policy, analytics_epsilon=8.0)
    assert found.level == "private"
    with pytest.raises(NotAllowed) as caught:
        found.column("age")
    assert caught.value.code == "epsilon-needed"
    with pytest.raises(InvalidInput) as caught:
        found.column("age", epsilon=1.0)
    assert caught.value.code == "bounds-missing"
    assert "(0, 120)" in caught.value.hint
    seen = column(found.column("age", epsilon=2.0, bounds=(18, 90)))
    assert seen["epsilon"] == pytest.approx(2.0)
    assert seen["summary"]["min"] is None
    assert seen["summary"]["mean"] == pytest.approx(table.age.mean(), abs=3)
    truth = np.histogram(table.age, seen["edges"])[0]
    assert np.abs(truth - seen["counts"]).max() < 3 * seen["error_bound"]
    assert min(seen["counts"]) >= 0
    assert found.labels(epsilon=1.0).to_dict()["labels"]["epsilon"] == pytest.approx(1.0)
    assert found.drift().to_dict()["drift"][0]["suppressed"]
    spent = found.nodes().to_dict()["budget"][0]
    assert 1.0 < spent["spent"] <= 3.01
    assert 0 < spent["remaining"] < 8.0
    with pytest.raises(FlaasError) as caught:
        found.labels(epsilon=50.0)
    assert caught.value.code == "analytics-budget"


def test_texts_cost_epsilon_too_half_to_find_the_values_and_half_to_count_them():
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"town": rng.choice(["Ulm", "Bonn"], 6000)})
    options = AnalyticsOptions([(table, np.zeros(6000, int))], flaas.ReleasePolicy(privacy="required"), 50.0)
    names = {str(place): f"client-{place}" for place in range(3)}
    source = SimulatedSource(options, np.array_split(np.arange(6000), 3), names, 7)
    found = Exploration(SimulatedExplored(source, [2000] * 3))
    seen = column(found.column("town", epsilon=20.0))
    assert dict(zip(seen["labels"], seen["counts"], strict=True)).keys() == {"Ulm", "Bonn"}
    for label, count in zip(seen["labels"], seen["counts"], strict=True):
        assert abs(count - (table.town == label).sum()) <= 2 * seen["error_bound"]
    assert 0 < found.nodes().to_dict()["budget"][0]["spent"] <= 20.0 + 1e-6
    with pytest.raises(NotAllowed, match="differential privacy only"):
        found.column("town")


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "options", "kind", "code"),
    [
        ("secret", {}, InvalidInput, "unknown-view"),
        ("__class__", {}, InvalidInput, "unknown-view"),
        ("column", {"name": "nobody"}, NotFound, "unknown-column"),
        ("column", {"name": "age", "bins": 0}, InvalidInput, "bad-bins"),
        ("column", {"name": "age", "bins": True}, InvalidInput, "bad-bins"),
        ("column", {"name": "age", "bounds": (3, 2)}, InvalidInput, "bad-bounds"),
        ("column", {"name": "age", "bounds": "ab"}, InvalidInput, "bad-bounds"),
        ("column", {"name": "age", "bounds": (0, math.nan)}, InvalidInput, "bad-bounds"),
        ("column", {"name": "age", "epsilon": -1}, InvalidInput, "bad-epsilon"),
        ("correlations", {"columns": "age"}, InvalidInput, "bad-columns"),
        ("correlations", {"columns": ["age", "nobody"]}, NotFound, "unknown-column"),
        ("missing", {"columns": []}, InvalidInput, "bad-columns"),
    ],
)
def test_what_cannot_be_shown_is_said(explored, part, options, kind, code):
    with pytest.raises(kind) as caught:
        explored.view(part, **options)
    assert caught.value.code == code


# ---- the owner ------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(tmp_path, monkeypatch):
    home = tmp_path / "node"
    home.mkdir()
    monkeypatch.setenv("FLAAS_HOME", str(home))
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(
        {
            "who": [f"p{place}" for place in range(60)],
            "age": rng.integers(18, 90, 60),
            "town": rng.choice(["ulm", "bonn"], 60),
            "faith": rng.choice(["a", "b"], 60),
            "dose": np.where(np.arange(60) < 3, np.nan, rng.normal(size=60)),
            "seen": pd.to_datetime("2024-01-20") + pd.to_timedelta(rng.integers(0, 60, 60), "D"),
            "alive": rng.random(60) < 0.5,
            "ill": np.arange(60) % 2,
        }
    )
    rows.loc[:1, "seen"] = pd.NaT
    flaas.datasets.register(
        "people", rows, target="ill", raw=True, id_column="who", schema={"columns": {"faith": {"role": "sensitive"}}}
    )
    return rows


def test_the_owner_sees_everything_exactly(owned):
    found = flaas.explore("people")
    assert found.level == "owner"
    assert set(found.columns) == set(owned.columns)
    ages = column(found.column("age"))
    assert ages["counts"] == np.histogram(owned.age, ages["edges"])[0].tolist()
    assert (ages["summary"]["min"], ages["summary"]["max"]) == (owned.age.min(), owned.age.max())
    for name in ("town", "faith"):
        seen = column(found.column(name))
        assert dict(zip(seen["labels"], seen["counts"], strict=True)) == owned[name].value_counts().to_dict()
    months = column(found.column("seen"))
    assert months["labels"] == sorted(months["labels"])
    assert sum(months["counts"]) == 58
    assert column(found.column("alive"))["counts"] == [int((~owned.alive).sum()), int(owned.alive.sum())]
    missing = {each["column"]: each["count"] for each in found.missing().to_dict()["missing"]}
    assert (missing["dose"], missing["seen"]) == (3, 2)
    assert not found.missing().suppressed
    assert column(found.column("who"))["counts"][0] == 1
    with pytest.raises(InvalidInput, match="exactly"):
        found.labels(epsilon=1.0)


def test_anybody_else_is_told_what_they_may_do_instead(tmp_path):
    with pytest.raises(NotAllowed) as caught:
        flaas.explore("people", home=Home(tmp_path))
    assert caught.value.code == "not-the-owner"
    assert "explore()" in caught.value.hint


# ---- columns of every type -----------------------------------------------------------------------------------------


def odd_rows() -> pd.DataFrame:
    """Times of day, spans, bytes and days, each with the same 150 rows missing."""
    place = np.arange(ROWS)
    gone = place % 6 == 0
    odd = pd.DataFrame(
        {
            "x": place * 1.0,
            "tm": [datetime.time(hour, 30) for hour in place % 3],
            "span": pd.to_timedelta(place % 3, "h"),
            "code": [[b"ab", b"cd"][each] for each in place % 2],
            "day": [datetime.date(2020, 1 + each, 1) for each in place % 4],
            "when": pd.date_range("2020", periods=ROWS),
        }
    )
    for name in odd.columns[1:]:
        odd[name] = odd[name].where(~gone)
    return odd.assign(ill=place % 2)


def odd_exploration(where: str, home: Path) -> Exploration:
    odd = odd_rows()
    if where == "simulation":
        return flaas.simulate(odd.drop(columns="ill"), odd.ill, clients=CLIENTS, raw=True).explore()
    fixed = pa.Table.from_pandas(odd, preserve_index=False)
    fixed = fixed.set_column(3, "code", fixed["code"].cast(pa.binary(2)))
    flaas.datasets.register("odd", fixed, target="ill", raw=True)
    return flaas.explore("odd")


@pytest.mark.parametrize("where", ["own", "simulation"])
def test_one_column_of_an_odd_type_does_not_spoil_the_views_of_all(where, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    odd, found = odd_rows(), odd_exploration(where, tmp_path)
    missing = {each["column"]: each["count"] for each in found.missing().to_dict()["missing"]}
    assert missing == odd.isna().sum().to_dict()
    assert list(found.correlations().table.columns) == ["x", "ill"]
    kinds = {each["name"]: each["kind"] for each in found.overview().to_dict()["columns"]}
    assert kinds == dict.fromkeys(odd.columns, "text") | {"x": "number", "ill": "label"}
    seen = {name: column(found.column(name)) for name in ("tm", "span", "code", "day", "when")}
    assert sorted(seen["tm"]["labels"]) == ["00:30:00", "01:30:00", "02:30:00"]
    assert sorted(seen["span"]["labels"]) == ["0:00:00", "1:00:00", "2:00:00"]
    assert sorted(seen["code"]["labels"]) == ["ab", "cd"]
    assert seen["day"]["labels"] == ["2020-01", "2020-02", "2020-03", "2020-04"]
    months = odd.when.dropna().dt.strftime("%Y-%m").value_counts().sort_index()
    assert seen["when"]["labels"] == months.index.tolist()
    assert seen["when"]["counts"] == months.tolist()


def test_a_simulation_names_types_as_nodes_do():
    odd = odd_rows()
    odd["tz"] = pd.date_range("2020", periods=ROWS, tz="Europe/Berlin")
    simulated = flaas.simulate(odd.drop(columns="ill"), odd.ill, clients=CLIENTS, raw=True)
    told = {each["name"]: each["dtype"] for each in simulated.explore().overview().to_dict()["columns"]}
    features = simulated.schema[simulated.schema.role == "feature"]
    named = dict(zip(features.name, features.dtype, strict=True))
    assert {name: told[name] for name in named} == named
    assert (told["span"], told["code"], told["day"]) == ("duration", "string", "date")
    assert told["when"] == told["tz"] == "timestamp"


def test_a_client_without_a_single_date_does_not_spoil_those_of_the_others():
    days = [datetime.date(2020, 1 + each % 4, 1) for each in range(ROWS)]
    tables = [pd.DataFrame({"day": days}), pd.DataFrame({"day": days}), pd.DataFrame({"day": [None] * 30})]
    clients = [(table, np.arange(len(table)) % 2) for table in tables]
    seen = column(flaas.simulate(clients=clients, raw=True).explore().column("day"))
    assert (seen["labels"][0], sum(seen["counts"])) == ("2020-01", 2 * ROWS)


def test_a_column_of_no_declared_type_is_counted_and_not_measured(explored):
    explored.described.columns[1]["dtype"] = ""
    assert [each["count"] for each in explored.missing().to_dict()["missing"]] == [0, 0, 0, 0]
    assert "income" not in explored.correlations().table.columns


@pytest.mark.parametrize("ask", ["categories", "vocabulary", "fit"])
def test_which_dates_there_are_is_not_looked_for(ask):
    odd = odd_rows()
    simulated = flaas.simulate(odd.drop(columns="ill"), odd.ill, clients=CLIENTS, raw=True)
    asked = {
        "categories": simulated.analytics.categories,
        "vocabulary": simulated.analytics.vocabulary,
        "fit": lambda name: flaas.Preprocessing(flaas.OneHot(name)).fit(simulated),
    }[ask]
    for name in ("day", "when"):
        with pytest.raises(InvalidInput) as caught:
            asked(name)
        assert caught.value.code == "wrong-column-kind"
        assert name in caught.value.message
        assert "DateParts" in caught.value.hint


def test_times_spans_and_bytes_are_categories_and_not_among_what_is_measured():
    odd = odd_rows()
    simulated = flaas.simulate(odd.drop(columns="ill"), odd.ill, clients=CLIENTS, raw=True)
    assert simulated.analytics.mean().index.tolist() == ["x", "ill"]
    names = ["tm", "span", "code"]
    counts = {name: simulated.analytics.categories(name) for name in names}
    assert set(counts["span"].index) == {"0:00:00", "1:00:00", "2:00:00"}
    raw = odd.drop(columns=["ill", "day", "when"])
    steps = flaas.OneHot(names)
    fitted = flaas.Preprocessing(steps, exclude=["day", "when"]).fit(simulated)
    assert fitted.columns == flaas.Preprocessing(steps).fit(raw).columns
    assert fitted.transform(raw).drop(columns="x").to_numpy().sum(axis=1).tolist() == [
        0.0 if place % 6 == 0 else 3.0 for place in range(ROWS)
    ]


# ---- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "step"), [(0.9, 1), (1, 1), (1.01, 2), (2.4, 5), (6, 10), (0.03, 0.05), (7e6, 1e7)])
def test_steps_are_round(width, step):
    assert round_step(width) == pytest.approx(step)


def test_the_grid_does_not_move_with_the_last_digits_of_the_mean():
    number = {"name": "x", "dtype": "float64", "classes": None, "range": None}
    first = grid(number, 53.123456, 9.87)
    assert grid(number, 53.123457, 9.8700001) == first
    assert grid(number, math.nan, math.nan) is None
    assert grid({**number, "range": [0, 120]}, math.nan, math.nan)[0] == 0
    assert grid(number, 5.0, 0.0) == [4.5, 5.5]


def holder(name, operations, columns=None):
    about = {"node": name * 8, "node_name": name, "organisation": name, "rows": 40, "online": True}
    return {**about, "operations": operations, "columns": columns}


def test_levels_and_differences_come_from_what_nodes_have_told():
    assert level_of(None) == level_of(["train"]) == "schema"
    assert level_of(["train", "explore"]) == "aggregates"
    assert level_of(["explore", "explore-private"]) == "private"
    assert level_of(["train", "explore-nothing"]) == "nothing"
    features = [{"name": "age", "dtype": "int64", "shape": []}, {"name": "x", "dtype": "float32", "shape": [2]}]
    other = {"features": [{"name": "age", "dtype": "float64", "shape": []}], "target": None, "schema": None}
    entry = {
        "nodes": [holder("a", ["explore"]), holder("b", [], other), holder("c", ["explore-nothing"])],
        "features": features,
        "target": {"name": "ill", "dtype": "int64", "classes": 2},
        "schema": [{"name": "age", "unit": "years", "range": [0, 120]}, {"name": "id", "role": "id"}],
    }
    columns = {each["name"]: each for each in columns_of(entry)}
    assert list(columns) == ["age", "x[0]", "x[1]", "ill"]
    assert columns["age"]["unit"] == "years"
    assert {"node": "b", "field": "dtype", "value": "float64"} in columns["age"]["differences"]
    assert columns["ill"]["differences"] == [{"node": "b", "field": "absent", "value": True}]
    assert [node["rows"] for node in nodes_of(entry)] == [40, 40, None]


def test_a_refused_column_leaves_the_others(owned, monkeypatch):
    answer = own_exploration._OwnQuery.step

    def refusing(query, statistic, *args, **options):
        if any(name in str(statistic) for name in refused):
            raise NotAllowed("north tells nothing of it.", code="query-differs-by-few")
        return answer(query, statistic, *args, **options)

    monkeypatch.setattr(own_exploration._OwnQuery, "step", refusing)
    refused = ["town"]
    told = {each["column"]: each for each in flaas.explore("people").missing().to_dict()["missing"]}
    assert told["town"] == {
        "column": "town", "count": None, "share": None, "suppressed": True, "reason": "north tells nothing of it.",
    }  # fmt: skip
    assert (told["dose"]["count"], told["seen"]["count"]) == (3, 2)
    refused = [""]
    with pytest.raises(NotAllowed, match="north tells nothing"):
        flaas.explore("people").missing()
