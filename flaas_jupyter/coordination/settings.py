"""How the API is run: where its data base is, and how long it waits for what.

Every number has an environment variable of its own, ``FLAAS_`` and its name in capitals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..governance.audit.checkpoints import EVERY_ENTRIES, EVERY_SECONDS
from ..home import Home

_WHOLE = ("audit_entries", "body_limit")
_TEXTS = ("public_url", "ca_fingerprint", "local_machines", "boot_package", "boot_index")


@dataclass(frozen=True)
class Settings:
    """Settings of one API process; all times are seconds.

    Parameters
    ----------
    database_url : str
        ``sqlite:///path`` or ``postgresql://user:password@host/name``.
    public_url : str, optional
        Where callers find the API, e.g. ``https://flaas.example``. Behind a proxy it must be given: nodes sign for
        this address, and without it the request's own Host header is believed.
    ca_fingerprint : str, optional
        Of the private authority that vouches for that address; launched machines pin it.
    gather_timeout : float
        How long invited nodes may take to answer.
    aggregator_timeout : float
        How long an aggregator may be offline before another is elected.
    patience : float
        How long a run without a node that could lead it is kept; not counted while nobody reaches the API.
    start_grace : float
        After its own start (or sleep, or isolation) the API does not count nodes' absence for so long: they are
        reconnecting.
    heartbeat : float
        How often connected nodes are noted as seen.
    online_window : float
        A node that was not seen for so long is offline, whatever else is known of it.
    keepalive : float
        How often a silent event stream carries a comment.
    poll : float
        How often events of other API processes on the same data base are looked for.
    tick : float
        How often deadlines are looked at.
    housekeeping : float
        How often approved actions that have cooled down are looked for.
    audit_entries : int
        A checkpoint of the audit log is signed at the latest after so many entries.
    audit_seconds : float
        And at the latest when an entry that is in none is so old.
    body_limit : int
        Bytes of a request's body.
    bill_every : float
        How often the bill of each cloud account is fetched by itself; 0 for never.
    launch_tick : float
        How often open launches are looked at.
    launch_lease : float
        After so long another API process goes on with a launch where one was killed.
    launch_look : float
        How often a cloud is asked for the machines of a launch.
    launch_settle : float
        A cloud may not show for so long what it has just made.
    launch_reap : float
        How often orphans are looked for.
    local_machines : str, optional
        Folder with data sets; naming it permits people to launch nodes on this machine. Off by default.
    boot_package : str, optional
        What pip installs on machines; default: this version of flaas_jupyter.
    boot_index : str, optional
        Package index that machines install from.
    """

    database_url: str
    public_url: str | None = None
    ca_fingerprint: str | None = None
    gather_timeout: float = 30.0
    aggregator_timeout: float = 10.0
    patience: float = 120.0
    start_grace: float = 30.0
    heartbeat: float = 5.0
    online_window: float = 15.0
    keepalive: float = 5.0
    poll: float = 1.0
    tick: float = 0.5
    housekeeping: float = 5.0
    audit_entries: int = EVERY_ENTRIES
    audit_seconds: float = EVERY_SECONDS
    body_limit: int = 256 * 1024
    bill_every: float = 86_400.0
    launch_tick: float = 1.0
    launch_lease: float = 60.0
    launch_look: float = 20.0
    launch_settle: float = 60.0
    launch_reap: float = 600.0
    local_machines: str | None = None
    boot_package: str | None = None
    boot_index: str | None = None

    @property
    def local_folder(self) -> Path | None:
        """`local_machines` as a path."""
        return Path(self.local_machines) if self.local_machines else None

    @classmethod
    def from_environment(
        cls, database_url: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Settings:
        """Read the settings that are given in the environment.

        Raises
        ------
        InvalidInput
            Code ``bad-setting``: a value is no positive number.
        """
        environment = os.environ if environment is None else environment
        given: dict[str, Any] = {name: environment.get(f"FLAAS_{name.upper()}") or None for name in _TEXTS}
        for field in fields(cls):
            text = environment.get(f"FLAAS_{field.name.upper()}")
            if field.name in ("database_url", *_TEXTS) or text is None:
                continue
            given[field.name] = _positive(f"FLAAS_{field.name.upper()}", text, whole=field.name in _WHOLE)
        return cls(
            database_url=database_url or Home.default().database_url,
            **given,
        )


def _positive(name: str, text: str, whole: bool) -> float | int:
    try:
        value = int(text) if whole else float(text)
        if not 0 <= value < 1e9:
            raise ValueError(text)
    except ValueError as error:
        raise InvalidInput(
            f"{name} is {text!r}, not a number from 0.",
            code="bad-setting",
            hint="Give seconds, e.g. 2.5; or leave it out.",
        ) from error
    return value
