"""Explanations and performance over simulated federations: exact where exact values are known, and protected."""

from __future__ import annotations

import importlib.util

import keras
import matplotlib
import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.explaining import Settings
from flaas_jupyter.protocols.explaining.performance import Performance

matplotlib.use("agg")
ROWS = 400
FEATURES = ["income", "member", "visits", "age"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "income": rng.exponential(30.0, ROWS),
            "member": rng.integers(0, 2, ROWS),
            "visits": rng.integers(1, 6, ROWS),
            "age": rng.normal(50.0, 12.0, ROWS),
        }
    )


@pytest.fixture(scope="module")
def label(table):
    rng = np.random.default_rng(12)
    score = 0.05 * table.income + table.member - 0.03 * table.age + rng.normal(0, 0.5, ROWS)
    return pd.Series((score > 0.5).astype(int), name="bought")


@pytest.fixture
def federation(table, label):
    return flaas.simulate(table, label, clients=4, seed=1)


def network(hidden=0, units=1, activation="sigmoid", **options):
    keras.utils.set_random_seed(5)
    inputs = keras.Input((len(FEATURES),))
    net = keras.layers.Rescaling(scale=[0.02, 1.0, 0.3, 0.02])(inputs)
    if hidden:
        net = keras.layers.Dense(hidden, activation="tanh")(net)
    model = flaas.FederatedModel(inputs, keras.layers.Dense(units, activation=activation)(net), name="buyers")
    loss = "sparse_categorical_crossentropy" if units > 1 else "binary_crossentropy"
    model.compile("sgd", loss, metrics=["accuracy", *([] if units > 1 else [keras.metrics.AUC(name="auc")])], **options)
    return model


def linear_importance(model, table):
    weights = model.get_weights()[0][:, -1] * np.array([0.02, 1.0, 0.3, 0.02])
    return (weights * (table - table.mean())).abs().mean()


@pytest.mark.parametrize(("clients", "via"), [(3, "mpc"), (7, "mpc"), (3, "he")])
def test_a_linear_models_importance_is_that_of_the_pooled_rows_whoever_has_them(table, label, clients, via):
    if via == "he" and not importlib.util.find_spec("tenseal"):
        pytest.skip("TenSEAL is not installed")
    model = network()
    federation = flaas.simulate(table, label, clients=clients, partition=flaas.Dirichlet(0.5), seed=clients)
    explanation = model.explain(federation, via=via)
    wanted = linear_importance(model, table)
    np.testing.assert_allclose(explanation.global_importance[FEATURES], wanted, rtol=1e-5)
    assert explanation.global_importance.is_monotonic_decreasing
    assert explanation.rows == ROWS
    assert explanation.how == "exact (additive model)"
    assert not explanation.suppressed.any()


def test_an_uncompiled_regression_is_explained_by_its_prediction(table, federation):
    inputs = keras.Input((4,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1)(inputs))
    model.set_weights([np.array([[0.5], [-2.0], [1.0], [0.0]]), np.array([3.0])])
    explanation = model.explain(federation, output="prediction")
    wanted = (np.array([0.5, -2.0, 1.0, 0.0]) * (table - table.mean())).abs().mean()
    np.testing.assert_allclose(explanation.global_importance[FEATURES], wanted, rtol=1e-5, atol=1e-9)
    assert explanation.base_values.iloc[0] == pytest.approx(
        float(table.mean() @ np.array([0.5, -2.0, 1.0, 0.0])) + 3, rel=1e-5
    )


def test_coalitions_and_orders_agree_and_add_up(table, federation):
    model = network(hidden=6)
    exact = model.explain(federation, permutations=0)
    sampled = model.explain(federation, permutations=8)
    np.testing.assert_allclose(
        exact.global_importance[FEATURES], sampled.global_importance[FEATURES], rtol=0.15, atol=0.01
    )
    rows = flaas.explain_rows(model, table, explanation=exact, permutations=0)
    np.testing.assert_allclose(rows.abs().mean(), exact.global_importance[FEATURES], rtol=1e-6)
    prediction = model.predict(table.to_numpy("float32"), verbose=0)[:, 0]
    margin = np.log(prediction / (1 - prediction))
    np.testing.assert_allclose(rows.sum(axis=1) + rows.attrs["base_value"], margin, atol=1e-4)


