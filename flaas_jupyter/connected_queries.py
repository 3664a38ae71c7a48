"""Questions to real nodes: what ``federation.analytics`` and ``federation.frame()`` of a connected federation ask by.

Each call opens a query at the coordination API, which says which nodes it is about and which of them releases the
result; its steps are signed in the notebook and go to the releaser over the mesh. The API sees neither a statistic nor
a result, and this kernel sees what the releaser lets through.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .answers import frame
from .communications.wire import Message
from .errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from .execution import query_request
from .execution.columns import names
from .execution.query_release import released_of
from .execution.query_request import purpose_of

if TYPE_CHECKING:
    import pandas as pd

    from .connected import ConnectedFederation
    from .protocols.analytics.release import Released

STEP_SECONDS = 900.0
BUDGET_SECONDS = 15.0
ANSWER_LIMIT = 64 << 20
LAST_SECONDS = 60.0
"""A query that has no more of its quarter of an hour left is followed by another one."""
REOPENED = 2
"""How often a query is opened anew because its releaser was lost."""


class ConnectedSource:
    """Where `Analytics` of a connected federation gets its sums from.

    Parameters
    ----------
    federation : ConnectedFederation
        Whose nodes are asked.
    """

    def __init__(self, federation: ConnectedFederation) -> None:
        self.federation = federation
        self._described: dict[str, Any] | None = None

    @property
    def schema(self) -> list[dict[str, Any]]:
        """One entry for each column: ``name``, ``dtype``, ``role`` (feature or target), ``classes`` of a target."""
        described = self._description
        columns = []
        for feature in described["features"]:
            for name in names([feature], []):
                columns.append({"name": name, "dtype": feature["dtype"], "role": "feature", "classes": None})
        target = described.get("target")
        if target is not None:
            columns.append(
                {
                    "name": target["name"],
                    "dtype": target["dtype"],
                    "role": "target",
                    "classes": target["classes"],
                }
            )
        return columns

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Ranges of columns that are known without looking at rows: those of labels."""
        from .analytics.source import label_ranges

        return label_ranges(self.schema)

    @property
    def names(self) -> dict[str, str]:
        """Each node's id and name."""
        return {str(node["node"]): str(node["node_name"]) for node in self._description["nodes"]}

    def open_query(self, operation: str, summary: Mapping[str, Any] | None = None) -> ConnectedQuery:
        """Return a query; it is opened at the API with its first step.

        Parameters
        ----------
        operation : str
            In a word, as the API's list of queries and the nodes' logs have it.
        summary : mapping, optional
            What it is about, for the owners of nodes.
        """
        return ConnectedQuery(self.federation, operation, dict(summary or {}))

    def budget(self) -> pd.DataFrame:
        """Return what private answers have cost at each node, and what is left.

        Returns
        -------
        DataFrame
            ``node``, ``dataset``, ``spent``, ``budget``, ``remaining`` (ε), ``privacy`` (required or optional),
            ``minimum_group``, ``problem`` of a node that did not answer.
        """
        federation = self.federation
        session = federation.project.session
        listed = list(self.names.items())
        rows = session._loop.run(self._budgets(listed))
        columns = ["node", "dataset", "spent", "budget", "remaining", "privacy", "minimum_group", "problem"]
        return frame(rows, columns)

    async def _budgets(self, listed: list[tuple[str, str]]) -> list[dict[str, Any]]:
        federation = self.federation
        mesh, _ = await federation.project.session.mesh(federation.project.description)
        ask = Message("query/budget", {"project": federation.project.id, "dataset": federation.dataset})
        rows = []
        for node, name in listed:
            row: dict[str, Any] = {"node": name, "dataset": federation.dataset, "problem": None}
            try:
                reply = await mesh.call(node, ask, timeout=BUDGET_SECONDS)
                row |= {key: value for key, value in reply.body.items() if key != "dataset"}
            except FlaasError as error:
                row["problem"] = error.message
            rows.append(row)
        return rows

    @property
    def _description(self) -> dict[str, Any]:
        if self._described is None:
            self._described = self.federation._description
        return self._described


