"""`FederatedModel`: a Keras functional model that also fits on a federation.

It is a `keras.Model` and stays one: ``summary``, ``evaluate``, ``predict``, ``save``, callbacks and everything built on
them work unchanged, and ``fit`` with arrays is Keras's. Given a federation, ``fit`` trains on it; a round is an epoch.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from . import activations
from .errors import InvalidInput
from .protocols import combination
from .protocols.aggregation import Rule, aggregation
from .protocols.compression import Compressor
from .protocols.compression import compression as compressions
from .protocols.groups import MINIMUM_GROUP, require_group_size

if TYPE_CHECKING:
    from .explaining import Explanation
    from .explaining.travelling import Travelling
    from .federation import Federation, RoundsDone
    from .preprocessing import Preprocessing
    from .protocols.privacy import DifferentialPrivacy
    from .report import FederatedReport

_OPTIONS = ("secure_aggregation", "aggregation", "aggregation_options", "privacy", "compression")
_FEDERATED_ONLY = (
    "rounds", "local_epochs", "clients_per_round", "minimum_nodes", "seed", "resume", "run_name", "preprocessing",
)  # fmt: skip


@dataclass(frozen=True)
class SecureAggregation:
    """Options of secure aggregation.

    Parameters
    ----------
    clip : float
        Every coordinate of a client's update (new minus old weights) is clipped to ``[-clip, clip]``. The smaller it
        is, the finer the fixed-point steps in which updates are added; a round that had to clip says so.
    group_size : int
        For aggregation rules that must see updates (median, Krum, …), which run in group mode: how many clients make a
        group at least, from 3 on. Such a rule sees the means of groups, drawn at random each round, and an update is
        hidden among as many others only; with m malicious clients of N it needs N ≥ group_size · (2m + 1), Krum
        N ≥ group_size · (2m + 3).
    sharded : bool
        Every participant adds up one part of the masked vectors, so that none has to receive all of them. For rules
        that need the sum only.

    Raises
    ------
    InvalidInput
        ``bad-clip``: not a finite number above 0; ``bad-group-size``; ``bad-secure-aggregation``: `sharded` is no bool.
    """

    clip: float = 8.0
    group_size: int = MINIMUM_GROUP
    sharded: bool = False

    def __post_init__(self) -> None:
        if (
            isinstance(self.clip, bool)
            or not isinstance(self.clip, int | float)
            or not math.isfinite(self.clip)
            or self.clip <= 0
        ):
            raise InvalidInput(f"clip must be a finite number above 0, not {self.clip!r}.", code="bad-clip")
        object.__setattr__(self, "clip", float(self.clip))
        require_group_size(self.group_size)
        if not isinstance(self.sharded, bool):
            raise InvalidInput(f"sharded must be True or False, not {self.sharded!r}.", code="bad-secure-aggregation")


@keras.saving.register_keras_serializable(package="flaas_jupyter")
class FederatedModel(keras.Model):  # type: ignore[misc]
    """A Keras functional model that fits on arrays, as ever, or on a federation.

    Parameters
    ----------
    inputs : KerasTensor, or list or dict of KerasTensor
        As for `keras.Model`.
    outputs : KerasTensor, or list or dict of KerasTensor
        As for `keras.Model`.
    secure_aggregation : bool or SecureAggregation
        Whether updates travel masked, so that nobody learns more than their sum. A rule that must see updates runs in
        group mode then: on the means of random groups, see `SecureAggregation`.
    aggregation : str or Rule
        How updates become the new model: a registered name (``flaas.aggregation.names()``), or a rule with options
        of its own: ``flaas.aggregation("krum", byzantine=2)``. What the rule remembers begins anew with each ``fit``.
    privacy : DifferentialPrivacy, optional
        Clipping and noise, and the budget that a run must keep to. With central privacy updates count equally,
        whatever their numbers of examples, and the rule must be one that needs sums only; with local privacy any rule
        will do. Training metrics are not reported then, for they carry no noise: use `validation_data`.
    compression : str or Compressor, optional
        How clients make their updates smaller: a registered name (``flaas.compression.names()``), or one with options
        of its own: ``flaas.compression("topk", fraction=0.05)``. All but "lossless" change the result a little; the
        report says by how much (`docs/transfers.md`). Under secure aggregation "int8", "int16" and "randomk" work.
    name : str, optional
        Also the name that runs are shown under.

    Attributes
    ----------
    federated_report : DataFrame or None
        One row per round of the last ``fit`` on a federation; None before.

    Raises
    ------
    InvalidInput
        ``unknown-aggregation``: the message lists the names; ``aggregation-needs-updates``: the rule must see one
        client's update by itself; ``aggregation-with-privacy``: it does not go with a noisy mean;
        ``privacy-needs-secure-aggregation``; ``secagg-not-sharded``; ``bad-secure-aggregation``;
        ``bad-privacy``; ``unknown-compression``, ``bad-compression``; ``compression-with-secure-aggregation``,
        ``compression-not-sharded``, ``compression-with-privacy``, ``compression-with-aggregation``: the compression
        does not go with the other options; ``foreign-activation``: a layer has an activation that nodes cannot rebuild.

    Examples
    --------
    >>> from keras import layers
    >>> from flaas_jupyter import federatedmodel
    >>> inputs = layers.Input((23,))
    >>> net = layers.Dense(12, activation="relu")(inputs)
    >>> net = layers.Dense(1, activation="sigmoid")(net)
    >>> model = federatedmodel.FederatedModel(inputs, net, secure_aggregation=True)
    >>> model.secure_aggregation
    SecureAggregation(clip=8.0, group_size=3, sharded=False)
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        secure_aggregation: bool | SecureAggregation = False,
        aggregation: str | Rule = "fedavg",
        privacy: DifferentialPrivacy | None = None,
        name: str | None = None,
        compression: str | Compressor | None = None,
    ) -> None:
        secure = _secure_aggregation(secure_aggregation)
        _check_privacy(privacy)
        compressor = _compressor(compression)
        combination.require_combination(
            _rule(aggregation),
            secure_aggregation=secure is not None,
            privacy=privacy,
            group_size=None if secure is None else secure.group_size,
            sharded=secure is not None and secure.sharded,
        )
        combination.require_compression(
            compressor,
            _rule(aggregation),
            secure_aggregation=secure is not None,
            privacy=privacy,
            sharded=secure is not None and secure.sharded,
        )
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        activations.adopt(self)
        self.secure_aggregation = secure
        """Options of secure aggregation, or None when it is off."""
        self.aggregation = aggregation
        self.privacy = privacy
        self.compression = compressor
        """How updates are compressed, or None."""
        self.rounds_done: RoundsDone | None = None
        self.fitted_preprocessing: Preprocessing | None = None
        """What clients made of their raw columns in the last ``fit`` on a federation."""

    @property
    def federated_report(self) -> FederatedReport | None:
        """One row per round of the last ``fit`` on a federation; None before."""
        return None if self.rounds_done is None else self.rounds_done.table

    @property
    def aggregation_name(self) -> str:
        """The registered name of the aggregation rule.

        Raises
        ------
        InvalidInput
            Code ``aggregation-object``: the rule is an object of a class that is not registered, which has no name to
            send or save.
        """
        if isinstance(self.aggregation, str):
            return self.aggregation
        name: str | None = getattr(self.aggregation, "name", None)
        if name in aggregation.names() and type(aggregation(name)) is type(self.aggregation):
            return name
        raise InvalidInput(
            f"The aggregation rule {type(self.aggregation).__name__} is not registered; only a rule's registered name "
            "and its options can be sent to nodes or saved.",
            code="aggregation-object",
            hint='Register it: flaas_jupyter.protocols.aggregation.register("my_rule", make), where name = "my_rule".',
        )

    @property
    def aggregation_options(self) -> dict[str, Any]:
        """The options that the aggregation rule was given with, JSON values; empty for a rule given by name."""
        if isinstance(self.aggregation, str):
            return {}
        return {name: _plain(name, value) for name, value in self.aggregation.options.items()}

    @property
    def group_size(self) -> int | None:
        """How many clients make a group, where the rule runs in group mode; else None."""
        secure = self.secure_aggregation
        grouped = combination.in_groups(_rule(self.aggregation), secure_aggregation=secure is not None)
        return secure.group_size if secure is not None and grouped else None

    # ---- saving -----------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return the graph as Keras writes it, and the federated options."""
        graph: dict[str, Any] = keras.Model(self.input, self.output, name=self.name).get_config()
        secure = self.secure_aggregation
        return {
            **graph,
            "trainable": self.trainable,
            "secure_aggregation": dataclasses.asdict(secure) if secure is not None else False,
            "aggregation": self.aggregation_name,
            "aggregation_options": self.aggregation_options,
            "privacy": self.privacy.to_dict() if self.privacy is not None else None,
            "compression": self.compression.to_dict() if self.compression is not None else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FederatedModel:
        """Rebuild a model from `get_config`."""
        graph = {key: value for key, value in config.items() if key not in _OPTIONS}
        options = {key: config[key] for key in _OPTIONS if key in config}
        if isinstance(options.get("secure_aggregation"), dict):
            options["secure_aggregation"] = SecureAggregation(**options["secure_aggregation"])
        rule_options = options.pop("aggregation_options", {})
        if rule_options:
            options["aggregation"] = combination.make_rule(options["aggregation"], rule_options)
        if "privacy" in options:
            options["privacy"] = combination.read_privacy(options["privacy"])
        if "compression" in options:
            options["compression"] = combination.make_compressor(options["compression"])
        trainable = graph.get("trainable", True)
        functional = keras.Model.from_config(graph, custom_objects=custom_objects)
        model = cls(inputs=functional.input, outputs=functional.output, name=functional.name, **options)
        if not trainable:
            model.trainable = False
        return model

    # ---- training ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        *args: Any,
        validation_data: Any = None,
        validation_freq: int = 1,
        shuffle: bool = True,
        rounds: int | None = None,
        local_epochs: int | None = None,
        clients_per_round: int | None = None,
        minimum_nodes: int | None = None,
        seed: int | None = None,
        resume: str | None = None,
        run_name: str | None = None,
        preprocessing: Preprocessing | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on a federation, or on arrays exactly as `keras.Model.fit` does.

        Parameters
        ----------
        x : Federation, or whatever `keras.Model.fit` takes
            Who to train with. With arrays or a data set, everything below but the Keras arguments must be left out,
            and ``y``, ``epochs`` and the rest mean what they mean in Keras.
        y : array_like, optional
            Arrays only; a federation's targets stay at its nodes.
        batch_size : int, optional
            Rows per local training step; 32 by default.
        epochs : int, optional
            Arrays only. A federation has ``rounds`` and ``local_epochs``.
        verbose : "auto", 0, 1 or 2
            0 prints nothing; a federation prints one line a round otherwise.
        callbacks : sequence of keras.callbacks.Callback, optional
            Called in this process once a round, as for an epoch, with the new global weights in place. Stopping and
            learning-rate callbacks steer the nodes.
        *args, **kwargs
            Further arguments of `keras.Model.fit`, with arrays only.
        validation_data : tuple of arrays or data set, optional
            Evaluated in this process after each round.
        validation_freq : int
            Evaluate after every so many rounds, and after the last.
        shuffle : bool
            Shuffle a client's rows before each local epoch.
        rounds : int
            Rounds of local training and aggregation. May be left out with `resume`.
        local_epochs : int, optional
            Passes over its rows that every client makes in a round; 1 by default.
        clients_per_round : int, optional
            Size of the sample of clients that train in a round; all by default.
        minimum_nodes : int, optional
            A round with fewer clients does not begin; 3 by default with secure aggregation, else 1.
        seed : int, optional
            Seed of sampling, shuffling and drop-out, from 0 on.
        resume : str, optional
            Id of a run to follow that was started before. Model and settings must be those it was started with.
        run_name : str, optional
            Shown in lists of runs; the model's name by default.
        preprocessing : Preprocessing, optional
            What every client makes of its raw columns first. It travels with the plan, is signed with it, and is
            fitted on the federation if it is not yet. Raw `validation_data`, a table and its targets, go through it
            too.

        Returns
        -------
        keras.callbacks.History
            One entry per round (or epoch): ``loss`` and the metrics, averaged over the clients by their rows, and
            ``val_…`` with `validation_data`. `federated_report` holds the rest.

        Raises
        ------
        InvalidInput
            ``rounds-with-arrays``, ``keras-arguments-with-federation``, ``epochs-with-federation``,
            ``not-a-federation``, ``missing-y``, ``bad-rounds``, ``bad-setting``, ``not-compiled``, and those of
            `TrainingPlan.from_model`.
        FlaasError
            The run failed or was cancelled; the error says why.

        Examples
        --------
        >>> history = model.fit(federation, rounds=10, local_epochs=2, batch_size=16, seed=7)  # doctest: +SKIP
        """
        federated = {
            "rounds": rounds,
            "local_epochs": local_epochs,
            "clients_per_round": clients_per_round,
            "minimum_nodes": minimum_nodes,
            "seed": seed,
            "resume": resume,
            "run_name": run_name,
            "preprocessing": preprocessing,
        }
        if not _is_federation(x):
            _refuse_federated_arguments(x, federated)
            _require_targets(x, y)
            if epochs is not None:
                kwargs["epochs"] = epochs
            if shuffle is not True:
                kwargs["shuffle"] = shuffle
            if validation_data is not None:
                kwargs |= {"validation_data": validation_data, "validation_freq": validation_freq}
            if args:
                return super().fit(x, y, batch_size, kwargs.pop("epochs", 1), verbose, callbacks, *args, **kwargs)
            return super().fit(x, y, batch_size=batch_size, verbose=verbose, callbacks=callbacks, **kwargs)
        _refuse_keras_arguments(y, epochs, args, kwargs)
        self._require_compiled()
        from .federated_fit import federated_fit

        self.fitted_preprocessing = preprocessing if preprocessing is not None else getattr(x, "preprocessing", None)
        return federated_fit(
            self,
            x,
            # A run that is resumed has its own number of rounds; this one only shapes what is printed.
            rounds=_count("rounds", rounds, "bad-rounds") if rounds is not None or resume is None else 1,
            local_epochs=_count("local_epochs", 1 if local_epochs is None else local_epochs),
            batch_size=_count("batch_size", 32 if batch_size is None else batch_size),
            clients_per_round=None if clients_per_round is None else _count("clients_per_round", clients_per_round),
            minimum_nodes=None if minimum_nodes is None else _count("minimum_nodes", minimum_nodes),
            validation_data=validation_data,
            validation_freq=_count("validation_freq", validation_freq),
            shuffle=shuffle,
            callbacks=list(callbacks or []),
            seed=_seed(seed),
            verbose=1 if verbose == "auto" else int(verbose),
            resume=resume,
            run_name=run_name,
            preprocessing=preprocessing,
        )

    # ---- what was learned -------------------------------------------------------------------------------------------

    def explain(
        self,
        federation: Federation,
        method: str = "shap",
        *,
        preprocessing: Preprocessing | None = None,
        **settings: Any,
    ) -> Explanation:
        """Explain the model over the rows of a federation, which stay where they are.

        Nodes compute the SHAP values of their rows against a background that is drawn from released aggregates, and
        add them up securely; nothing is told of fewer rows than the owners' ``minimum_group``.

        Parameters
        ----------
        federation : Federation
        method : str
            ``"shap"``.
        preprocessing : Preprocessing, optional
            What the model was trained with: raw columns are explained then. That of the last ``fit`` by default.
        **settings
            Fields of `flaas_jupyter.explaining.Settings`: ``output``, ``background``, ``background_size``,
            ``permutations``, ``max_rows``, ``seed``, ``bins``, ``via``, ``epsilon``, ``bounds``, ….

        Returns
        -------
        Explanation
            ``.global_importance``, ``.bar()``, ``.beeswarm()``, ``.dependence(feature)``, ``.suppressed``.

        Raises
        ------
        InvalidInput
            ``explain-method``, ``bad-explanation-setting``, ``explain-one-output``, ``explain-no-background``, ….
        NotAllowed
            ``policy-explain`` and the other refusals of statistics.

        Examples
        --------
        >>> model.explain(federation).global_importance.head()  # doctest: +SKIP
        """
        from .explaining import explain, settings_of

        return explain(federation, self.as_travelling(preprocessing), method, settings_of(settings))

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measure loss and metrics, on a federation or on arrays as `keras.Model.evaluate` does.

        Parameters
        ----------
        x : Federation, or whatever `keras.Model.evaluate` takes
        y : array_like, optional
            Arrays only.
        *args, **kwargs
            Of `keras.Model.evaluate`; with a federation ``target``, ``by_client``, ``via`` of
            `flaas_jupyter.explaining.evaluate`, ``preprocessing`` as of `explain`, and ``return_dict``, which is True
            by default there.

        Returns
        -------
        Performance, list of float, or what Keras returns
            Over a federation a dictionary of the metrics over all rows by name, the loss first, with ``.by_client``:
            what is told of single ones. With ``return_dict=False`` these figures as a list, as Keras gives them (a
            number where there is the loss only): ``loss, accuracy = model.evaluate(federation, return_dict=False)``.

        Raises
        ------
        InvalidInput
            ``not-compiled``; ``keras-arguments-with-federation``; ``model-does-not-fit``; ``no-target``;
            also: arrays are a table of raw columns, which the last ``fit`` had a preprocessing for.
        NotAllowed
            ``policy-explain`` and the other refusals of statistics.
        """
        if not _is_federation(x):
            self._refuse_raw_columns(x)
            return super().evaluate(x, y, *args, **kwargs)
        preprocessing = kwargs.pop("preprocessing", None)
        strange = sorted(set(kwargs) - {"target", "by_client", "via", "verbose", "return_dict"})
        if y is not None or args or strange:
            raise InvalidInput(
                f"{', '.join(strange) or 'y'} has no meaning with a federation, whose rows stay at its nodes.",
                code="keras-arguments-with-federation",
                hint="With a federation evaluate takes target, by_client, via.",
            )
        self._require_compiled()
        from .explaining import evaluate

        options = {name: value for name, value in kwargs.items() if name not in ("verbose", "return_dict")}
        found = evaluate(x, self.as_travelling(preprocessing), **options)
        if kwargs.get("return_dict", True):
            return found
        figures = list(found.values())
        return figures[0] if len(figures) == 1 else figures

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return predictions for arrays, as `keras.Model.predict` does.

        Raises
        ------
        InvalidInput
            Code ``model-does-not-fit``: `x` is a table of raw columns, which the last ``fit`` had a preprocessing for.
        """
        self._refuse_raw_columns(x)
        return super().predict(x, *args, **kwargs)

    def as_travelling(self, preprocessing: Preprocessing | None = None) -> Travelling:
        """Return the model as it travels with a question to nodes; see `flaas_jupyter.explaining`.

        Parameters
        ----------
        preprocessing : Preprocessing, optional
            Fitted; that of the last ``fit`` by default.
        """
        from .explaining.travelling import keras_model

        chosen = preprocessing if preprocessing is not None else self.fitted_preprocessing
        return keras_model(self, None if chosen is None else chosen.recipe)

    def _refuse_raw_columns(self, x: Any) -> None:
        """Refuse a table that the preprocessing of the last ``fit`` was to be applied to first."""
        prep = self.fitted_preprocessing
        if prep is None or not prep.is_fitted or not hasattr(x, "columns") or not hasattr(x, "dtypes"):
            return
        names = [str(name) for name in x.columns]
        if names == prep.columns or not set(prep.inputs) <= set(names):
            return
        raise InvalidInput(
            f"x is a table of the {len(names)} raw columns; the model takes the {len(prep.columns)} that its "
            "preprocessing makes of them.",
            code="model-does-not-fit",
            hint="preprocessing.export(model) takes preprocessing.raw(table); or give preprocessing.transform(table).",
        )

    def _require_compiled(self) -> None:
        if not self.compiled or self.optimizer is None:
            raise InvalidInput(
                f"Model {self.name!r} has no optimizer and loss yet.",
                code="not-compiled",
                hint='Call model.compile(optimizer="adam", loss=..., metrics=["accuracy"]) first.',
            )


def _secure_aggregation(value: Any) -> SecureAggregation | None:
    if isinstance(value, SecureAggregation):
        return value
    if isinstance(value, bool):
        return SecureAggregation() if value else None
    raise InvalidInput(
        f"secure_aggregation must be True, False or SecureAggregation(clip=..., group_size=..., sharded=...), "
        f"not {value!r}.",
        code="bad-secure-aggregation",
    )


def _rule(given: Any) -> Rule:
    if isinstance(given, Rule):
        return given
    if isinstance(given, str):
        return aggregation(given)
    raise InvalidInput(
        f"aggregation must be one of {', '.join(aggregation.names())}, or a rule, not {given!r}.",
        code="unknown-aggregation",
        hint='A rule with options of its own: flaas.aggregation("krum", byzantine=2).',
        allowed=aggregation.names(),
    )


def _compressor(given: Any) -> Compressor | None:
    if given is None or isinstance(given, Compressor):
        return given
    if isinstance(given, str):
        return compressions(given)
    raise InvalidInput(
        f"compression must be None, one of {', '.join(compressions.names())}, or a compressor, not {given!r}.",
        code="bad-compression",
        hint='With options of its own: flaas.compression("topk", fraction=0.05).',
    )


def _check_privacy(given: Any) -> None:
    if given is None:
        return
    from .protocols.privacy import DifferentialPrivacy

    if not isinstance(given, DifferentialPrivacy):
        raise InvalidInput(
            f"privacy must be None or flaas.DifferentialPrivacy(epsilon, delta, clip), not {given!r}.",
            code="bad-privacy",
        )


def _plain(option: str, value: Any) -> Any:
    """Return an option's value as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The option {option}={value!r} of the aggregation rule can be neither sent nor saved: {error}.",
            code="bad-aggregation-option",
            hint="Options are numbers, texts, lists and dictionaries of these.",
        ) from error


