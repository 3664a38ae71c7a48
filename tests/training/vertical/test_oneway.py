"""Mode ``oneway``: embeddings go once, nothing comes back, encoders know no labels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from vertical_world import ID, LABEL, bottom, federation, tables, top

from flaas_jupyter import VerticalModel, simulate_vertical
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.training.vertical.encoders import ONEWAY_CLIP, draw_kernels, encoder_of

FIT = {"verbose": 0, "seed": 7, "batch_size": 128}


def model(telco: object, width: int, **options: object) -> VerticalModel:
    made = VerticalModel({"telco": telco}, top(3 + width), **options)
    made.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["AUC"])
    return made


@pytest.mark.long
@pytest.mark.parametrize(
    ("encoder", "telco"), [("random", 3), ("autoencoder", 3), ("pca", 3)], ids=["random", "autoencoder", "pca"]
)
def test_every_encoder_helps_over_the_label_holders_columns_alone(encoder: str, telco: int):
    parties = federation(count=1500, parties=2)
    made = model(telco, telco) if encoder == "pca" else model(bottom(4, telco), telco, encoder=encoder)
    history = made.fit(parties, epochs=12, validation_split=0.3, **FIT)
    alone = VerticalModel({"telco": 1}, top(4), embedding_noise=1000.0)
    alone.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["AUC"])
    without = alone.fit(parties, epochs=12, validation_split=0.3, **FIT)
    assert history.history["val_AUC"][-1] > without.history["val_AUC"][-1] + 0.02


def test_the_label_holder_sends_nothing_and_the_leak_is_one_half():
    parties = federation(parties=2)
    made = model(2, 2)
    made.fit(parties, epochs=2, **FIT)
    assert [(message.sender, message.kind) for message in parties.messages] == [("telco", "oneway/embedding")]
    assert made.vertical_report.label_leak == 0.5
    assert made.vertical_report.parties["messages"].tolist() == [0, 1]


def test_with_the_real_protocol_all_that_the_label_holder_sends_is_of_the_alignment():
    parties = federation(parties=2, private_set_intersection=True)
    made = model(2, 2)
    made.fit(parties, epochs=2, **FIT)
    sent = [message.kind for message in parties.messages if message.sender == "bank"]
    assert sorted(sent) == ["psi/common", "psi/first"]


def test_what_leaves_a_feature_party_does_not_depend_on_labels():
    embeddings = []
    for flipped in (False, True):
        given = tables(parties=2)
        if flipped:
            given["bank"][LABEL] = 1 - given["bank"][LABEL]
        parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
        made = model(bottom(4, 3), 3, encoder="autoencoder")
        made.fit(parties, epochs=1, **FIT)
        embeddings.append(made.outcome.states["telco"].tensors)
    for name, values in embeddings[0].items():
        np.testing.assert_array_equal(values, embeddings[1][name])


def test_the_real_protocol_and_the_simulated_comparison_give_the_same_model():
    scores = []
    for private in (False, True):
        parties = federation(private_set_intersection=private)
        made = VerticalModel({"telco": 2, "shop": 1}, top(6))
        made.compile("adam", "binary_crossentropy")
        made.fit(parties, epochs=2, **FIT)
        scores.append(made.predict(parties))
    assert scores[0].index.tolist() == scores[1].index.tolist()
    np.testing.assert_array_equal(scores[0], scores[1])


def test_the_kernels_of_random_features_are_the_partys_own():
    parties = federation(parties=2)
    made = model(bottom(4, 3), 3)
    before = made.bottoms["telco"].get_weights()
    made.fit(parties, **FIT)
    after = made.bottoms["telco"].get_weights()
    assert not np.allclose(before[0], after[0])
    drawn = []
    for _ in range(2):
        draw_kernels(made.bottoms["telco"], np.random.default_rng())  # what a node draws them from
        drawn.append(made.bottoms["telco"].get_weights()[0])
    assert not np.allclose(*drawn)


def test_rows_are_clipped_by_default_and_noise_is_added_if_asked_for():
    given = tables(parties=2)
    given["telco"].loc[given["telco"].index[0], ["t0", "t1", "t2", "t3"]] = 1e4
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    made = model(3, 3)
    made.fit(parties, **FIT)
    encoder = encoder_of(made.plan, made.outcome.states["telco"], ())
    columns = parties.tables["telco"].matrix(parties.columns["telco"])
    sent = encoder(columns, np.random.default_rng(0))
    lengths = np.linalg.norm(sent, axis=1)
    assert lengths.max() == pytest.approx(ONEWAY_CLIP * np.sqrt(3), rel=1e-5)
    noisy = model(3, 3, embedding_noise=0.5)
    noisy.fit(parties, **FIT)
    noise = encoder_of(noisy.plan, noisy.outcome.states["telco"], ())(columns, np.random.default_rng(0)) - sent
    assert noise.std() == pytest.approx(0.5, rel=0.05)


def test_more_components_than_columns_are_refused():
    with pytest.raises(InvalidInput, match="5 principal components") as error:
        model(5, 5).fit(federation(parties=2), **FIT)
    assert error.value.code == "bottom-does-not-fit"


def test_a_party_without_a_bottom_sends_two_thirds_as_many_components_as_it_has_columns():
    made = VerticalModel({}, top(3 + 3 + 2))
    made.compile("adam", "binary_crossentropy")
    with pytest.warns(UserWarning, match="'shop' has 2 numbers for a row of 2 columns"):
        made.fit(federation(), **FIT)
    assert made.plan.widths == {"telco": 3, "shop": 2}


def test_quantities_are_predicted_too():
    given = tables(parties=2)
    given["bank"][LABEL] = given["bank"]["b0"] * 2.0
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    made = VerticalModel({"telco": 2}, top(5, activation="linear"))
    made.compile("adam", "mse")
    history = made.fit(parties, epochs=3, **FIT)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert made.vertical_report.label_leak == 0.5
