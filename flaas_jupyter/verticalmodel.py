"""`VerticalModel`: one model over columns that lie at different organisations.

Each party has a *bottom* on its own columns; the label holder has a *top* on all bottoms' outputs side by side. The
parts are Keras models, ``fit`` is Keras's (an epoch is a round), and what is trained stays where it was trained.
"""

from __future__ import annotations

import dataclasses
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .errors import InvalidInput
from .protocols.vertical.ckks_linear import require_batch
from .protocols.vertical.protection import GradientProtection, Protection
from .training.vertical.encoders import require_tensorflow
from .training.vertical.label_side import require_separable
from .training.vertical.plan import ENCODERS, MODES, Mode, VerticalPlan
from .vertical_federation import Purpose, VerticalFederation, VerticalOutcome, VerticalRound, VerticalScores
from .vertical_parts import Parts, bad, check_parts, has_schedule, warn_of_width
from .vertical_report import VerticalReport, statement_text

if TYPE_CHECKING:
    import pandas as pd


class VerticalModel:
    """A model whose columns lie at different parties.

    Parameters
    ----------
    bottoms : mapping of str to keras.Model, int or None
        By party: a model of one input of shape (columns,) and one output of shape (width,). In mode ``oneway`` a number
        stands for so many principal components, and None for two thirds as many as there are columns (32 at most). The
        label holder's may be left out: the top then takes its columns as they are. In mode ``linear_he`` all may be.
    top : keras.Model, optional
        From what the label holder's bottom and the feature parties' bottoms give, side by side in this order, the
        feature parties as in `bottoms`, to the prediction. Left out in mode ``linear_he``, whose scores are added up.
    mode : {"oneway", "split", "linear_he"}
        ``oneway``: encoders without labels, embeddings sent once, nothing goes back. ``split``: bottoms and top trained
        together, gradients go back and tell labels: needs the label holder's consent. ``linear_he``: linear or logistic
        regression, gradients under homomorphic encryption (extra ``he``).
    encoder : {"random", "autoencoder"}, or mapping of str to these
        Mode ``oneway``: what is done with a feature party's bottom, see `training.vertical.encoders`.
    standardize : bool
        Whether every party brings its columns to mean 0 and standard deviation 1, over its own rows.
    embedding_clip : float, optional
        Largest length of what is sent of a row. In mode ``oneway`` 3 √width by default, which is three standard
        deviations; otherwise none.
    embedding_noise : float
        Standard deviation of the noise on each number that a feature party sends.
    gradient_protection : {"none", "isotropic", "max_norm"}
        Mode ``split``: what is done to gradients before they go back, see `protocols.vertical.protection`.
    gradient_noise : float
        Of ``isotropic``, in units of the batch's mean gradient.
    name : str
        Shown in lists of runs.

    Attributes
    ----------
    history : keras.callbacks.History or None
        Of the last ``fit``.
    vertical_report : VerticalReport or None
        Intersection, bytes, who learned what and the measured label leak of the last ``fit``.

    Raises
    ------
    InvalidInput
        ``bad-vertical-model``: the message names what is wrong; ``bad-protection``.

    Examples
    --------
    >>> from keras import layers
    >>> bottoms = {"telco": keras.Sequential([layers.Input((11,)), layers.Dense(8, activation="relu")])}
    >>> top = keras.Sequential([layers.Input((20,)), layers.Dense(16, "relu"), layers.Dense(1, activation="sigmoid")])
    >>> model = VerticalModel(bottoms=bottoms, top=top)
    >>> model.mode
    'oneway'
    """

    def __init__(
        self,
        bottoms: Mapping[str, keras.Model | int | None],
        top: keras.Model | None = None,
        mode: Mode = "oneway",
        *,
        encoder: str | Mapping[str, str] = "random",
        standardize: bool = True,
        embedding_clip: float | None = None,
        embedding_noise: float = 0.0,
        gradient_protection: GradientProtection = "none",
        gradient_noise: float = 0.0,
        name: str = "vertical_model",
    ) -> None:
        if mode not in MODES:
            raise bad(f"mode is {mode!r}; allowed are {', '.join(map(repr, MODES))}")
        check_parts(bottoms, top, mode)
        self.bottoms: dict[str, Any] = dict(bottoms)
        self.top = top
        self.mode: Mode = mode
        self.encoder: str | dict[str, str] = encoder if isinstance(encoder, str) else dict(encoder)
        for kind in [self.encoder] if isinstance(self.encoder, str) else self.encoder.values():
            if kind not in ENCODERS or kind == "pca":
                raise bad(
                    f"encoder is {kind!r}; allowed are 'random' and 'autoencoder' (for principal components give their "
                    "number in place of the bottom)"
                )
        self.standardize = bool(standardize)
        self.protection = Protection(embedding_clip, embedding_noise, gradient_protection, gradient_noise)
        if self.protection.gradient != "none" and mode != "split":
            raise bad(f"gradient_protection is for mode='split'; in mode {mode!r} no gradients of rows are sent")
        self.name = name
        self.history: keras.callbacks.History | None = None
        self.vertical_report: VerticalReport | None = None
        self.plan: VerticalPlan | None = None
        self.outcome: VerticalOutcome | None = None
        self._compiling: dict[str, Any] | None = None
        self._parts: Parts | None = None

    def __repr__(self) -> str:
        return f"<VerticalModel {self.name!r}, mode {self.mode}, {'trained' if self.outcome else 'not trained'}>"

    # ---- compiling and training -------------------------------------------------------------------------------------

    def compile(self, optimizer: Any = "adam", loss: Any = None, *, metrics: Sequence[Any] | None = None) -> None:
        """Set optimizer, loss and metrics, as in Keras. Every party steps with an optimizer of its own of this kind.

        Raises
        ------
        InvalidInput
            ``not-compiled``: no loss; ``global-clipnorm``: the optimizer looks at all gradients at once.
        """
        if loss is None:
            raise InvalidInput(
                "compile needs a loss.",
                code="not-compiled",
                hint='compile("adam", "binary_crossentropy", metrics=["AUC"])',
            )
        made = keras.optimizers.get(optimizer)
        if self.mode != "oneway":
            require_separable(made)
        self._compiling = {"optimizer": made, "loss": loss, "metrics": list(metrics or [])}

    def fit(
        self,
        federation: VerticalFederation,
        epochs: int | None = None,
        batch_size: int = 256,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        *,
        rounds: int | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
        label_consent: bool = False,
        minimum_intersection: int | None = None,
        resume: str | None = None,
    ) -> keras.callbacks.History:
        """Train on the rows that all parties have.

        Parameters
        ----------
        federation : VerticalFederation
            From `simulate_vertical`, or ``project.vertical(...)`` of a connected project.
        epochs, rounds : int
            Passes over the rows in common; either name will do. 1 by default.
        batch_size : int
        verbose : "auto", 0, 1 or 2
            0 prints nothing but, in mode ``split``, the leakage statement; otherwise one line an epoch.
        callbacks : sequence of keras.callbacks.Callback, optional
            Called here once an epoch; stopping and learning-rate callbacks steer all parties. In a simulation the
            parts' newest weights are in ``callback.model``; real nodes keep them.
        validation_split : float
            Share of the rows that are not trained on.
        shuffle : bool
        seed : int, optional
            Of the common order, the batches and drop-out; in a simulation of everything.
        label_consent : bool
            Mode ``split`` in a simulation: the label holder agrees that gradients tell its labels. Of real nodes the
            label holder's policy decides.
        minimum_intersection : int, optional
            Fewer rows in common end the run; the federation's by default.
        resume : str, optional
            Id of a run of real nodes that this model was fitted by before and whose kernel was lost: it is followed
            from its first epoch on, and has its own options.

        Returns
        -------
        keras.callbacks.History

        Raises
        ------
        InvalidInput
            ``not-compiled``, ``not-a-federation``, ``unknown-party``, ``missing-bottom``, ``bottom-does-not-fit``,
            ``top-does-not-fit``, ``no-label``, ``bad-plan``, ``missing-extra``, ``backend-not-supported``,
            ``batch-too-large`` and those of `run_party`.
        NotAllowed
            Code ``label-consent``.
        """
        require_tensorflow()
        if not hasattr(type(federation), "train_vertical"):  # asked of the type: properties go over the network
            raise InvalidInput(
                f"A {type(federation).__name__} is not a vertical federation.",
                code="not-a-federation",
                hint="flaas.simulate_vertical({party: frame}, id=..., label=...), or project.vertical(...).",
            )
        if epochs is not None and rounds is not None:
            raise InvalidInput("epochs and rounds are the same here; give one of them.", code="bad-setting")
        chosen = epochs if epochs is not None else rounds
        built = self._build(federation)
        plan = built.plan(
            self,
            federation,
            seed=secrets.randbits(62) if seed is None else seed,
            epochs=1 if chosen is None else chosen,
            batch_size=batch_size,
            validation_split=validation_split,
            shuffle=shuffle,
            minimum=federation.minimum_intersection if minimum_intersection is None else minimum_intersection,
        )
        if self.mode == "linear_he":
            require_batch(batch_size)
        warn_of_width(plan)
        if verbose or self.mode == "split":
            print(statement_text(self.mode))
        self.plan, self.outcome, self.vertical_report = plan, None, None
        weights = built.vectors(plan)
        if resume is None:
            training = federation.train_vertical(
                plan, weights, label_consent=label_consent, seeded=seed is not None, name=self.name
            )
        else:
            training = _resumed(federation, resume, plan)
            self.plan = training.plan  # the same weights, by whatever names
            plan = dataclasses.replace(plan, epochs=self.plan.epochs)
        follower = _Follower(built, plan, list(callbacks or []), 1 if verbose == "auto" else int(verbose))
        try:
            self.history = follower.follow(training)
        except BaseException as error:
            # Real nodes go on without a notebook whose callback has failed; a simulation ends with it.
            if isinstance(error, KeyboardInterrupt) or not hasattr(federation, "resume_vertical"):
                training.cancel()
            raise
        self.outcome = built.settle(plan, training.outcome)
        self.vertical_report = VerticalReport.of(self.plan, self.outcome.reports, follower.rows)
        return self.history

    # ---- using ------------------------------------------------------------------------------------------------------

    def predict(self, federation: VerticalFederation, *, minimum_intersection: int = 1) -> pd.DataFrame:
        """Predict the rows that all parties of a federation have.

        The label holder computes the scores; what it gives away, and to whom, is its policy's business in a connected
        federation.

        Returns
        -------
        DataFrame
            The label holder's ids as index, the model's outputs as columns ``score`` or ``score_0``, ``score_1`` …

        Raises
        ------
        InvalidInput
            ``not-fitted``, ``other-parties``, ``unknown-columns``, ``too-few-common``, ``no-state``.
        """
        import pandas as pd

        scores = self._scores(federation, minimum_intersection, "predict")
        values = np.asarray(scores.values).reshape(len(scores.ids), -1 if scores.ids else 1)
        names = ["score"] if values.shape[1] == 1 else [f"score_{at}" for at in range(values.shape[1])]
        index = pd.Index(scores.ids, name="id", tupleize_cols=False)
        return pd.DataFrame(values, index=index, columns=names)

    def evaluate(
        self, federation: VerticalFederation, *, return_dict: bool = False, minimum_intersection: int = 1
    ) -> dict[str, float] | list[float]:
        """Return loss and metrics on the rows that all parties of a federation have, measured at the label holder.

        Raises
        ------
        InvalidInput
            ``no-label``: the federation has none; and those of `predict`.
        """
        scores = self._scores(federation, minimum_intersection, "evaluate")
        if not scores.metrics:
            raise InvalidInput(
                "This federation has no labels to evaluate on.",
                code="no-label",
                hint="Use predict(), or name the label.",
            )
        return dict(scores.metrics) if return_dict else list(scores.metrics.values())

    def _scores(self, federation: VerticalFederation, minimum: int, purpose: Purpose) -> VerticalScores:
        require_tensorflow()
        if self.plan is None or self.outcome is None:
            raise InvalidInput(
                f"{self.name!r} has not been trained yet.", code="not-fitted", hint="Call fit(federation, ...) first."
            )
        return federation.predict_vertical(self.plan, self.outcome, minimum=minimum, purpose=purpose)

    def summary(self) -> None:
        """Print the parts of the model, as Keras does."""
        for party, bottom in self.bottoms.items():
            if isinstance(bottom, keras.Model):
                print(f"Bottom of {party!r}")
                bottom.summary()
            else:
                print(f"Bottom of {party!r}: {_described(bottom, self.mode)}")
        if self.top is not None:
            print("Top")
            self.top.summary()

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the model to a zip file: Keras's own files of its parts, the plan, the parties' states.

        Of a model that real nodes have trained it holds the id of the run: the nodes keep its parts.

        Raises
        ------
        InvalidInput
            Code ``not-compiled``.
        """
        from . import vertical_file

        vertical_file.save(self, self._require_compiled(), path)

    @classmethod
    def load(cls, path: str | Path) -> VerticalModel:
        """Read what `save` has written.

        Raises
        ------
        InvalidInput
            Code ``bad-vertical-file``.
        """
        from . import vertical_file

        return vertical_file.load(cls, path)

    def _require_compiled(self) -> dict[str, Any]:
        if self._compiling is None:
            raise InvalidInput(
                f"{self.name!r} has no optimizer and loss yet.",
                code="not-compiled",
                hint='Call model.compile("adam", "binary_crossentropy", metrics=["AUC"]) first.',
            )
        return self._compiling

    def _build(self, federation: VerticalFederation) -> Parts:
        compiling = self._require_compiled()
        columns = federation.columns
        if self._parts is None or self._parts.columns != columns or self._parts.compiling is not compiling:
            self._parts = Parts(self, federation, compiling)
            if self.plan is not None and self.outcome is not None:
                self._parts.go_on(self.plan, self.outcome)
        return self._parts


class _Follower:
    """Runs callbacks and takes the newest weights, epoch by epoch."""

    def __init__(
        self, built: Parts, plan: VerticalPlan, callbacks: list[keras.callbacks.Callback], verbose: int
    ) -> None:
        self._parts, self._plan, self._verbose = built, plan, verbose
        self._model = built.callback_model
        self.rows: list[dict[str, float]] = []
        self._callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=False,
            model=self._model,
            epochs=plan.epochs,
            steps=1,
            verbose=verbose,
        )

    def follow(self, training: Any) -> keras.callbacks.History:
        model, callbacks = self._model, self._callbacks
        model.stop_training = False
        rate, told, logs, number = self._rate(), None, {}, 0
        newest: dict[str, Any] = {}
        callbacks.on_train_begin()
        while True:
            callbacks.on_epoch_begin(number)
            changed = self._rate()
            told = changed if changed != rate else None
            rate = changed
            done: VerticalRound | None = training.next(stop=model.stop_training, learning_rate=told)
            if done is None:
                break
            number, newest, logs = done.number, done.weights, dict(done.metrics)
            self._parts.take(self._plan, newest)
            self.rows.append({**logs, "seconds": done.seconds})
            self._print(done)
            callbacks.on_epoch_end(number - 1, logs)
        for party, state in training.outcome.states.items():
            # Optimizers that keep an average of the weights put it in their place at the very end; of real nodes, whose
            # owners release their parts, all weights come at the end.
            released = not newest and "weights" in state.tensors
            if released or (party in newest and not model.stop_training):
                self._parts.take(self._plan, {party: state.tensors["weights"]})
        callbacks.on_train_end(logs)
        history: keras.callbacks.History = model.history
        return history

    def _rate(self) -> float | None:
        optimizer = self._model.optimizer
        if has_schedule(optimizer):
            return None
        return float(np.asarray(keras.ops.convert_to_numpy(optimizer.learning_rate)))

    def _print(self, done: VerticalRound) -> None:
        if self._verbose:
            metrics = "  ".join(f"{name} {value:.4f}" for name, value in done.metrics.items())
            width = len(str(self._plan.epochs))
            print(f"Epoch {done.number:>{width}}/{self._plan.epochs}  {metrics}  {done.seconds:.2f} s")
            sys.stdout.flush()


def _resumed(federation: Any, run: str, plan: VerticalPlan) -> Any:
    """Return the training of a run that is under way, or over, at real nodes."""
    if not hasattr(federation, "resume_vertical"):
        raise InvalidInput(
            f"Run {run!r} cannot be resumed: a simulated vertical federation ends with its kernel.", code="bad-setting"
        )
    return federation.resume_vertical(run, plan)


def _described(bottom: Any, mode: str) -> str:
    if isinstance(bottom, int):
        return f"{bottom} principal components"
    return (
        "its columns weighted and added up" if mode == "linear_he" else "principal components, or columns as they are"
    )
