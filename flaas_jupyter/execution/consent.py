"""The node owner's consent to a run: signed by a developer of the project, allowed by the policy, and new.

What decides lies at the node: the domain key that was pinned when it joined, the policy in ``node.toml``, and two files
in `FLAAS_HOME`. ``requests.json`` remembers which run a signed request was accepted for, so that none is used twice;
``requests/`` holds what waits for the owner where the policy says ``approve = "manual"``. The coordination API, and
whoever has taken it over, can keep runs from a node; it cannot have one run there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..communications.directory import Directory
from ..errors import InvalidInput, NotAllowed, NotFound
from ..home import Home, write_private
from .policy import Policy
from .run_request import LONGEST_LIFETIME, RunRequest

T = TypeVar("T")

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
APPROVED, REFUSED = "approved", "refused"
SHOWN = ("dataset", "rounds", "local_epochs", "parameters", "secure_aggregation", "aggregation", "privacy")


class AwaitsOwner(Exception):
    """The owner was asked and has not answered yet."""


class Ledger:
    """Which run each signed request was accepted for, on disk before the run is accepted.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InvalidInput
        Code ``bad-ledger``: the file is damaged. Without it a request could be used again, so the node does not start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
                self._known = {
                    str(nonce): {"run": str(entry["run"]), "expires": int(entry["expires"])}
                    for nonce, entry in entries.items()
                }
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise InvalidInput(
                    f"{path} cannot be read ({type(error).__name__}).",
                    code="bad-ledger",
                    hint="Restore it. If it is lost, remove it: requests signed in the last days could then be used "
                    "a second time.",
                ) from error

    def knows(self, request: RunRequest, run: str) -> bool:
        """Tell whether `request` was accepted for `run` before."""
        return self._known.get(request.nonce, {}).get("run") == run

    def accept(self, request: RunRequest, run: str, now: float) -> None:
        """Remember that `request` is used for `run`; again changes nothing.

        Raises
        ------
        NotAllowed
            Code ``run-replayed``: the request was used for another run, or the run has another request.
        """
        if self.knows(request, run):
            return
        used = self._known.get(request.nonce)
        if used is not None:
            raise NotAllowed(
                f"The signed request of run {run} was used for run {used['run']} before.",
                code="run-replayed",
                hint="A signed request is good for one run. Start a new one from the notebook.",
                first=used["run"],
            )
        if any(entry["run"] == run for entry in self._known.values()):
            raise NotAllowed(
                f"Run {run} was accepted here with another signed request.",
                code="run-replayed",
                hint="A run has one signed request. Start a new run from the notebook.",
            )
        kept = {n: entry for n, entry in self._known.items() if entry["expires"] + LONGEST_LIFETIME > now}
        self._known = {**kept, request.nonce: {"run": run, "expires": request.expires}}
        write_private(self._path, json.dumps(self._known).encode())