def test_several_classes_each_have_their_own_figures(table, federation):
    model = network(units=3, activation="softmax")
    explanation = model.explain(federation)
    assert list(explanation.by_output) == ["class 0", "class 1", "class 2"]
    wanted = linear_importance(model, table)
    np.testing.assert_allclose(explanation.by_output.loc[FEATURES, "class 2"], wanted, rtol=1e-5)
    np.testing.assert_allclose(
        explanation.global_importance[FEATURES], explanation.by_output.loc[FEATURES].sum(axis=1), rtol=1e-12
    )
    assert len(explanation.dependence_table("member", "class 1")) == 2
    with pytest.raises(InvalidInput) as caught:
        explanation.dependence_table("member", "class 9")
    assert caught.value.code == "unknown-output"


def test_bins_average_the_shap_values_of_their_rows(table, federation):
    model = network()
    explanation = model.explain(federation)
    bins = explanation.dependence_table("visits")
    weight = model.get_weights()[0][2, 0] * 0.3
    np.testing.assert_allclose(bins["value"], [1, 2, 3, 4, 5])
    np.testing.assert_allclose(bins["shap"], weight * (bins["value"] - table.visits.mean()), rtol=1e-4, atol=1e-6)
    assert bins["rows"].tolist() == table.visits.value_counts().sort_index().tolist()
    assert (explanation.bins["rows"] >= 10).all()
    assert explanation.bins.groupby("feature")["rows"].sum().eq(ROWS).all()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_trees_are_explained_as_on_the_pooled_rows(table, label, task):
    kind = flaas.FederatedBoostingClassifier if task == "classification" else flaas.FederatedBoostingRegressor
    target = label if task == "classification" else (table.income * 0.1 + table.member).rename("spent")
    federation = flaas.simulate(table, target, clients=4, seed=1)
    trees = kind(max_iter=8, max_depth=3).fit(federation)
    explanation = trees.explain(federation)
    pooled = flaas.explain_rows(trees, table)
    np.testing.assert_allclose(explanation.global_importance[FEATURES], pooled.abs().mean()[FEATURES], rtol=1e-9)
    said = trees.decision_function(table) if task == "classification" else trees.predict(table)
    np.testing.assert_allclose(pooled.sum(axis=1) + pooled.attrs["base_value"], said, atol=1e-9)
    performance = trees.evaluate(federation)
    if task == "classification":
        assert performance["accuracy"] == pytest.approx(trees.score(table, target))
    else:
        assert performance["r2"] == pytest.approx(trees.score(table, target))
    assert not performance.suppressed.any()


# ---- protection -----------------------------------------------------------------------------------------------------


def test_bins_that_were_moved_are_left_out_and_the_importance_is_told(table, federation):
    model = network()
    ages = table.age.sort_values().to_numpy()
    edges = [0.0, float(ages[30]), float(ages[60]), 100.0]  # some rows off what the explanation counts in
    federation.analytics.histogram("age", [edges[0], 34.0 + 1.7, edges[2], edges[3]])
    explanation = model.explain(federation)
    np.testing.assert_allclose(
        explanation.global_importance[["income", "member", "visits"]],
        linear_importance(model, table)[["income", "member", "visits"]],
        rtol=1e-5,
    )
    assert explanation.global_importance.notna().all()
    if any("differ by few rows" in reason for reason in explanation.reasons):
        assert "age" not in set(explanation.bins["feature"])
    again = model.explain(federation)
    pd.testing.assert_frame_equal(again.table, explanation.table)


