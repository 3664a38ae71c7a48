"""The node owner's policy: what may be done here, and with which data, whoever asks.

It is a file for people, ``node.toml`` in `FLAAS_HOME`, and it is asked twice: when a run invites this node and again
when the plan arrives. A fresh policy allows nothing to anybody; ``flaas node join`` adds the project that it joins.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, NotAllowed
from ..home import write_private

_DEFAULT = """\
# What this node may be used for. Its owner decides; nobody else can change it.
# The node reads this file when it starts.

[policy]
# Projects whose runs may use this node. `flaas node join` adds a project here.
projects = []

# What may be done with the data: "train"; "analytics" (statistics over the rows of all nodes together); "vertical"
# (learn together with nodes that have other columns about the same people); beside it, at the node that holds the
# label, "vertical-split" (mode "split", which tells others the labels).
operations = {operations}

# A data set with fewer rows than this takes no part: an update from few people tells much about each.
minimum_rows = 20

# Limits of one run.
maximum_rounds = 1000
maximum_local_epochs = 1000
maximum_parameters = 100_000_000

# "required": updates leave this node masked only, so that nobody sees it alone. "optional": the run decides.
secure_aggregation = "{secure_aggregation}"

# Where it is required: rules that compare updates see the sums of groups of the nodes, and this node takes part where a
# group has at least so many. 3 is the smallest there is; a large number keeps such rules away.
secure_group = 3

# How models may have updates compressed here: names as flaas.compression.names() lists them; an empty list means any,
# or none. With "topk" and "randomk" what was not sent yet of an update is kept in FLAAS_HOME/residuals during a run.
compressions = []

# "required": only runs with differential privacy, so that the model tells little about this node's data even if it
# is published. "optional": the run decides.
privacy = "optional"

# Largest privacy budget of one run; a run without differential privacy has none and is refused, unless this is inf.
# With a delta above maximum_delta an epsilon says nothing.
maximum_epsilon = inf
maximum_delta = 1e-3

# Federated analytics ("analytics" among the operations): statistics over the rows of all nodes together.
# A group of fewer rows than this is not told, whoever asks.
minimum_group = 10

# Minima, maxima and quantiles are values of single rows. "bracketed": told as a bracket that holds minimum_group rows;
# "exact": as they are. Sums of derived columns: of "plain" ones, which cannot single a row out, or of "any".
analytics_order = "bracketed"
analytics_derived = "plain"

# "required": only answers with differential privacy (epsilon=...). "optional": who asks decides.
analytics_privacy = "optional"

# What all private answers about a data set may cost together, for each developer; 0 is nothing, but where privacy is
# optional exact answers cost nothing. `flaas dataset budget NAME` shows what is spent.
analytics_epsilon = 0.0

# Steps of one query: quantiles, say, are found step by step.
analytics_steps = 256

# What the data explorer may show of the data set, and what statistics may tell, whoever asks: "nothing" (not even the
# names of columns), "schema" (names, types, declared units and ranges), "private" (statistics with differential
# privacy only), "aggregates" (statistics over minimum_group rows at least). Left away, it is "aggregates" where
# "analytics" is among the operations, else "schema".
# explore = "schema"

# Whether it may be told how far this node's rows are from those of all nodes together: one number for a column.
explore_drift = false

# Whether columns that are registered as sensitive may be explored.
explore_sensitive = false

# Whether it may be told how well a model does on this node's rows alone (on those of all nodes it may be, where models
# may come to the data set at all).
explore_performance = false

# Custom Keras layers that may run here, as "package>Layer", or "module:package>Layer" where importing the module
# registers it. They run with this node's rights: list only code that you have read and installed yourself.
allow_layers = []

# Whose runs. Each must be signed by a developer of the project. Developers by their id (`flaas whoami` shows it),
# organisations by theirs; an empty list of those allowed means all, and who is denied is denied whatever is allowed.
allow_developers = []
deny_developers = []
allow_organisations = []
deny_organisations = []