class Consent:
    """Decides whether a run that the coordination API tells of may run here.

    Parameters
    ----------
    home : Home
        The node's.
    policy : Policy
        Its owner's.
    """

    def __init__(self, home: Home, policy: Policy) -> None:
        self._policy = policy
        self._ledger = Ledger(home.path / "requests.json")
        self._folder = home.path / "requests"
        self._seen: dict[str, str | None] = {}

    def require(
        self, run: Mapping[str, Any], directory: Directory, now: float | None = None, *, dataset: str | None = None
    ) -> RunRequest:
        """Check that the run is one that a developer of the project has signed and that the owner agrees to.

        Parameters
        ----------
        run : mapping
            As the coordination API tells of it.
        directory : Directory
            The project's, under the domain key that was pinned.
        now : float, optional
            Unix seconds.
        dataset : str, optional
            What the run uses here, where that is not the run's ``dataset``: a party's own, in a vertical run.

        Raises
        ------
        AwaitsOwner
            The owner was asked.
        InvalidInput
            ``bad-run-request``.
        NotAuthenticated
            ``bad-signature``.
        NotAllowed
            ``run-not-signed``, ``run-altered``, ``run-request-expired``, ``run-replayed``; ``unknown-peer``,
            ``membership-expired`` or ``role-missing``: the signer is no developer of the project;
            ``policy-developers``, ``policy-organisations``, ``owner-refused``, ``owner-did-not-answer``.
        """
        now = time.time() if now is None else now
        if run.get("signed") is None:
            raise NotAllowed(
                f"Run {run['id']} carries no request that a developer has signed.",
                code="run-not-signed",
                hint="Start it from a notebook with this version of flaas_jupyter. The API's word is not enough here.",
            )
        request = RunRequest.parse(run["signed"])
        organisation = directory.require(request.developer, "developer", now).organisation
        request.require_same(run)
        dataset = str(run["dataset"]) if dataset is None else dataset
        policy = self._policy.for_dataset(dataset)
        policy.check_developer(request.developer, organisation)
        if not self._ledger.knows(request, str(run["id"])):
            request.require_in_force(now)
            if policy.approve == "manual":
                self._ask(request, run, dataset, organisation, policy, now)
        self._ledger.accept(request, str(run["id"]), now)
        return request

    def require_known(self, run: Mapping[str, Any]) -> None:
        """Check that an ended run is told as this node accepted it, before its weights are handed out.

        Raises
        ------
        FlaasError
            As `require`; code ``run-replayed`` for a run that was not accepted with this request.
        """
        request = RunRequest.parse(run.get("signed"))
        request.require_same(run)
        if not self._ledger.knows(request, str(run["id"])):
            raise NotAllowed(
                f"Run {run['id']} was not accepted here with this signed request.",
                code="run-replayed",
                hint="Ask for it from the notebook that started it.",
            )

    def has_news(self, now: float | None = None) -> bool:
        """Tell whether the owner has answered, or let the time for it pass, since this was asked last."""
        now = time.time() if now is None else now
        present = {
            entry["run"]: entry["decision"] or ("late" if now >= entry["until"] else None) for entry in self._entries()
        }
        before, self._seen = self._seen, present
        return any(answer is not None and before.get(run) != answer for run, answer in present.items())

    def keep_only(self, runs: Collection[str]) -> None:
        """Forget questions about runs that are over."""
        for entry in self._entries():
            if entry["run"] not in runs:
                (self._folder / f"{entry['run']}.json").unlink(missing_ok=True)

    def _ask(
        self,
        request: RunRequest,
        run: Mapping[str, Any],
        dataset: str,
        organisation: str,
        policy: Policy,
        now: float,
    ) -> None:
        path = _entry_path(self._folder, str(run["id"]))
        entry = _read_entry(path)
        if entry is None or entry["sha256"] != request.sha256:
            entry = {
                "run": run["id"],
                "project": request.project,
                "developer": request.developer,
                "organisation": organisation,
                **{name: request.terms[name] for name in SHOWN},
                "dataset": dataset,
                "kind": request.terms.get("kind", "horizontal"),
                "mode": request.terms.get("mode"),
                "sha256": request.sha256,
                "asked": int(now),
                "until": int(now) + policy.approve_within,
                "decision": None,
            }
            write_private(path, json.dumps(entry, indent=2).encode())
        if entry["decision"] == APPROVED:
            return
        if entry["decision"] == REFUSED:
            raise NotAllowed(
                f"The node's owner has refused run {run['id']}.",
                code="owner-refused",
                hint=f"Ask {policy.whom}.",
            )
        if now >= entry["until"]:
            raise NotAllowed(
                f"The node's owner looks at every run and did not answer within {policy.approve_within} s.",
                code="owner-did-not-answer",
                hint=f"Ask {policy.whom}, then start a new run.",
            )
        raise AwaitsOwner(str(run["id"]))

    def _entries(self) -> list[dict[str, Any]]:
        return _entries(self._folder)


def waiting(home: Home) -> list[dict[str, Any]]:
    """Return the runs that the owner was asked about, oldest first (``flaas node requests``)."""
    return sorted(_entries(home.path / "requests"), key=lambda entry: (entry["asked"], entry["run"]))


def decide(home: Home, run: str, *, approve: bool) -> dict[str, Any]:
    """Answer, as the node's owner, whether `run` may run here (``flaas node approve``); the node looks by itself.

    Raises
    ------
    NotFound
        Code ``no-such-request``: the owner was not asked about it, or the run is over.
    """
    folder = home.path / "requests"
    entry = _read_entry(_entry_path(folder, run))
    if entry is None:
        open_ones = ", ".join(found["run"] for found in waiting(home)) or "none"
        raise NotFound(
            f"No run {run[:64]!r} waits for this node's owner; these do: {open_ones}.",
            code="no-such-request",
            hint='`flaas node requests` lists them. The policy asks with approve = "manual" only.',
        )
    entry["decision"] = APPROVED if approve else REFUSED
    write_private(_entry_path(folder, run), json.dumps(entry, indent=2).encode())
    return entry


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [entry for path in sorted(folder.glob("*.json")) if (entry := _read_entry(path)) is not None]


def _entry_path(folder: Path, run: str) -> Path:
    if not _RUN.fullmatch(run):
        raise InvalidInput(f"{run[:80]!r} is not a run id.", code="bad-run-id")
    return folder / f"{run}.json"


def _read_entry(path: Path) -> dict[str, Any] | None:
    """Return what was asked; None where nothing was, or where the file is damaged, which has the owner asked anew."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"run", "sha256", "asked", "until", "decision"}
    sound = isinstance(entry, dict) and needed <= set(entry) and entry["run"] == path.stem
    return entry if sound else None


STALE = frozenset({"unknown-peer", "role-missing", "membership-revoked", "membership-expired", "membership-not-yet"})
"""Refusals that a newer directory may put right."""


async def with_newer_directory(require: Callable[[], Awaitable[T]], refresh: Callable[[], Awaitable[object]]) -> T:
    """Return what `require` returns; if it refuses because somebody is not known here yet, ask for news and try again.

    Parameters
    ----------
    require : coroutine function
        Raises `NotAllowed` for whom the directory does not know.
    refresh : coroutine function
        Fetches the newest directory.
    """
    try:
        return await require()
    except NotAllowed as error:
        if error.code not in STALE:
            raise
    await refresh()
    return await require()