def test_few_rows_are_not_explained(table, label):
    few = flaas.simulate(table[:9], label[:9], partition=[np.arange(3), np.arange(3, 6), np.arange(6, 9)], seed=1)
    with pytest.raises(FlaasError) as caught:
        network().explain(few)
    assert caught.value.code in ("explain-no-background", "explain-withheld")
    with pytest.raises(NotAllowed) as withheld:
        network().evaluate(few)
    assert withheld.value.code == "performance-withheld"


def test_a_model_that_looks_at_one_row_tells_nothing_of_it(table, label, federation):
    inputs = keras.Input((4,))
    oldest = float(table.age.max())
    spike = keras.layers.Dense(1, activation="relu")(inputs)
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1)(spike))
    second = float(table.age.nlargest(2).iloc[1])
    model.set_weights(
        [np.array([[0.0], [0.0], [0.0], [1e3]]), np.array([-1e3 * (oldest + second) / 2]), np.ones((1, 1)), np.zeros(1)]
    )
    explanation = model.explain(federation)
    assert explanation.suppressed["age"]
    assert any("a few rows" in reason for reason in explanation.reasons)


def test_privacy_costs_its_budget_and_adds_noise(table, label):
    federation = flaas.simulate(table, label, clients=4, seed=1, analytics_epsilon=3.0)
    model = network()
    reference = table.sample(32, random_state=0)
    private = model.explain(federation, epsilon=2.0, bounds=(-2.0, 2.0), background=reference)
    assert private.epsilon == 2.0
    assert not len(private.bins)
    exact = model.explain(federation, background=reference)
    error = (private.global_importance - exact.global_importance).abs().max()
    assert 0 < error < 5 * private.error_bound
    with pytest.raises(NotAllowed) as caught:
        model.explain(federation, epsilon=2.9, bounds=(-2.0, 2.0), background=reference)
    assert caught.value.code == "analytics-budget"
    required = flaas.simulate(table, label, clients=4, analytics_policy=flaas.ReleasePolicy(privacy="required"))
    with pytest.raises(NotAllowed) as refused:
        model.explain(required)
    assert refused.value.code == "analytics-privacy-required"


# ---- performance ----------------------------------------------------------------------------------------------------


def test_performance_is_keras_own_on_the_pooled_rows(table, label, federation):
    model = network(hidden=4)
    wanted = model.evaluate(table.to_numpy("float32"), label, verbose=0, return_dict=True)
    found = model.evaluate(federation)
    assert dict(found) == pytest.approx(wanted, rel=1e-5)
    assert list(found) == ["loss", "accuracy", "auc"]
    assert len(found.by_client) == 4
    assert found.by_client["rows"].sum() == ROWS
    share = (found.by_client["accuracy"] * found.by_client["rows"]).sum() / ROWS
    assert share == pytest.approx(found["accuracy"], abs=2e-3)
    assert "400" in found._repr_html_()
    found.plot("accuracy")
    with pytest.raises(InvalidInput):
        found.plot("f9")


def test_several_classes_are_evaluated(table, federation):
    model = network(units=2, activation="softmax")
    found = model.evaluate(federation)
    assert set(found) == {"loss", "accuracy"}


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_the_error_about_one_row_is_not_told_and_that_about_all_rows_is(table, loss):
    """1e5 at one row and 0 elsewhere: what is left of the error without that model's own is the row's target."""
    target = 50.0 + np.arange(ROWS) % 7
    federation = flaas.simulate(table, target, clients=4, seed=1)
    oldest, second = table.age.nlargest(2).to_list()
    inputs = keras.Input((4,))
    spike = keras.layers.Dense(1, activation="relu")(inputs)
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1)(spike))
    model.compile(loss=loss)
    column = list(table.columns).index("age")
    weights = [np.eye(4)[:, [column]] * 1e5, np.array([-1e5 * (oldest + second) / 2])]
    model.set_weights([*weights, np.full((1, 1), 10.0), np.zeros(1)])
    with pytest.raises(NotAllowed) as withheld:
        model.evaluate(federation)
    assert withheld.value.code == "performance-withheld"
    assert "a few rows" in withheld.value.message
    model.set_weights([*weights, np.zeros((1, 1)), np.zeros(1)])
    wanted = target.mean() if loss == "mae" else (target**2).mean()
    assert model.evaluate(federation)["loss"] == pytest.approx(wanted, rel=1e-6)


