"""Mode ``split`` is the training of the whole model in one place; it needs consent, and its leak is measured."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from vertical_world import bottom, federation, top

from flaas_jupyter import VerticalModel
from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.training.vertical.exchange import MemoryExchange
from flaas_jupyter.training.vertical.scaling import Scaler

CONSENT = {"label_consent": True, "verbose": 0, "seed": 7}


def model(*, extra: tuple[layers.Layer, ...] = (), penalty: float = 0.0, **options: object) -> VerticalModel:
    made = VerticalModel(
        {
            "bank": bottom(3, 2, penalty=penalty),
            "telco": bottom(4, 3, extra=extra, penalty=penalty),
            "shop": bottom(2, 1),
        },
        top(6),
        mode="split",
        **options,
    )
    made.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return made


def centrally(made: VerticalModel, parties, epochs: int, batch_size: int) -> tuple[keras.Model, list[float]]:
    """Train copies of the parts as one model, on the columns in one place, in the order of the plan."""
    names = ["bank", "telco", "shop"]
    parts = {party: keras.models.clone_model(made.bottoms[party]) for party in names}
    for party, part in parts.items():
        part.set_weights(made.bottoms[party].get_weights())
    head = keras.models.clone_model(made.top)
    head.set_weights(made.top.get_weights())
    inputs = [layers.Input((len(parties.columns[party]),)) for party in names]
    outputs = head(layers.Concatenate()([parts[party](x) for party, x in zip(names, inputs, strict=True)]))
    joint = keras.Model(inputs, outputs)
    joint.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    aligned = parties.align(CONSENT["seed"])
    columns = {}
    for party in names:
        values = parties.tables[party].matrix(parties.columns[party])
        columns[party] = Scaler.of(values)(values[aligned[party].rows])
    labels = parties.tables["bank"].label[aligned["bank"].rows].astype("float32")
    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng(np.random.SeedSequence([CONSENT["seed"], epoch])).permutation(len(labels))
        ordered = [columns[party][order] for party in names]
        done = joint.fit(ordered, labels[order], batch_size=batch_size, shuffle=False, verbose=0)
        losses += done.history["loss"]
    return joint, losses


@pytest.mark.parametrize(
    "variant", ["plain", pytest.param("penalties and batch normalisation", marks=pytest.mark.long)]
)
def test_it_is_the_joint_model_trained_in_one_place(variant: str):
    plain = variant == "plain"
    parties = federation()
    made = model(extra=() if plain else (layers.BatchNormalization(),), penalty=0.0 if plain else 0.01)
    joint, losses = centrally(made, parties, epochs=3, batch_size=64)
    history = made.fit(parties, epochs=3, batch_size=64, **CONSENT)
    ours = [weight for party in ("bank", "telco", "shop") for weight in made.bottoms[party].get_weights()]
    for mine, central in zip([*ours, *made.top.get_weights()], joint.get_weights(), strict=True):
        np.testing.assert_allclose(mine, central, atol=1e-5)
    if plain:  # a feature party's penalty is in its own loss, which it does not tell
        assert history.history["loss"] == pytest.approx(losses, abs=1e-5)


def test_without_the_label_holders_consent_nothing_is_trained():
    parties = federation(parties=3)
    made = model()
    with pytest.raises(NotAllowed, match="has not agreed") as error:
        made.fit(parties, verbose=0, seed=1)
    assert error.value.code == "label-consent"
    assert not [message for message in parties.messages if message.kind.startswith("split")]


def test_the_statement_is_printed_and_stored_and_embeddings_are_clipped(capsys, monkeypatch):
    sent = []
    send = MemoryExchange.send

    async def watched(self, party, kind, body, tensors):
        if kind == "split/embedding":
            sent.append(np.linalg.norm(tensors["embedding"], axis=1).max())
        await send(self, party, kind, body, tensors)

    monkeypatch.setattr(MemoryExchange, "send", watched)
    made = model(embedding_clip=0.5)
    made.fit(federation(), **CONSENT)
    printed = capsys.readouterr().out
    assert "must be assumed to learn ALL labels" in printed
    assert "must be assumed to learn ALL labels" in made.vertical_report.leakage.loc["feature parties", "learns"]
    assert max(sent) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({}, 0.98, 1.0),
        pytest.param({"gradient_protection": "max_norm"}, 0.5, 0.9, marks=pytest.mark.long),
        pytest.param({"gradient_protection": "isotropic", "gradient_noise": 4.0}, 0.5, 0.85, marks=pytest.mark.long),
    ],
    ids=["nothing", "max_norm", "isotropic"],
)
def test_the_leak_is_measured_with_and_without_protection(options, least, most):
    made = model(**options)
    made.fit(federation(count=1500), epochs=3, batch_size=128, **CONSENT)
    assert least <= made.vertical_report.label_leak <= most


def test_dropout_is_drawn_once_for_both_directions_and_the_same_again_by_the_same_seed():
    weights = []
    for _ in range(2):
        made = model(extra=(layers.Dropout(0.5, seed=1),))
        made.fit(federation(), epochs=2, batch_size=128, **CONSENT)
        weights.append(made.bottoms["telco"].get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_callbacks_stop_all_parties_and_set_their_learning_rates():
    parties = federation()
    made = model()
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.01 / (epoch + 1)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(sorted(logs))
            if epoch == 1:
                self.model.stop_training = True

    history = made.fit(parties, epochs=9, validation_split=0.2, callbacks=[Watch()], **CONSENT)
    assert len(history.history["loss"]) == 2
    assert seen[0] == ["accuracy", "loss", "val_accuracy", "val_loss"]
    kinds = [message.kind for message in parties.messages if message.kind == "split/epoch"]
    assert len(kinds) == 2 * 3  # two epochs and the end, to each of two feature parties


def test_the_best_weights_of_early_stopping_are_those_that_predict():
    parties = federation()
    made = model()
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=0, mode="max", restore_best_weights=True)
    made.fit(parties, epochs=3, validation_split=0.3, callbacks=[stopping], **CONSENT)
    again = model()
    again.fit(parties, epochs=1, validation_split=0.3, **CONSENT)
    np.testing.assert_allclose(made.predict(parties), again.predict(parties), atol=1e-6)


def test_an_error_in_a_callback_ends_the_run_and_comes_out():
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        model().fit(federation(), epochs=3, callbacks=[Broken()], **CONSENT)


def test_an_optimizer_that_looks_at_all_gradients_is_refused():
    made = model()
    with pytest.raises(InvalidInput, match="global_clipnorm") as error:
        made.compile(keras.optimizers.Adam(global_clipnorm=1.0), "binary_crossentropy")
    assert error.value.code == "global-clipnorm"


def test_weights_that_run_away_are_an_error():
    made = model()
    made.compile(keras.optimizers.SGD(1e30), "binary_crossentropy")
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        made.fit(federation(), epochs=3, **CONSENT)