def _is_federation(x: Any) -> bool:
    # Asked of the type: a DataFrame may have a column "train", and properties of a federation go over the network.
    return callable(getattr(type(x), "train", None))


def _refuse_federated_arguments(x: Any, federated: dict[str, Any]) -> None:
    given = [name for name in _FEDERATED_ONLY if federated[name] is not None]
    if hasattr(type(x), "federation"):
        raise InvalidInput(
            f"A {type(x).__name__} is not a federation yet.",
            code="not-a-federation",
            hint='Name the data set: model.fit(project.federation(dataset="..."), rounds=10).',
        )
    if given:
        raise InvalidInput(
            f"{', '.join(given)} only has a meaning with a federation; x is {_kind(x)}.",
            code="rounds-with-arrays",
            hint="Pass a federation as x, or for local training epochs=... in place of rounds.",
        )


def _require_targets(x: Any, y: Any) -> None:
    if y is None and isinstance(x, np.ndarray | list):
        raise InvalidInput(
            f"x is {_kind(x)} and y is missing.",
            code="missing-y",
            hint="model.fit(x, y, epochs=...) trains on arrays, model.fit(federation, rounds=...) on a federation.",
        )


def _refuse_keras_arguments(y: Any, epochs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if epochs is not None:
        raise InvalidInput(
            f"epochs={epochs!r} is ambiguous with a federation.",
            code="epochs-with-federation",
            hint="rounds=... is how often the clients' models are combined, local_epochs=... how many passes each "
            "client makes before that.",
        )
    given = [*(["y"] if y is not None else []), *(["validation_split"] if args else []), *kwargs]
    if given:
        raise InvalidInput(
            f"{', '.join(given)} has no meaning with a federation, whose rows stay at its nodes.",
            code="keras-arguments-with-federation",
            hint="With a federation fit takes batch_size, verbose, callbacks, validation_data, "
            f"{', '.join(_FEDERATED_ONLY)}.",
        )


def _count(name: str, value: Any, code: str = "bad-setting") -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidInput(f"{name} must be a positive integer, not {value!r}.", code=code)
    return int(value)


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InvalidInput(f"seed must be an integer from 0 on, or None, not {value!r}.", code="bad-setting")
    return int(value)


def _kind(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return "None" if x is None else f"of type {type(x).__name__}" + (f" and shape {tuple(shape)}" if shape else "")