# Who may send this node files, sealed, through their JupyterLab, to be registered as data sets: ids of people
# (`flaas whoami` shows one's own). An empty list means nobody. And how large a file may be, in bytes.
uploads = []
upload_limit = 10_737_418_240

# "signed": a signed run that this policy allows starts. "manual": the owner is asked about each (`flaas node requests`,
# `flaas node approve RUN`), and the run is refused after so many seconds without an answer.
approve = "signed"
approve_within = 600

# Which members of its projects this node talks to at all. "signed": all that the project's administrators have signed
# for. "manual": its owner is asked once about each key, and pins it (`flaas node peers`, `flaas node peers accept
# NODE_ID`). Keys that are denied stay out, whatever is signed or accepted.
peers = "signed"
deny_peers = []

# "refuse": no new run while the audit log of the coordination API is found to be forked, cut off or rewritten.
# "warn": it is only logged.
on_audit_alarm = "refuse"

# Vertical runs: how many ids may be matched, and how few common ones end the run before anything else is computed.
vertical_maximum_ids = 10_000_000
minimum_intersection = 1000

# Whether a developer may have this node's part of a vertical model, and who may have its scores: "label_holder" (they
# stay in a file at the node that holds the label) or "developer". All parties of a run must agree.
vertical_release_model = false
vertical_predictions = "label_holder"

# Folders that data may be read from, with everything below them; empty: whichever this node's owner names, on the
# command line or in a notebook on the node, while what others send in is read from FLAAS_HOME alone.
data_folders = []

# Hosts whose https:// data may be read though their addresses are not public, such as "files.clinic.internal". Public
# hosts need not be listed; addresses at which clouds keep credentials are never read.
data_hosts = []

# Whom a developer should ask who is refused; shown to them.
contact = ""

# Other rules for one data set, by its name; what is not given here is as above:
# [policy.datasets.loans]
# projects = ["credit"]
# minimum_rows = 500
"""

_WORDS = {
    "texts": "a list of texts",
    "count": "an integer from 1 on",
    "mode": '"required" or "optional"',
    "quantity": "a number above 0",
    "budget": "a number from 0 on",
    "order": '"bracketed" or "exact"',
    "derived": '"plain" or "any"',
    "approval": '"signed" or "manual"',
    "alarm": '"refuse" or "warn"',
    "text": "a text",
    "flag": "true or false",
    "scores": '"label_holder" or "developer"',
    "level": '"nothing", "schema", "private" or "aggregates"',
}
_KINDS = {
    "projects": "texts",
    "operations": "texts",
    "minimum_rows": "count",
    "maximum_rounds": "count",
    "maximum_local_epochs": "count",
    "maximum_parameters": "count",
    "secure_aggregation": "mode",
    "secure_group": "count",
    "compressions": "texts",
    "privacy": "mode",
    "maximum_epsilon": "quantity",
    "maximum_delta": "quantity",
    "minimum_group": "count",
    "analytics_order": "order",
    "analytics_derived": "derived",
    "analytics_privacy": "mode",
    "analytics_epsilon": "budget",
    "analytics_steps": "count",
    "explore": "level",
    "explore_drift": "flag",
    "explore_sensitive": "flag",
    "explore_performance": "flag",
    "allow_layers": "texts",
    "allow_developers": "texts",
    "deny_developers": "texts",
    "allow_organisations": "texts",
    "deny_organisations": "texts",
    "uploads": "texts",
    "upload_limit": "count",
    "approve": "approval",
    "approve_within": "count",
    "peers": "approval",
    "deny_peers": "texts",
    "on_audit_alarm": "alarm",
    "vertical_maximum_ids": "count",
    "minimum_intersection": "count",
    "vertical_release_model": "flag",
    "vertical_predictions": "scores",
    "data_folders": "texts",
    "data_hosts": "texts",
    "contact": "text",
}


ANALYTICS, EXPLORE = "analytics", "explore"
"""Purposes of statistics: free questions, and the explorer's own views."""

# Code runs with the node's rights, whatever it is given to read; and data are read before they have a name.
_OF_THE_NODE = ("allow_layers", "data_folders", "data_hosts", "peers", "deny_peers")