def test_a_classifier_that_is_nearly_always_right_is_told_about(table):
    target = (table.age > table.age.median()).astype(int).to_numpy(copy=True)
    target[:3] = 1 - target[:3]
    inputs = keras.Input((4,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    column = list(table.columns).index("age")
    model.set_weights([np.eye(4)[:, [column]] * 50, np.array([-50 * float(table.age.median())])])
    assert model.evaluate(flaas.simulate(table, target, clients=4, seed=1))["accuracy"] > 0.9


def test_clients_of_few_rows_are_withheld_with_enough_others(table, label):
    sizes = [5, 60, 100, 110, 125]
    parts = np.split(np.arange(ROWS), np.cumsum(sizes)[:-1])
    found = network().evaluate(flaas.simulate(table, label, partition=parts, seed=2))
    assert found.suppressed.tolist() == [True, True, True, False, False]
    assert found.rows == ROWS
    assert found.by_client.loc[found.suppressed, "accuracy"].isna().all()


def test_owners_who_do_not_tell_are_hidden_among_three():
    statistic = Performance(columns=("a", "y"), nodes=tuple(f"{place:064x}" for place in range(5)))

    class Counted:
        names, states = ("loss",), 1

        def judge(self, columns):
            return np.array([columns["y"].sum()]), columns["y"]

        def results(self, states):
            return states

    from dataclasses import replace

    from flaas_jupyter.protocols.analytics import ReleasePolicy, release

    total = None
    for place, rows in enumerate((50, 60, 70, 80, 90)):
        teller = statistic.nodes[place] if place else ""
        bound = replace(statistic, judge=Counted(), teller=teller, smallest=10)
        vector = bound.encode(bound.local({"a": np.zeros(rows), "y": np.ones(rows)}))
        total = vector if total is None else total + vector
    opened = bound.decode(total.astype(object))
    released = release.release(opened, bound, ReleasePolicy(), statistic.nodes)
    assert np.isnan(released.counts[1:]).tolist() == [True, True, True, False, False]
    assert released.values[0, 1] == 350
    assert any("give the others away" in reason for reason in released.reasons)


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_arrays_have_numbered_features(table, label, shape):
    rows = table.to_numpy("float32").reshape(ROWS, *shape)
    federation = flaas.simulate(rows, label.to_numpy(), clients=3, seed=1)
    inputs = keras.Input(shape)
    model = flaas.FederatedModel(
        inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(inputs)), name="arrays"
    )
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    weights = model.get_weights()[0][:, 0]
    wanted = (weights * (table - table.mean())).abs().mean().to_numpy()
    found = model.explain(federation).global_importance[[f"x[{place}]" for place in range(4)]]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    local = model.evaluate(rows, label, verbose=0, return_dict=True)
    assert dict(model.evaluate(federation)) == pytest.approx(local, rel=1e-4)


# ---- raw tables -----------------------------------------------------------------------------------------------------


def test_raw_columns_are_explained_as_wholes(table, label):
    raw = table.assign(
        town=np.where(table.visits > 3, "north", np.where(table.visits > 1, "south", None)),
        age=table.age.where(table.age > 35),
    )[["income", "town", "age"]]
    federation = flaas.simulate(raw, label, clients=3, raw=True, seed=4)
    preprocessing = flaas.Preprocessing(
        flaas.Impute("age"), flaas.Scale(["income", "age"]), flaas.OneHot("town", missing="column")
    )
    preprocessing.fit(federation)
    inputs = keras.Input((len(preprocessing.columns),))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    model.fit(federation, preprocessing=preprocessing, rounds=1, verbose=0, seed=1)
    explanation = model.explain(federation)
    assert explanation.features == ["income", "town", "age"]
    labels = explanation.dependence_table("town")["label"].tolist()
    assert labels == ["north", "south", "missing"]
    matrix = preprocessing.transform(raw)
    weights = model.get_weights()[0][:, 0]
    part = matrix[["income"]].to_numpy() @ weights[:1]
    wanted = np.abs(part - part.mean()).mean()
    assert explanation.global_importance["income"] == pytest.approx(wanted, rel=1e-4)
    rows = flaas.explain_rows(model, raw, explanation=explanation)
    np.testing.assert_allclose(rows.abs().mean(), explanation.global_importance[rows.columns], rtol=1e-6)
    wanted = model.evaluate(matrix.to_numpy(), label, verbose=0, return_dict=True)
    assert dict(model.evaluate(federation)) == pytest.approx(wanted, rel=1e-5)


def raw_federation(rows=600):
    """Return a raw table, its labels, and a federation of them."""
    rng = np.random.default_rng(5)
    chol = np.where(rng.random(rows) < 0.13, np.nan, rng.normal(240.0, 40.0, rows).round())
    raw = pd.DataFrame(
        {
            "chol": chol,
            "sex": rng.choice(np.array(["f", "m", "x", None], object), rows, p=[0.38, 0.47, 0.1, 0.05]),
            "stage": rng.choice([0.1, 0.5, 2.2], rows, p=[0.2, 0.5, 0.3]),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, rows), unit="D"),
        }
    )
    label = pd.Series(rng.integers(0, 2, rows), name="sick")
    return raw, label