class ConnectedQuery:
    """One query: some steps, all of them over the same nodes.

    Parameters
    ----------
    federation : ConnectedFederation
    operation : str
    summary : dict
        See `ConnectedSource.open_query`.
    """

    def __init__(self, federation: ConnectedFederation, operation: str, summary: dict[str, Any]) -> None:
        self._federation, self.operation, self.summary = federation, operation, summary
        self._record: dict[str, Any] | None = None
        self._nonce = ""
        self._steps = 0
        self._reopened = 0
        self._last: tuple[str, dict[str, Any]] | None = None
        self.answers: list[dict[str, Any]] = []
        """How each step went: nodes, seconds by phase, attempts, who was lost."""

    def __enter__(self) -> ConnectedQuery:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.close(error)

    @property
    def id(self) -> str | None:
        """The query's id at the API; None before its first step."""
        return None if self._record is None else str(self._record["id"])

    def step(
        self, statistic: Mapping[str, Any], via: str = "mpc", tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Released:
        """Ask for one statistic; return what the nodes let through.

        Parameters
        ----------
        statistic : mapping
            See `flaas_jupyter.protocols.analytics`.
        via : str
            ``"mpc"`` or ``"he"``; the same for all steps.
        tensors : mapping of str to ndarray, optional
            The model that the statistic is about.

        Raises
        ------
        NotAllowed, InvalidInput
            A node refuses: the message names it, the rule, and the way out.
        Aborted
            Code ``query-too-few-nodes``.
        Conflict
            Code ``analytics-too-few-nodes``.
        """
        if via not in query_request.VIA:
            raise InvalidInput(
                f"via is {via!r}; over connected nodes it is 'mpc' or 'he'.",
                code="query-via",
                hint="Other protocols run in simulations only: their parties cannot talk over the mesh.",
            )
        session = self._federation.project.session
        try:
            answer = session._loop.run(self._step(dict(statistic), via, dict(tensors or {})))
        except BaseException as error:
            self.close(error)
            raise
        self.answers.append({name: value for name, value in answer.body.items() if name != "released"})
        return released_of(answer)

    def close(self, error: BaseException | None = None) -> None:
        """Tell the API how the query has ended; one that it is not told of expires."""
        if self._record is None:
            return
        body: dict[str, Any] = {"outcome": "released", "steps": self._steps}
        if error is not None:
            refused = isinstance(error, NotAllowed | InvalidInput)
            known = error if isinstance(error, FlaasError) else None
            body |= {
                "outcome": "refused" if refused else "failed",
                "reason": None if known is None else {**known.to_dict(), "details": {}},
            }
        self._federation.project.session._loop.run(self._close(body))

    async def _close(self, body: dict[str, Any]) -> None:
        record, self._record = self._record, None
        if record is not None:
            with contextlib.suppress(FlaasError):
                coordinator = self._federation.project.session._coordinator
                await coordinator.post(f"/v1/{self._kind}/{record['id']}/close", body)

    async def _step(self, statistic: dict[str, Any], via: str, tensors: dict[str, NDArray[Any]]) -> Message:
        session = self._federation.project.session
        mesh, identity = await session.mesh(self._federation.project.description)
        while True:
            record = await self._opened(identity.node_id, via, purpose_of(str(statistic.get("kind")), self.operation))
            document = query_request.sign(
                identity,
                record,
                step=self._steps,
                statistic=statistic,
                summary=self.summary,
                nonce=self._nonce,
                now=time.time(),
            )
            try:
                answer = await mesh.call(
                    record["releaser"],
                    Message("query/run", {"step": document}, tensors),
                    timeout=STEP_SECONDS,
                    limit=ANSWER_LIMIT,
                )
            except Unreachable as error:
                # Its releaser is gone: another query has another one.
                self._reopened += 1
                self._record = None
                if self._reopened > REOPENED:
                    raise self._lost(record, error) from error
                continue
            self._steps += 1
            self._last = str(record["releaser"]), document
            return answer

    def distances(self) -> list[dict[str, Any]]:
        """Ask how far each node's rows are from the histogram that the last step has released of all.

        Returns
        -------
        list of dict
            ``node`` (id), ``distances`` (by column of the histogram, None where withheld; None for a node that does
            not tell), ``problem`` (why, as `FlaasError.to_dict` has it).
        """
        assert self._last is not None, "a step comes first"
        releaser, document = self._last
        session = self._federation.project.session

        async def ask() -> list[dict[str, Any]]:
            mesh, _ = await session.mesh(self._federation.project.description)
            message = Message("explore/drift", {"step": document})
            reply = await mesh.call(releaser, message, timeout=STEP_SECONDS)
            return list(reply.body["nodes"])

        return session._loop.run(ask())

    async def _opened(self, me: str, via: str, purpose: str) -> dict[str, Any]:
        if self._record is not None and _seconds_left(self._record) < LAST_SECONDS:
            await self._close({"outcome": "released", "steps": self._steps})
        if self._record is not None:
            if self._record["via"] != via:
                raise InvalidInput(
                    f"The query was opened via {self._record['via']!r}; a step of it cannot go via {via!r}.",
                    code="query-via",
                    hint="Open another query.",
                )
            return self._record
        project, dataset = self._federation.project, self._federation.dataset
        self._nonce, self._steps = query_request.new_nonce(), 0
        body = {
            "dataset": dataset,
            "operation": self.operation,
            "purpose": purpose,
            "via": via,
            "digest": query_request.opening_digest(self.operation, dataset, self.summary, self._nonce),
            "submitter": me,
        }
        self._record = await project.session._coordinator.post(
            f"/v1/projects/{project.id}/{self._kind}", body, idempotency_key=secrets.token_hex(16)
        )
        return self._record

    @property
    def _kind(self) -> str:
        """Where the API has it: the explorer's views take another permission than free questions."""
        return "views" if self.operation.startswith(query_request.EXPLORING) else "queries"

    def _lost(self, record: Mapping[str, Any], error: FlaasError) -> Unreachable:
        name = next((each["name"] for each in record["participants"] if each["node"] == record["releaser"]), "?")
        return Unreachable(
            f"Node {name}, which would have released the result, was lost: {error.message}",
            code="releaser-lost",
            hint="Ask again; `federation.clients` shows who is online.",
        )


def _seconds_left(record: Mapping[str, Any]) -> float:
    return (datetime.fromisoformat(str(record["expires"])) - datetime.now(UTC)).total_seconds()
