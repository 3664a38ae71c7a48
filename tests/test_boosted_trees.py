"""Boosted trees as users have them: accuracy, the same model in a simulation, scikit-learn's tools, JSON, errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

import flaas_jupyter as flaas
from flaas_jupyter.boosting.answers import FederatedAnswers
from flaas_jupyter.boosting.columns import columns_of
from flaas_jupyter.errors import Conflict, InvalidInput, NotAllowed
from flaas_jupyter.protocols.analytics import ReleasePolicy, release, statistics
from flaas_jupyter.protocols.boosting import TreeEdges

ESTIMATORS = [flaas.FederatedBoostingClassifier, flaas.FederatedBoostingRegressor]


def cancer():
    return load_breast_cancer(return_X_y=True, as_frame=True)


def same(one, other):
    return json.loads(one.to_json())["ensemble"] == json.loads(other.to_json())["ensemble"]


class Nodes:
    """A federation of nodes that is nothing but their columns: what each would compute, added up and released."""

    def __init__(self, parts, minimum=10, steps=256):
        self.parts, self.policy, self.allowed = parts, ReleasePolicy(minimum_group=minimum), steps
        self.analytics, self.source = self, self
        self.names = {str(number): f"node {number}" for number in range(len(parts))}
        self.opened, self.vias, self.closed = [], [], 0

    @property
    def schema(self):
        return [
            {"name": name, "role": "target" if name == "y" else "feature", "classes": None} for name in self.parts[0]
        ]

    def open_query(self, operation, summary=None):
        self.opened.append((operation, summary))
        self.left = self.allowed
        return self

    def step(self, statistic, via="mpc"):
        if self.left == 0:
            raise NotAllowed("The query is at its last step.", code="policy-analytics-steps")
        self.left -= 1
        self.vias.append(via)
        asked = statistics.parse(json.loads(json.dumps(statistic, sort_keys=True)))
        total = sum(asked.encode(asked.local(columns)) for columns in self.parts)
        released = release.release(asked.decode(total), asked, self.policy, tuple(self.names))
        return release.Released.from_dict(json.loads(json.dumps(released.to_dict())))

    def close(self, error=None):
        self.closed += 1


def nodes(x, y, parts=3, **options):
    owner = np.random.default_rng(0).integers(0, parts, len(y))
    columns = {**{str(name): np.asarray(x[name], float) for name in x.columns}, "y": np.asarray(y, float)}
    return Nodes(
        [{name: values[owner == part] for name, values in columns.items()} for part in range(parts)], **options
    )


# ---- accuracy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "ours", "theirs", "within"),
    [
        (load_breast_cancer, flaas.FederatedBoostingClassifier, HistGradientBoostingClassifier, 0.02),
        (load_digits, flaas.FederatedBoostingClassifier, HistGradientBoostingClassifier, 0.03),
        (load_diabetes, flaas.FederatedBoostingRegressor, HistGradientBoostingRegressor, 0.05),
    ],
)
def test_it_is_as_accurate_as_scikit_learn(load, ours, theirs, within):
    x, y = load(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0)
    model = ours(max_iter=15, max_depth=4).fit(x, y)
    with threadpool_limits(1):  # on few rows its threads mostly wait for each other
        other = theirs(max_iter=15, max_depth=4, early_stopping=False).fit(x, y)
    assert model.score(x_test, y_test) >= other.score(x_test, y_test) - within
    assert model.train_loss_[-1] < model.train_loss_[0]
    assert len(model.train_loss_) == model.n_iter_ + 1 == 16


def test_missing_values_are_told_from_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = (x[:, 0] > 0).astype(int)
    x[y == 1, 1] = np.where(rng.random((y == 1).sum()) < 0.7, np.nan, x[y == 1, 1])
    x[:, 0] = 0.0  # all there is to know is whether the other one is missing
    model = flaas.FederatedBoostingClassifier(max_iter=20).fit(x, y)
    assert model.score(x, y) > 0.8
    assert model.feature_importances_[1] == 1.0
    marked = flaas.FederatedBoostingClassifier(max_iter=20, missing=-9.0).fit(np.nan_to_num(x, nan=-9.0), y)
    assert np.array_equal(marked.predict_proba(np.nan_to_num(x, nan=-9.0)), model.predict_proba(x))


def test_classes_may_be_texts_and_weights_are_by_class():
    x, y = cancer()
    labels = np.where(y == 1, "benign", "malignant")
    model = flaas.FederatedBoostingClassifier(max_iter=5).fit(x, labels)
    assert model.classes_.tolist() == ["benign", "malignant"]
    assert set(model.predict(x)) == {"benign", "malignant"}
    weighted = clone(model).set_params(class_weight={"malignant": 20.0}).fit(x, labels)
    assert (weighted.predict(x) == "malignant").sum() > (model.predict(x) == "malignant").sum()


def test_it_stops_early_and_keeps_the_best():
    x, y = load_diabetes(return_X_y=True)
    model = flaas.FederatedBoostingRegressor(
        max_iter=300,
        learning_rate=0.3,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=5,
        random_state=0,
    ).fit(x, y)
    assert model.n_iter_ < 100
    assert model.n_iter_ == np.argmin(model.validation_loss_)


def test_staged_predictions_end_with_the_prediction():
    x, y = cancer()
    model = flaas.FederatedBoostingClassifier(max_iter=5).fit(x, y)
    stages = list(model.staged_predict_proba(x))
    assert len(stages) == 5
    assert np.array_equal(stages[-1], model.predict_proba(x))
    assert np.array_equal(list(model.staged_predict(x))[-1], model.predict(x))


# ---- federations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minimum", [1, 10])
def test_nodes_train_the_model_of_the_pooled_rows(minimum):
    x, y = cancer()
    x = x.iloc[:, :8]
    federation = nodes(x, y, parts=4, minimum=minimum)
    made = flaas.FederatedBoostingClassifier(max_iter=6, max_depth=3, minimum_group=minimum, max_features=0.5)
    made.set_params(random_state=1)
    federated = clone(made).fit(federation)
    pooled = clone(made).fit(x, y)
    assert same(federated, pooled)
    assert np.array_equal(federated.predict_proba(x), pooled.predict_proba(x))
    assert federated.feature_names_in_.tolist() == list(x.columns)
    assert federation.opened[0][0] == "boosting"
    assert federation.closed == len(federation.opened) == 1


def test_a_quantity_is_predicted_over_nodes_as_over_pooled_rows():
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    made = flaas.FederatedBoostingRegressor(max_iter=6, max_depth=3)
    assert same(clone(made).fit(nodes(x, y)), clone(made).fit(x, y))


def test_several_classes_are_counted_from_the_rows():
    x, y = load_digits(return_X_y=True, as_frame=True)
    x = x.iloc[:, 8:20]
    made = flaas.FederatedBoostingClassifier(max_iter=2, max_depth=3, max_bins=8)
    federated = clone(made).fit(nodes(x, y))
    assert federated.classes_.tolist() == list(range(10))
    assert same(federated, clone(made).fit(x, y))


def test_a_simulation_trains_the_model_of_the_pooled_rows():
    x, y = cancer()
    x = x.iloc[:, :6].astype("float32")
    federation = flaas.simulate(x, y, clients=3, journal=False)
    made = flaas.FederatedBoostingClassifier(max_iter=3, max_depth=3)
    federated = clone(made).fit(federation)
    assert same(federated, clone(made).fit(x, y))
    assert federated.features_ == list(x.columns)
    assert federated.nodes_ == ["client-0", "client-1", "client-2"]


def test_arrays_without_names_are_numbered_columns():
    x, y = load_digits(return_X_y=True)
    x = x[:600, 20:44].reshape(600, 4, 6)
    federation = flaas.simulate(x, y[:600], clients=3, journal=False)
    model = flaas.FederatedBoostingClassifier(max_iter=1, max_depth=2, max_bins=4).fit(federation)
    assert model.features_[:2] == ["x[0]", "x[1]"]
    assert model.n_features_in_ == 24
    assert model.score(x.reshape(600, -1), y[:600]) > 0.4


def test_encrypted_sums_are_the_masked_sums():
    x, y = cancer()
    federation = flaas.simulate(x.iloc[:, :2], y, clients=3, journal=False)
    models = [
        flaas.FederatedBoostingClassifier(max_iter=1, max_depth=1, max_bins=8, via=via).fit(federation)
        for via in ("mpc", "he")
    ]
    assert same(*models)


def test_rows_and_columns_can_be_chosen():
    x, y = cancer()
    federation = flaas.simulate(x, y, clients=3, journal=False)
    chosen = x["mean radius"] > 13
    columns = ["mean texture", "mean area"]
    model = flaas.FederatedBoostingClassifier(max_iter=3).fit(
        federation, rows=federation.frame()["mean radius"] > 13, features=columns
    )
    pooled = flaas.FederatedBoostingClassifier(max_iter=3).fit(x.loc[chosen, columns], y[chosen])
    assert same(model, pooled)
    assert model.n_rows_ == chosen.sum()


def test_a_long_training_takes_several_queries():
    x, y = cancer()
    federation = nodes(x.iloc[:, :3], y, steps=7)
    made = flaas.FederatedBoostingClassifier(max_iter=6, max_depth=3)
    federated = clone(made).fit(federation)
    assert len(federation.opened) > 2
    assert federation.closed == len(federation.opened)
    assert same(federated, clone(made).fit(x.iloc[:, :3], y))


def test_a_node_that_comes_or_goes_is_told():
    x, y = cancer()
    federation = nodes(x.iloc[:, :3], y)
    answers = FederatedAnswers(federation, "mpc", {})
    question = TreeEdges({"mean radius": np.array([0.0, 10.0, 20.0])})
    answers.ask(question)
    federation.names = {"1": "node 1", "2": "node 2", "3": "node 3"}
    with pytest.warns(UserWarning, match="node 3"):
        answers.ask(question)


def test_a_refusal_closes_the_query():
    x, y = cancer()
    federation = nodes(x, y, steps=0)
    with pytest.raises(NotAllowed):
        flaas.FederatedBoostingClassifier().fit(federation)
    assert federation.closed == 1


def test_an_answer_of_another_shape_is_refused():
    x, y = cancer()
    federation = nodes(x, y)
    answers = FederatedAnswers(federation, "mpc", {})
    whole = federation.step
    federation.step = lambda statistic, via: whole(TreeEdges({"mean radius": np.array([0.0, 1.0])}).to_dict(), via)
    with pytest.raises(Conflict) as refused:
        answers.ask(TreeEdges({"mean radius": np.array([0.0, 10.0, 20.0])}))
    assert refused.value.code == "boosting-implausible-sum"


def test_a_condition_that_few_rows_meet_trains_nothing():
    x, y = cancer()
    federation = flaas.simulate(x, y, clients=3, journal=False)
    with pytest.raises(NotAllowed, match="fewer than 10 rows") as refused:
        flaas.FederatedBoostingClassifier().fit(federation, rows=federation.frame()["mean radius"] > 27)
    assert refused.value.code == "boosting-withheld"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": ["mean raduis"]}, "mean raduis"),
        ({"target": "z"}, "'z'"),
        ({"features": []}, "at least one"),
        ({"features": ["y"]}, "without the target"),
        ({"rows": 3}, "condition"),
        ({"rows": {"op": "system", "args": []}}, "system"),
    ],
)
def test_columns_that_are_not_there_are_named(options, words):
    x, y = cancer()
    with pytest.raises(InvalidInput, match=words):
        flaas.FederatedBoostingClassifier().fit(nodes(x, y), **options)


def test_data_without_a_target_need_one_named():
    with pytest.raises(InvalidInput, match="target"):
        columns_of([{"name": "a", "role": "feature"}])


# ---- scikit-learn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parameters_can_be_read_set_and_cloned(kind):
    model = kind(max_iter=7, missing=math.nan)
    assert clone(model).get_params()["max_iter"] == 7
    assert repr(model) == f"{kind.__name__}(max_iter=7)"
    with pytest.raises(ValueError, match="depth"):
        model.set_params(depth=3)
    assert is_classifier(model) == (kind is flaas.FederatedBoostingClassifier)
    assert is_regressor(model) != is_classifier(model)


def test_it_goes_into_pipelines_and_searches():
    x, y = cancer()
    made = flaas.FederatedBoostingClassifier(max_iter=3, max_depth=2)
    assert cross_val_score(make_pipeline(StandardScaler(), made), x, y, cv=3).min() > 0.85
    search = GridSearchCV(made, {"max_depth": [1, 2]}, cv=2).fit(x.iloc[:, :5], y)
    assert search.best_params_["max_depth"] in (1, 2)


@pytest.mark.long
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_it_keeps_to_what_scikit_learn_asks_of_estimators(kind):
    check_estimator(
        kind(max_iter=5, min_samples_leaf=1, minimum_group=1, random_state=0),
        expected_failed_checks={
            "check_dtype_object": "what is no number is an InvalidInput, a ValueError, also for objects",
            "check_supervised_y_2d": "a column is taken as what it means, without a warning",
        },
    )


# ---- kept models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[0, 1], ["a", "b"], [0, 1, 2], None])
def test_a_model_survives_its_file(tmp_path, labels):
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    x.loc[rng.random(300) < 0.1, "b"] = np.nan
    kind = ESTIMATORS[labels is None]
    y = x["a"] if labels is None else np.array(labels)[np.digitize(x["a"], np.linspace(-1, 1, len(labels) - 1))]
    model = kind(max_iter=4, missing=7.0 if labels is None else math.nan).fit(x, y)
    model.save(tmp_path / "model.json")
    read = kind.load(tmp_path / "model.json")
    assert np.array_equal(read.predict(x), model.predict(x))
    assert np.array_equal(read.feature_importances_, model.feature_importances_)
    assert read.to_json() == model.to_json()
    assert read.get_params()["max_iter"] == 4
    assert np.array_equal(read.predict(x[["c", "b", "a"]]), model.predict(x))


def spoilt(document, path, value):
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["format"], "pickle"),
        (["v"], 9),
        (["estimator"], "FederatedBoostingRegressor"),
        (["params"], {"__class__": "os.system"}),
        (["params", "max_iter"], -1),
        (["features"], ["a"]),
        (["edges"], []),
        (["edges", "x[0]"], [2.0, 1.0]),
        (["loss"], "softmax"),
        (["loss"], "squared"),
        (["classes"], [0, 0]),
        (["classes"], [0, "1"]),
        (["classes"], [[], {}]),
        (["offset"], None),
        (["rows"], "many"),
        (["train_loss"], ["x"]),
        (["ensemble"], {}),
        (["ensemble", "iterations", 0, 0, "left", 0], 0),
        (["ensemble", "iterations", 0, 0, "gain"], [0.0]),
        (["ensemble", "iterations", 0, 0, "gain"], "high"),
    ],
)
def test_a_document_that_is_no_model_is_refused(path, value):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    model = flaas.FederatedBoostingClassifier(max_iter=2, min_samples_leaf=10).fit(x, x[:, 0] > 0)
    document = json.loads(model.to_json())
    with pytest.raises(InvalidInput):
        flaas.FederatedBoostingClassifier.from_json(spoilt(document, path, value))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000])
def test_a_text_that_is_no_model_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        flaas.FederatedBoostingClassifier.from_json(text)
    assert refused.value.code == "boosting-bad-model"


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        flaas.FederatedBoostingRegressor.load(tmp_path / "none.json")


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", "high"),
        ("max_iter", 0),
        ("max_iter", 2.5),
        ("max_depth", 13),
        ("max_depth", None),
        ("max_bins", 1),
        ("max_bins", 256),
        ("min_samples_leaf", 0),
        ("min_child_weight", -1),
        ("l2_regularization", float("nan")),
        ("max_features", 0),
        ("validation_fraction", 0.9),
        ("early_stopping", "auto"),
        ("minimum_group", True),
        ("via", "plain"),
        ("class_weight", "even"),
        ("class_weight", {5: 1.0}),
        ("class_weight", {0: -1.0}),
        ("n_classes", 1),
        ("random_state", -1),
        ("edges", [0.0]),
        ("missing", "none"),
        ("edges", {"z": [0.0]}),
        ("edges", {"x[0]": [1.0, 0.0]}),
    ],
)
def test_a_parameter_that_is_not_allowed_is_named(name, value):
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(InvalidInput) as refused:
        flaas.FederatedBoostingClassifier(**{name: value}).fit(x, x[:, 0] > 0)
    assert refused.value.code in ("boosting-bad-parameter", "boosting-bad-edges")


@pytest.mark.parametrize("value", [(1, 0), (0,), "wide", (0, "x"), 3])
def test_a_target_range_that_is_none_is_refused(value):
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(InvalidInput, match="target_range"):
        flaas.FederatedBoostingRegressor(target_range=value).fit(x, x[:, 0])


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros(5), np.zeros(5), "2D"),
        (np.zeros((0, 2)), np.zeros(0), "0 sample"),
        (np.zeros((5, 0)), np.zeros(5), "0 feature"),
        (np.full((5, 2), np.inf), [0, 1, 0, 1, 0], "infinity"),
        (np.array([["a"], ["b"]]), [0, 1], "not numbers"),
        (np.zeros((5, 2)), [0, 1], "inconsistent"),
        (np.zeros((5, 2)), np.zeros((5, 2)), "1d"),
        (np.zeros((5, 2)), np.zeros(5), "one class"),
        (np.zeros((5, 2)), [0.5, 0.1, 0.2, 0.3, 0.4], "label"),
        (np.zeros((5, 2)), None, "y"),
        (np.zeros((5, 2), complex), [0, 1, 0, 1, 0], "omplex"),
        (pd.DataFrame(np.zeros((5, 2)), columns=["a", "a"]), [0, 1, 0, 1, 0], "same name"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(x, y, words):
    with pytest.raises(InvalidInput, match=words):
        flaas.FederatedBoostingClassifier().fit(x, y)


def test_a_model_without_trees_is_refused_where_it_is_used():
    model = flaas.FederatedBoostingClassifier()
    for use in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(NotFittedError):
            use(np.zeros((1, 2)))
    with pytest.raises(InvalidInput) as refused:
        model.to_json()
    assert refused.value.code == "boosting-not-fitted"


def test_rows_of_other_columns_are_refused():
    x, y = cancer()
    model = flaas.FederatedBoostingClassifier(max_iter=1).fit(x, y)
    with pytest.raises(InvalidInput, match="mean radius"):
        model.predict(x.drop(columns="mean radius"))
    with pytest.raises(InvalidInput, match="30 features"):
        model.predict(x.to_numpy()[:, :5])


def test_too_few_rows_to_split_predict_the_mean_and_say_so():
    x = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.warns(UserWarning, match="min_samples_leaf"):
        model = flaas.FederatedBoostingRegressor(min_samples_leaf=20).fit(x, x[:, 0])
    assert np.allclose(model.predict(x), x[:, 0].mean(), atol=1e-6)