def prepared_model(raw, *steps):
    preprocessing = flaas.Preprocessing(*steps).fit(raw)
    keras.utils.set_random_seed(5)
    inputs = keras.Input((len(preprocessing.columns),))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return model, preprocessing


def importance_on_the_matrix(model, preprocessing, raw):
    matrix = preprocessing.transform(raw).astype(float)
    parts = (matrix - matrix.mean()) * model.get_weights()[0][:, 0]
    return parts.T.groupby(lambda name: name.split("=")[0].split(".")[0]).sum().T.abs().mean()


def test_a_linear_model_is_explained_exactly_through_categories_codes_and_gaps():
    raw, label = raw_federation()
    raw = raw.drop(columns="seen")
    model, preprocessing = prepared_model(
        raw, flaas.Impute("chol", "median", indicator=True), flaas.Scale("chol"), flaas.OneHot(["sex", "stage"])
    )
    federation = flaas.simulate(raw, label, clients=3, raw=True, seed=4)
    explanation = model.explain(federation, preprocessing=preprocessing)
    assert explanation.how == "exact (additive model)"
    wanted = importance_on_the_matrix(model, preprocessing, raw)
    np.testing.assert_allclose(explanation.global_importance[raw.columns], wanted[raw.columns], rtol=1e-5)


def test_dates_are_explained_by_their_months_and_nothing_is_called_exact():
    raw, label = raw_federation()
    raw = raw[["chol", "seen"]].fillna({"chol": 200.0})
    model, preprocessing = prepared_model(raw, flaas.Scale("chol"), flaas.DateParts("seen"))
    federation = flaas.simulate(raw, label, clients=3, raw=True, seed=4)
    explanation = model.explain(federation, preprocessing=preprocessing)
    assert "exact" not in explanation.how
    assert "seen" in explanation.how
    wanted = importance_on_the_matrix(model, preprocessing, raw)
    np.testing.assert_allclose(explanation.global_importance[raw.columns], wanted[raw.columns], rtol=0.03)
    assert model.explain(federation, preprocessing=preprocessing, background=raw.sample(64, random_state=1)).rows == 600


def test_raw_columns_without_preprocessing_are_refused_and_so_is_a_raw_table_after_it():
    raw, label = raw_federation(300)
    model, preprocessing = prepared_model(
        raw, flaas.Impute("chol"), flaas.OneHot(["sex", "stage"]), flaas.DateParts("seen")
    )
    federation = flaas.simulate(raw, label, clients=3, raw=True, seed=4)
    with pytest.raises(InvalidInput) as caught:
        model.evaluate(federation)
    assert caught.value.code == "model-does-not-fit"
    model.fitted_preprocessing = preprocessing
    for ask in (lambda: model.evaluate(raw, label), lambda: model.predict(raw)):
        with pytest.raises(InvalidInput, match=r"export\(model\)") as caught:
            ask()
        assert caught.value.code == "model-does-not-fit"
    assert model.predict(preprocessing.transform(raw), verbose=0).shape == (300, 1)


