"""`VerticalModel` and `simulate_vertical` as a notebook uses them, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from sklearn.metrics import roc_auc_score
from vertical_world import ID, LABEL, bottom, federation, tables, top

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.training.vertical.label_side import evaluate
from flaas_jupyter.vertical_federation import VerticalFederation, simulate_vertical


def refused(work, code: str, match: str | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput, match=match) as error:
        work()
    assert error.value.code == code
    return error.value


@pytest.fixture(scope="module")
def trained() -> flaas.VerticalModel:
    model = flaas.VerticalModel({"telco": 3, "shop": 1}, top(7), name="loans")
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["AUC"])
    model.fit(federation(count=1500), epochs=8, batch_size=128, validation_split=0.2, seed=3, verbose=0)
    return model


# ---- using ----------------------------------------------------------------------------------------------------------


def test_the_history_is_kerass(trained):
    assert sorted(trained.history.history) == ["AUC", "loss", "val_AUC", "val_loss"]
    assert len(trained.history.history["loss"]) == 8
    assert isinstance(trained.history, keras.callbacks.History)


def test_new_people_are_predicted_by_id(trained):
    parties = federation(seed=9, count=800)
    scores = trained.predict(parties)
    assert list(scores.columns) == ["score"]
    label = tables(seed=9, count=800)["bank"].set_index(ID)[LABEL]
    assert len(scores) == parties.alignment["common"].iloc[0]
    assert roc_auc_score(label.loc[scores.index], scores["score"]) > 0.75


def test_evaluation_is_of_the_predicted_rows(trained):
    parties = federation(seed=9, count=800)
    found = trained.evaluate(parties, return_dict=True)
    scores = trained.predict(parties)
    label = tables(seed=9, count=800)["bank"].set_index(ID)[LABEL].loc[scores.index]
    assert found["AUC"] == pytest.approx(roc_auc_score(label, scores["score"]), abs=0.01)
    assert trained.evaluate(parties) == list(found.values())


def test_people_without_labels_are_predicted_and_not_evaluated(trained):
    given = tables(seed=9, count=200)
    given["bank"] = given["bank"].drop(columns=LABEL)
    parties = simulate_vertical(given, id=ID, label=("bank", None))
    assert len(trained.predict(parties)) == len(trained.predict(federation(seed=9, count=200)))
    refused(lambda: trained.evaluate(parties), "no-label")
    refused(lambda: trained.fit(parties, verbose=0), "no-label")


def test_the_scores_are_the_label_holders_alone(trained):
    parties = federation(seed=9, count=200)
    trained.predict(parties)
    sent = {(message.sender, message.receiver, message.kind) for message in parties.messages}
    assert sent == {("telco", "bank", "predict/embedding"), ("shop", "bank", "predict/embedding")}


def test_the_report_has_sizes_bytes_leak_and_statement(trained):
    report = trained.vertical_report
    assert report.mode == "oneway"
    assert report.label_leak == 0.5
    parties = report.parties
    assert parties["rows"].to_dict() == {"bank": 1425, "telco": 1425, "shop": 1490}
    assert set(parties["common"]) == {report.common}
    assert parties.loc["telco", "bytes_sent"] == 2 + report.common * 3 * 4
    assert parties.loc["bank", "bytes_received"] == parties["bytes_sent"].sum()
    assert sorted(report.rounds.columns) == ["AUC", "loss", "seconds", "val_AUC", "val_loss"]
    assert report.leakage.index.tolist() == ["all parties", "label holder", "feature parties", "others"]
    assert "<table" in report._repr_html_()
    assert "0.5: nothing that depends on labels was sent" in repr(report)


def test_it_is_saved_and_loaded_whole(trained, tmp_path):
    trained.save(tmp_path / "loans.flaas")
    loaded = flaas.VerticalModel.load(tmp_path / "loans.flaas")
    parties = federation(seed=9, count=300)
    pd.testing.assert_frame_equal(loaded.predict(parties), trained.predict(parties))
    assert loaded.evaluate(parties) == pytest.approx(trained.evaluate(parties))
    assert loaded.name == "loans"
    assert loaded.vertical_report.to_dict() == trained.vertical_report.to_dict()
    assert list(tmp_path.iterdir()) == [tmp_path / "loans.flaas"]


def test_training_goes_on_from_where_it_was(tmp_path):
    model = flaas.VerticalModel({"telco": bottom(4, 3)}, top(6), mode="split")
    model.compile("adam", "binary_crossentropy")
    parties = federation(parties=2)
    fit = {"batch_size": 256, "seed": 1, "verbose": 0, "label_consent": True}
    first = model.fit(parties, **fit).history["loss"][0]
    model.save(tmp_path / "half.flaas")
    again = flaas.VerticalModel.load(tmp_path / "half.flaas")
    assert again.fit(parties, **fit).history["loss"][0] < first


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "x.flaas"
    refused(lambda: flaas.VerticalModel.load(path), "bad-vertical-file")
    path.write_bytes(b"nothing")
    refused(lambda: flaas.VerticalModel.load(path), "bad-vertical-file")


# ---- federations ----------------------------------------------------------------------------------------------------


def test_a_federation_tells_who_has_what():
    parties = federation()
    assert isinstance(parties, VerticalFederation)
    assert parties.parties == ("bank", "telco", "shop")
    assert parties.clients["role"].tolist() == ["label holder", "feature party", "feature party"]
    assert parties.clients["columns"].tolist() == [3, 4, 2]
    schema = parties.schema.set_index("name")
    assert schema.loc[LABEL, "role"] == "label"
    assert schema.loc["t0"].tolist() == ["telco", "float64", "feature"]
    assert (parties.schema["role"] == "id").sum() == 3
    assert parties.alignment["ids"].tolist() == [570, 570, 590]
    assert parties.alignment["share"].between(0.8, 1).all()
    assert "in common" in repr(parties)


def test_ids_may_have_other_names_at_each_party():
    given = tables(parties=2)
    given["telco"] = given["telco"].rename(columns={ID: "msisdn"})
    parties = simulate_vertical(given, id={"bank": ID, "telco": "msisdn"}, label=("bank", LABEL))
    assert parties.alignment["common"].tolist() == [540, 540]


def test_the_label_holder_need_not_come_first():
    given = dict(reversed(tables(parties=3).items()))
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    assert parties.parties == ("bank", "shop", "telco")


def test_a_label_holder_may_have_labels_only():
    given = tables(parties=2)
    given["bank"] = given["bank"][[ID, LABEL]]
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    model = flaas.VerticalModel({"telco": 3}, top(3))
    model.compile("adam", "binary_crossentropy")
    model.fit(parties, seed=1, verbose=0)
    assert len(model.predict(parties)) == 540


def change(party: str, work) -> dict[str, pd.DataFrame]:
    given = tables(parties=2)
    given[party] = work(given[party])
    return given


@pytest.mark.parametrize(
    ("given", "label", "code", "match"),
    [
        (change("telco", lambda f: f.assign(b0=1.0)), ("bank", LABEL), "overlapping-columns", "'b0' is at 'bank' and"),
        (change("telco", lambda f: f.assign(**{LABEL: 1})), ("bank", LABEL), "overlapping-columns", LABEL),
        (change("telco", lambda f: f.drop(columns=ID)), ("bank", LABEL), "missing-id-column", "'telco' has no column"),
        (change("telco", lambda f: f[[ID]]), ("bank", LABEL), "no-columns", "'telco' has no columns besides"),
        (tables(parties=2), ("bank", "wealth"), "no-label", "nor has any other party"),
        (tables(parties=2), ("telco", LABEL), "no-label", "'bank' has it"),
        (tables(parties=2), ("insurer", LABEL), "no-label", "the parties are 'bank', 'telco'"),
        (tables(parties=2), "default", "no-label", "must be"),
        (tables(parties=1), ("bank", LABEL), "bad-parties", "two parties"),
        (change("telco", lambda f: pd.concat([f, f[:3]])), ("bank", LABEL), "duplicate-ids", "Party 'telco': 3 of 573"),
        (change("telco", lambda f: f.assign(t0="a")), ("bank", LABEL), "non-numeric", "Party 'telco': Column 't0'"),
        (change("bank", lambda f: f.assign(b0=np.nan)), ("bank", LABEL), "missing-values", "570 missing"),
    ],
)
def test_tables_that_will_not_do_are_refused(given, label, code, match):
    refused(lambda: simulate_vertical(given, id=ID, label=label), code, match)


def test_too_few_people_in_common_end_the_run():
    parties = federation(parties=2, minimum_intersection=541)
    model = flaas.VerticalModel({"telco": 3}, top(6))
    model.compile("adam", "binary_crossentropy")
    refused(lambda: model.fit(parties, verbose=0), "too-few-common")
    refused(lambda: model.fit(federation(parties=2), verbose=0, minimum_intersection=541), "too-few-common")


# ---- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: flaas.VerticalModel({"telco": 3}, top(6), mode="twoway"), "mode is 'twoway'"),
        (lambda: flaas.VerticalModel([3], top(6)), "a model by party"),
        (lambda: flaas.VerticalModel({"telco": "model"}, top(6)), "the bottom of 'telco' is 'model'"),
        (lambda: flaas.VerticalModel({"telco": 0}, top(6)), "the bottom of 'telco' is 0"),
        (lambda: flaas.VerticalModel({"telco": 3}, top(6), mode="split"), "the bottom of 'telco' is 3"),
        (lambda: flaas.VerticalModel({"telco": 3}), "top is None"),
        (lambda: flaas.VerticalModel({}, top(6), mode="linear_he"), "has no top"),
        (lambda: flaas.VerticalModel({"telco": 3}, top(6), encoder="magic"), "encoder is 'magic'"),
        (lambda: flaas.VerticalModel({"telco": 3}, top(6), gradient_protection="max_norm"), "no gradients of rows"),
        (
            lambda: flaas.VerticalModel({"telco": keras.Sequential([layers.Input((4, 2)), layers.Dense(1)])}, top(6)),
            r"rows \(columns,\)",
        ),
    ],
)
def test_models_that_will_not_do_are_refused(make, match):
    refused(make, "bad-vertical-model", match)


@pytest.mark.parametrize(
    ("bottoms", "width", "mode", "code", "match"),
    [
        ({"telco": 3, "insurer": 2}, 6, "oneway", "unknown-party", "bottom for 'insurer'; the parties are 'bank'"),
        ({"telco": bottom(5, 3)}, 6, "oneway", "bottom-does-not-fit", "takes 5 columns; the party has 4"),
        ({"bank": bottom(2, 2), "telco": 3}, 5, "oneway", "bottom-does-not-fit", "'bank' takes 2 columns"),
        ({"telco": 3}, 9, "oneway", "top-does-not-fit", "3 columns of 'bank' \\+ 3 of 'telco' = 6"),
        ({"bank": 2, "telco": 3}, 6, "oneway", "bad-vertical-model", "the label holder 'bank' has 2"),
        ({}, 6, "split", "missing-bottom", "'telco' has no bottom"),
    ],
)
def test_models_that_do_not_fit_the_federation_are_refused(bottoms, width, mode, code, match):
    model = flaas.VerticalModel(bottoms, top(width), mode=mode)
    model.compile("adam", "binary_crossentropy")
    refused(lambda: model.fit(federation(parties=2), verbose=0), code, match)


def test_what_comes_too_early_or_is_of_the_wrong_kind_is_refused():
    model = flaas.VerticalModel({"telco": 3}, top(6))
    refused(lambda: model.fit(federation(parties=2)), "not-compiled")
    refused(lambda: model.compile("adam"), "not-compiled")
    model.compile("adam", "binary_crossentropy")
    refused(lambda: model.predict(federation(parties=2)), "not-fitted")
    refused(lambda: model.fit(np.zeros((3, 2))), "not-a-federation", "A ndarray is not")
    refused(lambda: model.fit(federation(parties=2), epochs=2, rounds=2), "bad-setting")
    refused(lambda: model.fit(federation(parties=2), epochs=0, verbose=0), "bad-plan", "epochs is 0")
    refused(lambda: model.fit(federation(parties=2), validation_split=1, verbose=0), "bad-plan", "validation_split")


def test_labels_that_the_loss_does_not_know_are_refused():
    given = tables(parties=2)
    given["bank"][LABEL] = np.arange(len(given["bank"])) % 3
    model = flaas.VerticalModel({"telco": 3}, top(6))
    model.compile("adam", "binary_crossentropy")
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    refused(lambda: model.fit(parties, verbose=0), "model-does-not-fit", r"labels are 0\.\.2")


def test_an_embedding_as_wide_as_the_columns_is_warned_of():
    model = flaas.VerticalModel({"telco": bottom(4, 6)}, top(9))
    model.compile("adam", "binary_crossentropy")
    with pytest.warns(UserWarning, match="'telco' has 6 numbers for a row of 4 columns"):
        model.fit(federation(parties=2), seed=1, verbose=0)


def test_a_prediction_needs_the_same_parties(trained):
    refused(lambda: trained.predict(federation(parties=2)), "other-parties")


def test_the_summary_and_the_description_name_the_parts(trained, capsys):
    trained.summary()
    printed = capsys.readouterr().out
    assert "Bottom of 'telco': 3 principal components" in printed
    assert "Top" in printed
    assert repr(trained) == "<VerticalModel 'loans', mode oneway, trained>"


def test_evaluation_is_that_of_keras(trained):
    model = trained._parts.models["bank"]
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(5000, tensor.shape[1])).astype("float32") for tensor in model.inputs]
    labels = rng.integers(0, 2, 5000)
    expected = model.evaluate(inputs, labels, batch_size=4096, verbose=0, return_dict=True)
    assert evaluate(model, inputs, labels) == pytest.approx(expected, abs=1e-5)
