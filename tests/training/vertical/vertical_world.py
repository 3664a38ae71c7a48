"""Small tables of a bank, a telephone company and a shop, with people in common, for the tests of vertical learning."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
from keras import layers

from flaas_jupyter.vertical_federation import SimulatedVerticalFederation, simulate_vertical

PEOPLE = 600
ID, LABEL = "customer", "default"


def people(seed: int = 0, count: int = PEOPLE) -> pd.DataFrame:
    """All columns of everybody, with a label that depends on all of them."""
    rng = np.random.default_rng(seed)
    names = [*(f"b{i}" for i in range(3)), *(f"t{i}" for i in range(4)), *(f"s{i}" for i in range(2))]
    frame = pd.DataFrame(rng.normal(2.0, 3.0, size=(count, len(names))), columns=names)
    score = 0.6 * frame["b0"] + 0.5 * frame["t0"] - 0.4 * frame["t1"] + 0.5 * frame["s0"] - 3.4
    frame[LABEL] = (rng.random(count) < 1 / (1 + np.exp(-score))).astype(int)
    frame[ID] = np.arange(count) + 1000
    return frame


def tables(seed: int = 0, count: int = PEOPLE, parties: int = 3) -> dict[str, pd.DataFrame]:
    """Each party's table: other rows missing at each, in other orders, ids of other types."""
    everybody = people(seed, count)
    bank = everybody[[ID, "b0", "b1", "b2", LABEL]].iloc[count // 20 :]
    telco = everybody[["t0", "t1", "t2", "t3", ID]].iloc[: -count // 20].sample(frac=1, random_state=1)
    shop = everybody[["s0", "s1", ID]].drop(everybody.index[5:15]).iloc[::-1]
    telco[ID] = telco[ID].astype(str)
    return dict(list({"bank": bank, "telco": telco, "shop": shop}.items())[:parties])


def federation(seed: int = 0, count: int = PEOPLE, parties: int = 3, **options: object) -> SimulatedVerticalFederation:
    """A simulated federation of these tables."""
    return simulate_vertical(tables(seed, count, parties), id=ID, label=("bank", LABEL), **options)


def bottom(columns: int, width: int, *, extra: tuple[layers.Layer, ...] = (), penalty: float = 0.0) -> keras.Model:
    """A bottom of two layers, always with the same weights."""
    kernel = [keras.initializers.GlorotUniform(seed=seed) for seed in (columns, width)]
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    return keras.Sequential(
        [
            layers.Input((columns,)),
            layers.Dense(8, activation="relu", kernel_initializer=kernel[0], kernel_regularizer=regularizer),
            *extra,
            layers.Dense(width, kernel_initializer=kernel[1]),
        ]
    )


def top(width: int, activation: str = "sigmoid") -> keras.Model:
    """A top of two layers, always with the same weights."""
    return keras.Sequential(
        [
            layers.Input((width,)),
            layers.Dense(8, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed=3)),
            layers.Dense(1, activation=activation, kernel_initializer=keras.initializers.GlorotUniform(seed=4)),
        ]
    )