@dataclass(frozen=True)
class Policy:
    """What the owner of a node allows.

    Parameters
    ----------
    projects : tuple of str
        Projects whose runs may use this node.
    operations : tuple of str
        What may be done with data: ``"train"``, ``"vertical"``, ``"vertical-split"``.
    minimum_rows : int
        Smallest data set that takes part.
    maximum_rounds, maximum_local_epochs, maximum_parameters : int
        Limits of one run.
    secure_aggregation, privacy : str
        ``"required"`` or ``"optional"``.
    secure_group : int
        Where secure aggregation is required: nodes of a group at least, of a run in group mode.
    compressions : tuple of str
        Compressions of updates that models may ask for; any where none is named.
    maximum_epsilon, maximum_delta : float
        Largest budget of differential privacy of one run; a run without privacy has an infinite epsilon.
    minimum_group : int
        Smallest group of rows, over all nodes, of which a statistic is told.
    analytics_order, analytics_derived : str
        ``"bracketed"`` or ``"exact"``; ``"plain"`` or ``"any"``: see `protocols.analytics.ReleasePolicy`.
    analytics_privacy : str
        ``"required"`` or ``"optional"``: whether statistics must be differentially private.
    analytics_epsilon : float
        What private statistics about a data set may cost together, for each developer.
    analytics_steps : int
        Most steps of one query.
    explore : str
        What the explorer may show: see `level`; empty where the owner has not said.
    explore_drift, explore_sensitive : bool
        Whether the distance of this node's rows from those of all may be told; whether sensitive columns may be shown.
    explore_performance : bool
        Whether it may be told how well a model does on this node's rows alone.
    allow_layers : tuple of str
        Registered custom layers that may run here; see `TrainingPlan.build`.
    allow_developers, deny_developers : tuple of str
        Ids of developers whose runs may use this node, all if none is named, and of those whose may not.
    allow_organisations, deny_organisations : tuple of str
        The same of their organisations.
    uploads : tuple of str
        Ids of people who may send this node sealed files to be registered.
    upload_limit : int
        Bytes of one of them.
    approve : str
        ``"signed"`` or ``"manual"``: whether the owner is asked about each run.
    approve_within : int
        Seconds that the owner has to answer.
    peers : str
        ``"signed"`` or ``"manual"``: whether the owner is asked about each peer's key.
    deny_peers : tuple of str
        Keys that this node has nothing to do with.
    on_audit_alarm : str
        ``"refuse"`` or ``"warn"``: what an alarm about the API's audit log means for new runs.
    vertical_maximum_ids, minimum_intersection : int
        How many ids a vertical run may match, and how many must be common.
    vertical_release_model : bool
        Whether this node's part of a vertical model may go to the developer of the run.
    vertical_predictions : str
        ``"label_holder"`` or ``"developer"``: who may have the scores of a vertical model.
    data_folders, data_hosts : tuple of str
        Folders that data may be read from, all if none is named, and hosts that may be read from though their
        addresses are not public.
    contact : str
        Whom a refused developer should ask.
    datasets : dict
        Data set name to the settings that differ for it.
    """

    projects: tuple[str, ...] = ()
    operations: tuple[str, ...] = ("train",)
    minimum_rows: int = 20
    maximum_rounds: int = 1000
    maximum_local_epochs: int = 1000
    maximum_parameters: int = 100_000_000
    secure_aggregation: str = "optional"
    secure_group: int = 3
    compressions: tuple[str, ...] = ()
    privacy: str = "optional"
    maximum_epsilon: float = math.inf
    maximum_delta: float = 1e-3
    minimum_group: int = 10
    analytics_order: str = "bracketed"
    analytics_derived: str = "plain"
    analytics_privacy: str = "optional"
    analytics_epsilon: float = 0.0
    analytics_steps: int = 256
    explore: str = ""
    explore_drift: bool = False
    explore_sensitive: bool = False
    explore_performance: bool = False
    allow_layers: tuple[str, ...] = ()
    allow_developers: tuple[str, ...] = ()
    deny_developers: tuple[str, ...] = ()
    allow_organisations: tuple[str, ...] = ()
    deny_organisations: tuple[str, ...] = ()
    uploads: tuple[str, ...] = ()
    upload_limit: int = 10 << 30
    approve: str = "signed"
    approve_within: int = 600
    peers: str = "signed"
    deny_peers: tuple[str, ...] = ()
    on_audit_alarm: str = "refuse"
    vertical_maximum_ids: int = 10_000_000
    minimum_intersection: int = 1000
    vertical_release_model: bool = False
    vertical_predictions: str = "label_holder"
    data_folders: tuple[str, ...] = ()
    data_hosts: tuple[str, ...] = ()
    contact: str = ""
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @staticmethod
    def default_toml(secure_aggregation: str = "optional", operations: Sequence[str] = ("train",)) -> str:
        """Return the commented policy file of a new node."""
        return _DEFAULT.format(secure_aggregation=secure_aggregation, operations=json.dumps(list(operations)))

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read the ``[policy]`` of a ``node.toml``.

        Raises
        ------
        InvalidInput
            Code ``bad-policy``: the file cannot be read, or holds an unknown key or a value of the wrong kind; the
            message names the line or the key.
        """
        text = _read(path)
        document = _parse(text, path)
        unknown = [key for key in document if key != "policy"]
        if unknown:
            raise _unknown_key(path, text, unknown[0], ["policy"])
        table = document.get("policy", {})
        if not isinstance(table, dict):
            raise _bad(path, "[policy] must be a table")
        overrides = table.pop("datasets", {})
        if not isinstance(overrides, dict) or not all(isinstance(entry, dict) for entry in overrides.values()):
            raise _bad(path, "the data sets must be tables [policy.datasets.NAME]")
        datasets = {}
        for name, entry in overrides.items():
            for key in _OF_THE_NODE:
                if key in entry:
                    raise _bad(path, f"{key} stands under [policy], not under [policy.datasets.{name}]")
            datasets[name] = _settings(entry, f"[policy.datasets.{name}]", path, text)
        return cls(**_settings(table, "[policy]", path, text), datasets=datasets)

    def for_dataset(self, name: str) -> Policy:
        """Return the policy as it is for one data set."""
        return dataclasses.replace(self, **self.datasets.get(name, {}), datasets={})

    def check(self, run: dict[str, Any], description: dict[str, Any]) -> None:
        """Refuse a run that the owner does not allow on a data set.

        Parameters
        ----------
        run : dict
            As the coordination API describes it (docs/rest.md).
        description : dict
            The data set's.

        Raises
        ------
        NotAllowed
            ``policy-projects``, ``policy-operation``, ``policy-minimum-rows``, ``policy-maximum-rounds``,
            ``policy-maximum-local-epochs``, ``policy-maximum-parameters``, ``policy-secure-aggregation``,
            ``policy-compressions``, ``policy-privacy``, ``policy-maximum-epsilon`` or ``policy-maximum-delta``. The
            message has what was asked and what is allowed, the hint whom to ask.
        """
        dataset = str(description["name"])
        policy = self.for_dataset(dataset)
        project, operation = str(run["project"]), str(run.get("operation", "train"))
        if project not in policy.projects:
            raise policy._refusal("projects", f"Project {project!r} may not use data set {dataset!r} of this node.")
        if project not in description["projects"]:
            raise NotAllowed(
                f"Data set {dataset!r} of this node is not offered to project {project!r}.",
                code="policy-projects",
                hint=f"Ask {policy.whom}; the data set is registered for other projects.",
            )
        if operation not in policy.operations:
            allowed = ", ".join(policy.operations) or "nothing"
            raise policy._refusal(
                "operation", f"The run is to {operation} with data set {dataset!r}; allowed is: {allowed}."
            )
        if int(description["rows"]) < policy.minimum_rows:
            # The number of rows is public (it is in the description); which rows they are is not.
            raise policy._refusal(
                "minimum_rows",
                f"Data set {dataset!r} has {description['rows']} rows here; this node takes part with "
                f"{policy.minimum_rows} or more.",
            )
        for setting, asked in (
            ("maximum_rounds", run["rounds"]),
            ("maximum_local_epochs", run["local_epochs"]),
            ("maximum_parameters", run["parameters"]),
        ):
            limit = getattr(policy, setting)
            if int(asked) > limit:
                what = setting.removeprefix("maximum_").replace("_", " ")
                raise policy._refusal(setting, f"The run asks for {asked} {what}; this node allows up to {limit}.")
        if policy.secure_aggregation == "required" and not run["secure_aggregation"]:
            raise policy._refusal(
                "secure_aggregation",
                "The run is without secure aggregation; updates leave this node masked only.",
                hint="Build the model with FederatedModel(..., secure_aggregation=True), or ask ",
            )
        group = run.get("group_size")
        if policy.secure_aggregation == "required" and group is not None and int(group) < policy.secure_group:
            raise policy._refusal(
                "secure_group",
                f"The run's rule sees the sums of groups of {group} nodes; this node's update is hidden among "
                f"{policy.secure_group} at least.",
                hint="Use SecureAggregation(group_size=...), a rule that needs one sum only, or ask ",
            )
        compression = run.get("compression")
        if compression is not None and policy.compressions and compression["name"] not in policy.compressions:
            raise policy._refusal(
                "compressions",
                f"The model has updates compressed by {compression['name']!r}; this node allows "
                f"{', '.join(policy.compressions)}.",
                hint="Choose one of these for FederatedModel(..., compression=...), or ask ",
            )
        policy._check_privacy(run.get("privacy"))

    def check_query(
        self, project: str, operation: str, epsilon: float | None, step: int, description: dict[str, Any]
    ) -> None:
        """Refuse a step of a query that the owner does not allow on a data set.

        Parameters
        ----------
        project : str
            Where it is asked.
        operation : str
            ``"analytics"``, ``"explore"`` for a view of the explorer, or ``"train"`` for statistics that a model is
            made of.
        epsilon : float or None
            What the answer may cost; None for an exact one.
        step : int
            Which of the query, from 0.
        description : dict
            The data set's.

        Raises
        ------
        NotAllowed
            ``policy-projects``, ``policy-explore``, ``policy-operation``, ``policy-minimum-rows``,
            ``policy-analytics-privacy``, ``policy-privacy``, ``policy-analytics-steps`` or ``policy-maximum-rounds``.
        """
        dataset = str(description["name"])
        policy = self.for_dataset(dataset)
        if project not in policy.projects or project not in description["projects"]:
            raise policy._refusal("projects", f"Project {project!r} may not use data set {dataset!r} of this node.")
        if operation != EXPLORE and operation not in policy.operations:
            allowed = ", ".join(policy.operations) or "nothing"
            raise policy._refusal(
                "operation", f"Data set {dataset!r} is not open to {operation} here; allowed is: {allowed}."
            )
        if operation in (ANALYTICS, EXPLORE):
            policy._check_level(dataset, epsilon)
        if int(description["rows"]) < policy.minimum_rows:
            raise policy._refusal(
                "minimum_rows",
                f"Data set {dataset!r} has {description['rows']} rows here; this node takes part with "
                f"{policy.minimum_rows} or more.",
            )
        if policy.analytics_privacy == "required" and epsilon is None and operation in (ANALYTICS, EXPLORE):
            raise policy._refusal(
                "analytics_privacy",
                "The answer would be exact; this node gives private ones only.",
                hint="Ask with epsilon=..., or ask ",
            )
        if policy.privacy == "required" and epsilon is None and operation == "train":
            raise policy._refusal(
                "privacy", "The model would be made of exact sums; this node requires differential privacy."
            )
        limit = "maximum_rounds" if operation == "train" else "analytics_steps"
        if step >= getattr(policy, limit):
            raise policy._refusal(limit, f"The query is at step {step + 1}; this node allows {getattr(policy, limit)}.")

    def check_developer(self, developer: str, organisation: str) -> None:
        """Refuse a run of somebody whom the owner does not allow.

        Parameters
        ----------
        developer : str
            Id of who has signed the run.
        organisation : str
            As the project's domain key has signed it.

        Raises
        ------
        NotAllowed
            ``policy-developers`` or ``policy-organisations``.
        """
        for kind, who in (("developers", developer), ("organisations", organisation)):
            allowed, denied = getattr(self, f"allow_{kind}"), getattr(self, f"deny_{kind}")
            if who in denied or (allowed and who not in allowed):
                raise NotAllowed(
                    f"The run was signed by {kind.removesuffix('s')} {who}, whose runs may not use this node.",
                    code=f"policy-{kind}",
                    hint=f"Ask {self.whom} to change allow_{kind} or deny_{kind} in its node.toml.",
                )

    @property
    def level(self) -> str:
        """What may be shown of a data set, for this policy as it is for it: the strictest of what its settings say."""
        level = self.explore or ("aggregates" if ANALYTICS in self.operations else "schema")
        return "private" if level == "aggregates" and self.analytics_privacy == "required" else level

    def _check_level(self, dataset: str, epsilon: float | None) -> None:
        if self.level in ("nothing", "schema"):
            raise self._refusal(
                "explore",
                f"No statistics are told of data set {dataset!r} here"
                + ("; only what its columns are." if self.level == "schema" else ", nor anything else."),
            )
        if self.level == "private" and epsilon is None and self.explore == "private":
            raise self._refusal(
                "explore",
                f"The answer about data set {dataset!r} would be exact; this node gives private ones only.",
                hint="Ask with epsilon=..., or ask ",
            )

    def _check_privacy(self, privacy: dict[str, Any] | None) -> None:
        how = "Build the model with FederatedModel(..., privacy=flaas.DifferentialPrivacy(...)), or ask "
        if privacy is None:
            if self.privacy == "required":
                raise self._refusal(
                    "privacy", "The run is without differential privacy, which this node requires.", hint=how
                )
            if self.maximum_epsilon < math.inf:
                raise self._refusal(
                    "maximum_epsilon",
                    "The run is without differential privacy, which is an infinite epsilon; this node allows "
                    f"{self.maximum_epsilon:g}.",
                    hint=how,
                )
            return
        for setting, asked in (("maximum_epsilon", privacy["epsilon"]), ("maximum_delta", privacy["delta"])):
            limit = getattr(self, setting)
            if not float(asked) <= limit:
                what = setting.removeprefix("maximum_")
                raise self._refusal(setting, f"The run has {what} {asked:g}; this node allows up to {limit:g}.")

    @property
    def takes_uploads(self) -> bool:
        """Whether anybody may send this node files at all."""
        return bool(self.uploads) or any(entry.get("uploads") for entry in self.datasets.values())

    def check_upload(self, sender: str, organisation: str, project: str, dataset: str, size: int) -> None:
        """Refuse a file of somebody from whom the owner takes none, or one that is too large.

        Parameters
        ----------
        sender : str
            Id of who has signed for it.
        organisation : str
            As the project's domain key has signed it.
        project, dataset : str
            Where it is to be registered, and as what.
        size : int
            Bytes.

        Raises
        ------
        NotAllowed
            ``policy-projects``, ``policy-uploads`` or ``policy-upload-limit``.
        """
        policy = self.for_dataset(dataset)
        if project not in policy.projects:
            raise policy._refusal("projects", f"Project {project!r} may not use this node.")
        denied = sender in policy.deny_developers or organisation in policy.deny_organisations
        if sender not in policy.uploads or denied:
            raise policy._refusal(
                "uploads",
                f"This node takes no files from {sender} for a data set {dataset!r}.",
                hint="Tell that id, which is yours, to ",
            )
        if size > policy.upload_limit:
            raise policy._refusal(
                "upload_limit", f"The file has {size} bytes; this node takes up to {policy.upload_limit}."
            )

    @property
    def whom(self) -> str:
        """Whom to ask, for messages."""
        return self.contact or "the owner of this node"

    def _refusal(self, setting: str, message: str, hint: str = "Ask ") -> NotAllowed:
        key = "operations" if setting == "operation" else setting
        return NotAllowed(
            message,
            code=f"policy-{setting.replace('_', '-')}",
            hint=f"{hint}{self.whom} to change {key} in its node.toml.",
        )


def allow_project(path: Path, project: str) -> None:
    """Add `project` to the projects of a policy file; comments and everything else stay.

    Raises
    ------
    InvalidInput
        Code ``bad-policy``: the file is not a policy, or its list of projects is written in a way that cannot be
        edited safely; the message says what to write by hand.
    """
    policy = Policy.load(path)
    if project in policy.projects:
        return
    text = _read(path)
    entries = json.dumps([*policy.projects, project], ensure_ascii=False)
    section = re.search(r"^\s*\[policy\][^\n]*\n(?P<body>.*?)(?=^\s*\[|\Z)", text, re.M | re.S)
    edited = None
    if section is not None:
        start, body = section.start("body"), section["body"]
        listed = re.search(r"^projects\s*=\s*\[[^\]#]*\]", body, re.M)
        first, last = (listed.start(), listed.end()) if listed else (0, 0)
        line = f"projects = {entries}" + ("" if listed else "\n")
        edited = text[: start + first] + line + text[start + last :]
    by_hand = _bad(path, f"its list of projects cannot be edited; write projects = {entries} under [policy]")
    if edited is None:
        raise by_hand
    try:
        changed = tomllib.loads(edited)["policy"]["projects"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise by_hand from error
    if changed != [*policy.projects, project]:
        raise by_hand
    write_private(path, edited.encode())


def _settings(table: dict[str, Any], where: str, path: Path, text: str) -> dict[str, Any]:
    """Check one table's keys and values; lists become tuples."""
    settings: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _KINDS:
            raise _unknown_key(path, text, key, list(_KINDS))
        kind = _KINDS[key]
        right = {
            "texts": isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value),
            "count": type(value) is int and value >= 1,
            "mode": value in ("required", "optional"),
            "approval": value in ("signed", "manual"),
            "alarm": value in ("refuse", "warn"),
            "quantity": type(value) in (int, float) and value > 0,
            "order": value in ("bracketed", "exact"),
            "derived": value in ("plain", "any"),
            "budget": type(value) in (int, float) and 0 <= value < math.inf,
            "flag": type(value) is bool,
            "scores": value in ("label_holder", "developer"),
            "level": value in ("nothing", "schema", "private", "aggregates"),
            "text": isinstance(value, str),
        }[kind]
        if not right:
            raise _bad(path, f"{key} in {where} must be {_WORDS[kind]}, not {value!r}{_line_of(text, key)}")
        settings[key] = tuple(value) if kind == "texts" else value
    return settings


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidInput(
            f"There is no policy at {path}.", code="bad-policy", hint="`flaas node init --name NAME` writes one."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, f"it cannot be read ({error})") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(path, f"it is not TOML: {error}") from error


def _unknown_key(path: Path, text: str, key: str, known: list[str]) -> InvalidInput:
    near = difflib.get_close_matches(key, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
    return _bad(path, f"it has an unknown key {key!r}{_line_of(text, key)}{meant}")


def _line_of(text: str, key: str) -> str:
    pattern = re.compile(rf"^\s*(\[?[\w.]*\b)?{re.escape(key)}\b")
    numbers = [number for number, line in enumerate(text.splitlines(), start=1) if pattern.match(line)]
    return f" (line {numbers[0]})" if numbers else ""


def _bad(path: Path, what: str) -> InvalidInput:
    return InvalidInput(
        f"The policy {path} is not acceptable: {what}.",
        code="bad-policy",
        hint="Correct the file and start the node again.",
    )


def policy_of(home: Path) -> Policy:
    """Return the policy of the node in `home`; one that asks for nothing where there is no file, as in a notebook."""
    path = home / "node.toml"
    return Policy.load(path) if path.exists() else Policy(minimum_rows=1)