def test_figures_come_as_a_list_if_asked_for_and_a_wrong_width_names_the_data_set(federation):
    loss, accuracy, _ = network().evaluate(federation, return_dict=False)
    assert dict(network().evaluate(federation))["loss"] == loss
    assert 0 <= accuracy <= 1
    inputs = keras.Input((9,))
    wide = flaas.FederatedModel(inputs, keras.layers.Dense(1)(inputs))
    wide.compile("sgd", "mse")
    with pytest.raises(InvalidInput, match="data set 'simulated'") as caught:
        wide.evaluate(federation)
    assert caught.value.code == "model-does-not-fit"


# ---- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"method": "lime"}, "explain-method"),
        ({"output": "logit"}, "bad-explanation-setting"),
        ({"permutations": 3}, "bad-explanation-setting"),
        ({"permutations": True}, "bad-explanation-setting"),
        ({"background_size": 2}, "bad-explanation-setting"),
        ({"max_rows": 0}, "bad-explanation-setting"),
        ({"seed": -1}, "bad-explanation-setting"),
        ({"epsilon": 1.0}, "bad-explanation-setting"),
        ({"depth": 3}, "bad-explanation-setting"),
        ({"via": "mail"}, "query-via"),
        ({"background": [[1.0, 2.0]]}, "bad-background"),
        ({"background": pd.DataFrame({"income": [1.0]})}, "bad-background"),
    ],
)
def test_settings_that_are_none_are_named(federation, settings, code):
    with pytest.raises(InvalidInput) as caught:
        network().explain(federation, **settings)
    assert caught.value.code == code


def test_what_cannot_be_explained_says_so(table, label, federation):
    model = network()
    with pytest.raises(InvalidInput) as caught:
        model.explain(table)
    assert caught.value.code == "not-a-federation"
    wide = keras.Input((9,))
    with pytest.raises(InvalidInput) as misfit:
        flaas.FederatedModel(wide, keras.layers.Dense(1)(wide)).explain(federation)
    assert misfit.value.code == "model-does-not-fit"
    first, second = keras.layers.Dense(1)(wide), keras.layers.Dense(1)(wide)
    with pytest.raises(InvalidInput) as several:
        flaas.FederatedModel(wide, [first, second]).explain(federation)
    assert several.value.code == "explain-one-output"
    with pytest.raises(InvalidInput) as untrained:
        flaas.FederatedBoostingClassifier().explain(federation)
    assert untrained.value.code == "boosting-not-fitted"
    with pytest.raises(InvalidInput) as other:
        flaas.explain_rows(object(), table)
    assert other.value.code == "explain-model"
    with pytest.raises(InvalidInput) as strange:
        model.evaluate(federation, batch_size=3)
    assert strange.value.code == "keras-arguments-with-federation"
    assert Settings().output == "margin"


def test_charts_and_html_show_what_is_there_and_name_what_is_withheld(federation):
    explanation = network(units=2, activation="softmax").explain(federation)
    assert len(explanation.bar().patches) == 2 * len(FEATURES)
    swarm = explanation.beeswarm("class 0", top=2)
    assert [text.get_text() for text in swarm.get_yticklabels()] == list(explanation.global_importance.index[1::-1])
    assert explanation.dependence("visits").get_xlabel() == "visits"
    with pytest.raises(InvalidInput) as caught:
        explanation.dependence("height")
    assert caught.value.code == "unknown-column"
    without = network().explain(federation, bins=False)
    with pytest.raises(InvalidInput) as none:
        without.dependence("visits")
    assert none.value.code == "explain-no-bins"
    without.beeswarm()
    assert "importance" in without._repr_html_()
    assert "income" in repr(without)
