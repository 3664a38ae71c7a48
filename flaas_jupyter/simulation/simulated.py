"""A simulated federation: one data set divided among clients that train in this machine's memory.

``federation = flaas.simulate(x, y, clients=100, partition=flaas.Dirichlet(0.5))`` is fitted on as real nodes are. The
data are kept once and clients are lists of row numbers; only what an attack rewrites for malicious clients is added.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..column_kinds import type_name
from ..errors import Conflict, InvalidInput
from ..federation import RunOptions
from ..plan import TrainingPlan
from ..protocols.attacks import Attack, AttackTest
from ..protocols.combination import (
    in_groups,
    least_clients,
    make_compressor,
    make_rule,
    require_combination,
    require_compression,
    resolve_clients,
)
from ..training.arrays import Arrays, canonical_target
from .analytics import AnalyticsOptions, SimulatedSource, as_moments, options_of
from .behaviour import Behaviour
from .executors import anonymous, check_backend, make_executor
from .journal import Journal, SavedState
from .partition import Partition, Split, partition, plot_partition
from .raw_rows import RawRows
from .rounds import SimulatedTraining
from .secure import settings_of
from .threads import cores
from .work import ClientData, Executor

if TYPE_CHECKING:
    import pandas as pd

    from ..analytics import Analytics, Frame
    from ..exploration import Exploration
    from ..preprocessing import Preprocessing
    from ..protocols.aggregation import Rule
    from ..protocols.analytics import ReleasePolicy
    from ..protocols.privacy import PrivacyPlan
    from ..training.preprocessing import Mapping as ColumnMapping
    from ..training.preprocessing import Recipe

_PARTITION, _MALICIOUS, _POISON, _TESTS = 0, 1, 2, 3


def simulate(
    x: Any = None,
    y: Any = None,
    *,
    clients: int | Sequence[tuple[Any, Any]] | None = None,
    partition: str | Partition | Sequence[Any] = "iid",
    seed: int = 0,
    attack: Attack | None = None,
    behaviour: Behaviour | None = None,
    root: tuple[Any, Any] | None = None,
    backend: str = "auto",
    workers: int | None = None,
    journal: bool = True,
    analytics_policy: ReleasePolicy | None = None,
    analytics_epsilon: float = 0.0,
    raw: bool = False,
    preprocessing: Preprocessing | None = None,
) -> SimulatedFederation:
    """Make a federation of simulated clients.

    Parameters
    ----------
    x : array_like of shape (n, …), DataFrame, or dict of arrays
        All clients' inputs; a dictionary for models with several, by the names of their input layers.
    y : array_like of shape (n, …), Series, or dict of arrays
        All clients' targets.
    clients : int, or sequence of (x, y)
        How many clients, 100 by default; or each client's own data, in place of `x` and `y`.
    partition : str, Partition or sequence of index arrays
        How rows are divided: ``"iid"``, `Dirichlet`, `Shards`, `ByColumn` (`x` a DataFrame with that column, which is
        not among the inputs then), `QuantitySkew`, or the row numbers of each client.
    seed : int
        Of the partition and of who is malicious. What is random in training goes by the seed of ``fit``.
    attack : Attack, optional
        What malicious clients do, e.g. ``flaas.attacks.LabelFlip(fraction=0.3)``.
    behaviour : Behaviour, optional
        Clients that are away, slow or lost on the way; by default nobody is.
    root : (x, y), optional
        Clean data of the aggregator, for rules that compare with an update of its own (FLTrust).
    backend : str
        What clients train on: ``"auto"`` chooses per model; ``"jax"``, ``"tensorflow"``, ``"torch"``; ``"ray"`` on the
        Ray cluster that this process is connected to. The notebook's own Keras backend does not matter.
    workers : int, optional
        Clients trained side by side; one for each core by default. It changes no result.
    journal : bool
        Whether runs are written down under ``FLAAS_HOME/simulations``, where the JupyterLab panel shows them and from
        where ``fit(federation, resume=...)`` goes on.
    analytics_policy : ReleasePolicy, optional
        What `SimulatedFederation.analytics` releases: by default figures of ten rows or more, with exact order
        statistics; ``flaas.ReleasePolicy()`` is what real nodes start with.
    analytics_epsilon : float
        Budget of answers with differential privacy; 0 for none.
    raw : bool
        Take tables with texts and missing values: for statistics, and for ``fit(federation, preprocessing=...)``.
    preprocessing : Preprocessing, optional
        What clients make of their raw columns in each ``fit`` that says nothing else; `raw` is then meant. It is fitted
        on the federation, if it is not fitted yet.

    Returns
    -------
    SimulatedFederation

    Raises
    ------
    InvalidInput
        ``no-data``, ``bad-data``, ``missing-values``, ``bad-clients``, ``bad-seed``, ``not-an-attack``,
        ``bad-behaviour``, ``bad-setting`` (`workers`, `analytics_epsilon`), ``bad-release-policy``,
        ``unknown-backend``, ``extra-missing``, and the partition's and the attack's own.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> federation = simulate(rng.normal(size=(60, 4)), rng.integers(0, 2, 60), clients=6)
    >>> federation.clients["rows"].tolist()
    [10, 10, 10, 10, 10, 10]
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInput(f"seed must be an integer from 0 on, not {seed!r}.", code="bad-seed")
    if attack is not None and not isinstance(attack, Attack):
        raise InvalidInput(
            f"attack must be an attack, not {attack!r}.",
            code="not-an-attack",
            hint="For example flaas.attacks.LabelFlip(fraction=0.3).",
        )
    if behaviour is not None and not isinstance(behaviour, Behaviour):
        raise InvalidInput(
            f"behaviour must be a Behaviour, not {behaviour!r}.",
            code="bad-behaviour",
            hint="For example flaas.Behaviour(availability=0.8, dropout=0.1).",
        )
    if root is not None and (not isinstance(root, Sequence) or len(root) != 2):
        raise InvalidInput(f"root is not a pair (x, y), but {type(root).__name__}.", code="bad-data")
    check_backend(backend)
    own = isinstance(clients, Sequence) and not isinstance(clients, str)
    raw = raw or preprocessing is not None
    if own:
        if x is not None or y is not None:
            raise InvalidInput("clients=[(x, y), …] brings the data; leave x and y out.", code="bad-clients")
        data = list(clients)  # type: ignore[arg-type]
        arrays, split = _own_data(data, raw)
        divided, column = "own data", None
    else:
        arrays, split, divided, column = _shared_data(x, y, clients, partition, int(seed), raw)  # type: ignore[arg-type]
        data = [(x, y)]
    rows = RawRows.of(data, split.names if own else None, column) if raw or _are_tables(data) else None

    def make(arrays: Arrays, *, prepared: Recipe | None) -> SimulatedFederation:
        ready = raw and prepared is None
        return SimulatedFederation(
            arrays,
            split,
            seed=int(seed),
            divided=divided,
            attack=None if ready else attack,
            behaviour=behaviour or Behaviour(),
            root=None if root is None or ready else _root(root, prepared),
            backend=backend,
            workers=cores() if workers is None else _positive("workers", workers),
            journal=journal,
            analytics=options_of(data, analytics_policy, analytics_epsilon),
        )

    def again(pairs: Sequence[tuple[Any, Any]]) -> SimulatedFederation:
        return simulate(
            clients=list(pairs), seed=seed, attack=attack, behaviour=behaviour, root=root, backend=backend,
            workers=workers, journal=journal, analytics_policy=analytics_policy, analytics_epsilon=analytics_epsilon,
            raw=True, preprocessing=preprocessing,
        )  # fmt: skip

    federation = make(arrays, prepared=None)
    federation.raw, federation.preprocessing = raw, preprocessing
    federation.given = None if rows is None else Given(rows, data, make, again if own else None)
    return federation


@dataclasses.dataclass(frozen=True)
class Given:
    """What a federation was made of, to make it again of what preprocessing or a mapping leaves of that.

    Attributes
    ----------
    rows : RawRows
    data : sequence of (x, y)
    make : callable
        Returns the federation on other arrays, with the same clients.
    again : callable or None
        Returns the federation on other tables of its clients, where each has its own.
    """

    rows: RawRows
    data: Sequence[tuple[Any, Any]]
    make: Callable[..., SimulatedFederation]
    again: Callable[[Sequence[tuple[Any, Any]]], SimulatedFederation] | None


class SimulatedFederation:
    """Clients in this machine's memory; `simulate` makes one.

    Attributes
    ----------
    size : int
        Number of clients.
    sizes : ndarray of int, shape (size,)
        Rows of each client.
    malicious : ndarray of bool, shape (size,)
        Who follows the attack.
    attack : Attack or None
    behaviour : Behaviour
    root : int or None
        Number of the client that stands for the aggregator's own data.
    data : ClientData
        Rows, and whose they are.
    raw : bool
        Whether inputs are what preprocessing makes of tables; until then there are none.
    preprocessing : Preprocessing or None
        Of each ``fit`` that says nothing else.
    given : Given or None
        The tables, where it was made of tables.
    """

    raw: bool = False
    preprocessing: Preprocessing | None = None
    given: Given | None = None

    def __init__(
        self,
        arrays: Arrays,
        split: Split,
        *,
        seed: int,
        divided: str,
        attack: Attack | None,
        behaviour: Behaviour,
        root: Arrays | None,
        backend: str,
        workers: int,
        journal: bool,
        analytics: AnalyticsOptions,
    ) -> None:
        behaviour.require_clients(len(split.parts))
        self.size, self.behaviour = len(split.parts), behaviour
        self.sizes = np.array([len(part) for part in split.parts])
        self._split, self._names, self._seed, self._divided = split, split.names, seed, divided
        self._backend, self._workers, self._journal = backend, workers, journal
        self._analytics_options = analytics
        self._source: SimulatedSource | None = None
        self._ids = np.array([str(client) for client in range(self.size)])
        self._clean, self._rows = arrays, arrays.rows
        salts = [arrays.checksum(part) for part in split.parts]
        self.malicious = np.zeros(self.size, bool)
        self.attack = self._prepared(attack)
        parts, extra = list(split.parts), []
        if self.attack is not None:
            chosen = self.attack.choose(self.size, np.random.default_rng([seed, _MALICIOUS]))
            self.malicious[chosen] = True
            extra = self._poisoned(self.attack, parts)
        self.root: int | None = None
        if root is not None:
            _require_alike(arrays, root)
            self.root = len(parts)
            total = self._rows + sum(each.rows for each in extra)
            parts.append(np.arange(total, total + root.rows))
            salts.append(root.checksum())
            extra.append(root)
        self.data = ClientData(_appended(arrays, extra), tuple(parts), tuple(salts))
        self._executor: tuple[Any, Executor] | None = None

    def __repr__(self) -> str:
        attackers = f", {int(self.malicious.sum())} of them malicious" if self.malicious.any() else ""
        return f"<Simulated federation of {self.size} clients{attackers}, {int(self.sizes.sum()):,} rows>"

    # ---- who and what ------------------------------------------------------------------------------------------

    @property
    def clients(self) -> pd.DataFrame:
        """One row per client: ``name``, ``organisation``, ``rows``, ``online``, ``attacker``, ``id``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "name": self._names,
                "organisation": "simulated",
                "rows": self.sizes,
                "online": True,
                "attacker": self.malicious,
                "id": self._ids,
            }
        )

    @property
    def names(self) -> dict[str, str]:
        """Each client's id and name."""
        return dict(zip(self._ids.tolist(), self._names, strict=True))

    @property
    def attackers(self) -> list[str]:
        """Names of the malicious clients."""
        return [name for name, bad in zip(self._names, self.malicious, strict=True) if bad]

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column or array: ``name``, ``dtype``, ``shape``, ``role`` (feature or target)."""
        import pandas as pd

        clean = self._clean
        raw = self.given.rows.tables[0] if self.raw and self.given is not None else {}
        rows: list[dict[str, Any]] = [
            {"name": name, "dtype": _dtype(values), "shape": [], "role": "feature"} for name, values in raw.items()
        ]
        rows += (
            []
            if raw
            else [
                {"name": name, "dtype": str(clean.inputs[""].dtype), "shape": [], "role": "feature"}
                for name in clean.columns
            ]
            or [
                {"name": name or "x", "dtype": str(values.dtype), "shape": list(values.shape[1:]), "role": "feature"}
                for name, values in clean.inputs.items()
            ]
        )
        rows += [
            {"name": name or "y", "dtype": str(values.dtype), "shape": list(values.shape[1:]), "role": "target"}
            for name, values in clean.targets.items()
        ]
        return pd.DataFrame(rows, columns=["name", "dtype", "shape", "role"])

    def plot(self, *, ax: Any = None) -> Any:
        """Draw how the rows are divided: classes by client, or sizes; returns matplotlib's axes."""
        labels = next(iter(self._clean.targets.values()))
        return plot_partition(labels, self._split.parts, self._names, ax=ax)

    def ids(self, clients: NDArray[np.int64]) -> list[str]:
        """Return the ids of clients given by number."""
        found: list[str] = self._ids[clients].tolist()
        return found

    def number_of(self, client: str | None) -> int | None:
        """Return the number of the client with an id, or None for None."""
        return None if client is None else int(np.flatnonzero(self._ids == client)[0])

    def attack_test(self, x: Any, y: Any) -> AttackTest | None:
        """Return what the attack's success is measured on, made of clean test data; None without a target."""
        if self.attack is None or isinstance(x, dict | list):
            return None
        return self.attack.tests(np.asarray(x), np.asarray(y), np.random.default_rng([self._seed, _TESTS]))

    # ---- analytics ---------------------------------------------------------------------------------------------

    @property
    def analytics(self) -> Analytics:
        """Statistics over the rows of all clients: ``analytics.mean("age", by="sex")``, see docs/analytics.md."""
        from ..analytics import Analytics

        if self._source is None:
            self._source = SimulatedSource(self._analytics_options, self._split.parts, self.names, self._seed)
        return Analytics(self._source)

    def frame(self) -> Frame:
        """Return a lazy table over the rows of all clients: ``frame[frame.age > 30].groupby("sex").age.mean()``."""
        return self.analytics.frame()

    def explore(self) -> Exploration:
        """Return what can be seen of the rows: distributions, missing values, correlations, …; see docs/explorer.md."""
        from ..exploration import Exploration
        from .exploration import SimulatedExplored

        source = self.analytics.source
        assert isinstance(source, SimulatedSource)  # as `analytics` makes it
        return Exploration(SimulatedExplored(source, self.sizes.tolist()))

    # ---- tables ------------------------------------------------------------------------------------------------

    def prepared(self, recipe: Recipe) -> SimulatedFederation:
        """Return the federation on what `recipe` makes of the tables that it was made of, with the same clients.

        Raises
        ------
        InvalidInput
            ``no-raw-columns``: it was made of arrays; ``recipe-does-not-fit``, ``missing-values``.
        """
        if self.given is None:
            raise InvalidInput(
                "This federation was made of arrays, which have no columns to be preprocessed.",
                code="no-raw-columns",
                hint="Give flaas.simulate DataFrames: flaas.simulate(table, y, clients=5, raw=True).",
            )
        known = self._prepared_for
        if known is None or known[0] != recipe.digest:
            if known is not None:
                known[1].close()
            made = self.given.make(self.given.rows.arrays(recipe), prepared=recipe)
            self._prepared_for = known = (recipe.digest, made)
        return known[1]

    _prepared_for: tuple[str, SimulatedFederation] | None = None

    def mapped(self, mapping: ColumnMapping) -> SimulatedFederation:
        """Return the federation with each client's columns under their common names; see `suggest_mapping`.

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``, ``duplicate-columns``.
        """
        if self.given is None or self.given.again is None:
            return self
        return self.given.again([(mapping.apply(x, str(place)), y) for place, (x, y) in enumerate(self.given.data)])

    def schema_differences(self) -> pd.DataFrame:
        """Return where clients' columns differ: a row for each column and client; see docs/preprocessing.md."""
        from ..harmonising import differences

        return differences(self._described(), self.names)

    def suggest_mapping(self) -> ColumnMapping:
        """Return a mapping that brings the clients' columns under common names, units and codes, as far as it is seen.

        `mapping.table` shows it, `mapping.unresolved` what is left, `federation.mapped(mapping)` applies it.
        """
        from ..harmonising import suggest

        return suggest(self._described(), self.names)

    def _described(self) -> dict[str, list[dict[str, Any]]]:
        from ..harmonising import described

        if self.given is None:
            columns = [{str(key): value for key, value in row.items()} for row in self.schema.to_dict("records")]
            return dict.fromkeys(self.names, columns)
        tables = self.given.rows.tables
        if self.given.rows.clients is None:
            return dict.fromkeys(self.names, described(tables[0]))
        return {client: described(table) for client, table in zip(self.names, tables, strict=True)}

    # ---- training ----------------------------------------------------------------------------------------------

    def train(self, plan: TrainingPlan, weights: NDArray[Any], options: RunOptions) -> SimulatedTraining:
        """Begin a run of `plan` from `weights` of shape (p,).

        Raises
        ------
        InvalidInput
            ``model-does-not-fit``, ``backend-unfit``, ``too-few-clients``, ``privacy-budget``,
            ``aggregation-needs-updates``, ``secagg-too-many-nodes`` and other codes of what they come from;
            ``needs-preprocessing``.
        """
        self._require_inputs()
        seed = secrets.randbits(62) if options.seed is None else options.seed
        protocols = self._protocols(options, plan.compression)
        executor = self._executor_for(plan)
        journal = None
        if self._journal:
            journal = Journal.create(self._header(plan, options, seed, executor.name))
            journal.save_plan(plan)
        state = SavedState(0, weights, None)
        return SimulatedTraining(
            self, plan, executor, *protocols, options, seed=seed, state=state, journal=journal, reports=[]
        )

    def resume(self, run: str, plan: TrainingPlan, weights: NDArray[Any]) -> SimulatedTraining:
        """Go on with a run that was interrupted, failed, stopped or killed; its settings are its own.

        Raises
        ------
        NotFound
            ``unknown-simulation``, ``no-checkpoint``.
        Conflict
            ``simulation-running``: another process is at it; ``other-model``; ``other-federation``: it ran on other
            data, clients or attackers.
        InvalidInput
            ``damaged-simulation``.
        """
        self._require_inputs()
        journal = Journal.open(run)
        if journal.runs_elsewhere:
            raise Conflict(
                f"Simulation {run} is running in process {journal.header['pid']}.",
                code="simulation-running",
                hint="Stop it first, in the Federated learning panel or where it runs.",
            )
        saved = journal.plan()
        if _structure(saved) != _structure(plan):
            raise Conflict(
                f"Simulation {run} does not train this model.",
                code="other-model",
                hint="Define the model as it was when the simulation was started.",
            )
        if journal.header["fingerprint"] != self._fingerprint():
            raise Conflict(
                f"Simulation {run} ran on other data, clients, attackers or behaviour.",
                code="other-federation",
                hint="Call flaas.simulate with the arguments it was started with.",
            )
        options = _read_options(journal.header["options"])
        state = journal.load()
        rule, privacy, least = self._protocols(options, saved.compression)
        rule.load_state_dict(state.rule)
        reports = journal.reports(state.round)
        executor = self._executor_for(saved)
        journal.running(state.round)
        seed = int(state.run["seed"])
        return SimulatedTraining(
            self,
            saved,
            executor,
            rule,
            privacy,
            least,
            options,
            seed=seed,
            state=state,
            journal=journal,
            reports=reports,
        )

    def _require_inputs(self) -> None:
        if self.raw:
            raise InvalidInput(
                "The clients' tables are raw, with texts or missing values; a model takes neither.",
                code="needs-preprocessing",
                hint="model.fit(federation, preprocessing=flaas.Preprocessing(...), rounds=...).",
            )

    def _protocols(
        self, options: RunOptions, compression: dict[str, Any] | None
    ) -> tuple[Rule, PrivacyPlan | None, int]:
        """Make rule and privacy of a run, and refuse what cannot end well before anything is trained.

        The third is with how many clients the rule works at least.
        """
        rule = make_rule(options.aggregation, resolve_clients(options.aggregation_options, self.names))
        most = min(self.size, options.clients_per_round or self.size)
        require_combination(
            rule,
            secure_aggregation=options.secure_aggregation,
            privacy=options.privacy,
            group_size=options.group_size,
            sharded=options.sharded,
            clients=min(most, int((self.sizes > 0).sum())),
        )
        require_compression(
            make_compressor(compression),
            rule,
            secure_aggregation=options.secure_aggregation,
            privacy=options.privacy,
            sharded=options.sharded,
        )
        if rule.needs_trusted and self.root is None:
            raise InvalidInput(
                f"The aggregation rule {rule.name} compares with an update that somebody trusted trained.",
                code="no-trusted-update",
                hint="Give the aggregator clean data, flaas.simulate(..., root=(x, y)), or name a trusted client, "
                f'flaas.aggregation("{rule.name}", trusted="0").',
            )
        trusted = rule.options.get("trusted")
        able = sorted(self._ids[self.sizes > 0].tolist(), key=lambda client: client != trusted)[:most]
        least = least_clients(
            rule,
            able,
            secure_aggregation=options.secure_aggregation,
            has_trusted=self.root is not None,
            group_size=options.group_size,
        )
        if options.secure_aggregation and not in_groups(rule, secure_aggregation=True):
            settings_of(able, 1, options.clip)  # so many can, or it says why not
        if options.privacy is None:
            return rule, None, least
        from ..protocols.privacy import plan_privacy

        plan = plan_privacy(
            options.privacy,
            rounds=options.rounds,
            clients=self.size,
            clients_per_round=None if options.clients_per_round is None else most,
            amplified=True,
        )
        return rule, plan, least

    def _executor_for(self, plan: TrainingPlan) -> Executor:
        """The executor of this plan; the last one is kept, for a fit that goes on or repeats with another seed."""
        made_for = dataclasses.replace(plan, seed=None).digest
        if self._executor is not None and self._executor[0] == made_for and self._executor[1].alive:
            return self._executor[1]
        self.close()
        executor = make_executor(plan, self.data, backend=self._backend, workers=self._workers)
        self._executor = (made_for, executor)
        return executor

    def discard(self, executor: Executor) -> None:
        """Close an executor that must not be used again."""
        if self._executor is not None and self._executor[1] is executor:
            self._executor = None
        executor.close()

    def close(self) -> None:
        """Let go of worker processes and threads; the next ``fit`` makes new ones."""
        if self._executor is not None:
            self._executor[1].close()
            self._executor = None
        if self._prepared_for is not None:
            self._prepared_for[1].close()

    def _header(self, plan: TrainingPlan, options: RunOptions, seed: int, executor: str) -> dict[str, Any]:
        attack = self.attack
        return {
            "name": options.name or "simulation",
            "rounds": options.rounds,
            "aggregation": options.aggregation,
            "aggregation_options": options.aggregation_options,
            "attack": None if attack is None else {"name": attack.name, "options": attack.options},
            "privacy": None if options.privacy is None else options.privacy.to_dict(),
            "partition": self._divided,
            "backend": executor,
            "parameters": plan.parameters,
            "local_epochs": plan.local_epochs,
            "clients": [
                {"id": client, "name": name, "rows": rows, "attacker": attacker}
                for client, name, rows, attacker in zip(
                    self._ids.tolist(), self._names, self.sizes.tolist(), self.malicious.tolist(), strict=True
                )
            ],
            "seed": seed,
            "options": {
                **dataclasses.asdict(options),
                "privacy": None if options.privacy is None else options.privacy.to_dict(),
            },
            "fingerprint": self._fingerprint(),
        }

    def _fingerprint(self) -> str:
        """What a run depends on beside the model and the options of fit."""
        attack = self.attack
        facts = [
            self.sizes.tolist(),
            list(self.data.salts),
            self.malicious.tolist(),
            None if attack is None else [attack.name, attack.options],
            self.behaviour.fingerprint(),
            self._seed,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    # ---- attackers ---------------------------------------------------------------------------------------------

    def _prepared(self, attack: Attack | None) -> Attack | None:
        if attack is None:
            return None
        if not attack.poisons_data:
            return attack
        x, y = self._one_array(attack)
        return attack.prepared(x, y)

    def _one_array(self, attack: Attack) -> tuple[NDArray[Any], NDArray[Any]]:
        if len(self._clean.inputs) != 1 or len(self._clean.targets) != 1:
            raise InvalidInput(
                f"The attack {attack.name} rewrites one input and one target; the data have "
                f"{len(self._clean.inputs)} and {len(self._clean.targets)}.",
                code="attack-needs-one-array",
            )
        return next(iter(self._clean.inputs.values())), next(iter(self._clean.targets.values()))

    def _poisoned(self, attack: Attack, parts: list[NDArray[np.int64]]) -> list[Arrays]:
        """Rewrite the malicious clients' rows: copies are appended, and their clients given these instead."""
        if not attack.poisons_data:
            return []
        x, y = self._one_array(attack)
        (x_name,), (y_name,) = self._clean.inputs, self._clean.targets
        extra, at = [], self._rows
        for client in np.flatnonzero(self.malicious & (self.sizes > 0)):
            rng = np.random.default_rng([self._seed, _POISON, int(client)])
            own = parts[client]
            new_x, new_y = attack.poison(x[own], y[own], rng)
            extra.append(Arrays("poisoned", {x_name: new_x.astype(x.dtype)}, {y_name: new_y.astype(y.dtype)}))
            parts[client] = np.arange(at, at + len(new_x))
            at += len(new_x)
        return extra


# ---- data -------------------------------------------------------------------------------------------------------


def _are_tables(data: Sequence[tuple[Any, Any]]) -> bool:
    return all(hasattr(x, "columns") and not isinstance(y, Mapping) for x, y in data)


def _root(root: tuple[Any, Any], recipe: Recipe | None) -> Arrays:
    return _arrays(*root, "root") if recipe is None else RawRows.of([root], None).arrays(recipe, "root")


def _dtype(values: NDArray[Any]) -> str:
    return type_name(as_moments(values).dtype)


def _shared_data(
    x: Any, y: Any, clients: int | None, how: str | Partition | Sequence[Any], seed: int, raw: bool
) -> tuple[Arrays, Split, str, str | None]:
    if x is None or y is None:
        raise InvalidInput(
            "There are no data to divide among clients.",
            code="no-data",
            hint="flaas.simulate(x, y, clients=100), or flaas.simulate(clients=[(x0, y0), (x1, y1)]).",
        )
    way = partition(how)
    table = x if hasattr(x, "columns") else None
    column = getattr(way, "name", None)
    if table is not None and column in list(table.columns):
        x = table.drop(columns=[column])
    arrays = RawRows.of([(x, y)], None).arrays(None) if raw else _arrays(x, y, "simulated")
    labels = next(iter(arrays.targets.values()))
    count = clients if clients is not None or column is not None or not isinstance(how, str | Partition) else 100
    split = way.split(labels, count, np.random.default_rng([seed, _PARTITION]), table=table)
    return arrays, split, "explicit" if not isinstance(how, str | Partition) else str(how), column


def _own_data(clients: Sequence[tuple[Any, Any]], raw: bool) -> tuple[Arrays, Split]:
    if not clients:
        raise InvalidInput("A federation needs clients; the list is empty.", code="bad-clients")
    each = []
    for number, pair in enumerate(clients):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise InvalidInput(f"Client {number} is not a pair (x, y), but {type(pair).__name__}.", code="bad-clients")
        each.append(RawRows.of([pair], None).arrays(None) if raw else _arrays(*pair, f"client {number}"))
        _require_alike(each[0], each[-1])
    ends = np.cumsum([arrays.rows for arrays in each])
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    return _appended(each[0], each[1:]), Split(list(parts), [str(number) for number in range(len(each))])


def _arrays(x: Any, y: Any, name: str) -> Arrays:
    columns = tuple(str(column) for column in x.columns) if hasattr(x, "columns") else ()
    inputs = {"": x} if not isinstance(x, Mapping) else dict(x)
    targets = {"": y} if not isinstance(y, Mapping) else dict(y)
    ready_x = {key: _numbers(values, f"x {key}".strip(), name) for key, values in inputs.items()}
    ready_y = {key: canonical_target(_numbers(values, f"y {key}".strip(), name)) for key, values in targets.items()}
    rows = {len(values) for values in [*ready_x.values(), *ready_y.values()]}
    if len(rows) != 1 or 0 in rows:
        raise InvalidInput(
            f"The arrays of {name} must have one number of rows, above 0; they have {sorted(rows)}.", code="bad-data"
        )
    return Arrays(name, ready_x, ready_y, columns)


def _numbers(values: Any, what: str, name: str) -> NDArray[Any]:
    """`values` as an array of finite numbers."""
    try:
        array = values.to_numpy(dtype="float32") if hasattr(values, "columns") else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{what} of {name} is not numbers through and through: {error}.",
            code="bad-data",
            hint="Encode text and categories as numbers first, e.g. pandas.get_dummies or scikit-learn's encoders.",
        ) from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InvalidInput(
            f"{what} of {name} must be an array of numbers; it is {array.dtype} of shape {array.shape}.",
            code="bad-data",
            hint="Encode text and categories as numbers first.",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(
            f"{what} of {name} has missing or infinite values.",
            code="missing-values",
            hint="Fill them (pandas: table.fillna(...)) or drop those rows.",
        )
    return array


def _require_alike(first: Arrays, other: Arrays) -> None:
    def shapes(arrays: Arrays) -> dict[str, Any]:
        groups = {"x": arrays.inputs, "y": arrays.targets}
        return {f"{k} {name}".strip(): v.shape[1:] for k, group in groups.items() for name, v in group.items()}

    if shapes(first) != shapes(other):
        raise InvalidInput(
            f"The rows of {other.name} have other shapes than those of {first.name}: {shapes(other)} and "
            f"{shapes(first)}.",
            code="bad-data",
        )


def _appended(first: Arrays, others: Sequence[Arrays]) -> Arrays:
    """All rows one after another; what there is once already is not copied."""
    if not others:
        return first

    def joined(group: str) -> dict[str, NDArray[Any]]:
        return {
            name: np.concatenate([values, *(getattr(other, group)[name] for other in others)])
            for name, values in getattr(first, group).items()
        }

    # Some clients' targets may look like labels and others' not.
    targets = {name: canonical_target(values) for name, values in joined("targets").items()}
    return Arrays(first.name, joined("inputs"), targets, first.columns)


def _structure(plan: TrainingPlan) -> list[Any]:
    """What must be the same of a model for its weights to mean the same; names that Keras counts up may differ."""
    return [[(spec.shape, str(spec.dtype)) for spec in plan.weights], anonymous(plan.model["layers"])]


def _read_options(data: dict[str, Any]) -> RunOptions:
    from ..protocols.combination import read_privacy

    return RunOptions(**{**data, "privacy": read_privacy(data["privacy"])})


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidInput(f"{name} must be a positive integer, not {value!r}.", code="bad-setting")
    return int(value)
