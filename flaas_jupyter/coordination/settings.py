"""How the API is run: where its data base is, and how long it waits for what.

Every number has an environment variable of its own, ``FLAAS_`` and its name in capitals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..errors import InvalidInput
from ..home import Home


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
    gather_timeout : float
        How long invited nodes may take to answer.
    aggregator_timeout : float
        How long an aggregator may be offline before another is elected.
    patience : float
        How long a run without a node that could lead it is kept.
    start_grace : float
        After its own start (or sleep) the API does not count nodes' absence for so long: they are reconnecting.
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
    body_limit : int
        Bytes of a request's body.
    """

    database_url: str
    public_url: str | None = None
    gather_timeout: float = 30.0
    aggregator_timeout: float = 10.0
    patience: float = 120.0
    start_grace: float = 30.0
    heartbeat: float = 5.0
    online_window: float = 15.0
    keepalive: float = 5.0
    poll: float = 1.0
    tick: float = 0.5
    body_limit: int = 256 * 1024

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
        given: dict[str, float | int] = {}
        for field in fields(cls):
            text = environment.get(f"FLAAS_{field.name.upper()}")
            if field.name in ("database_url", "public_url") or text is None:
                continue
            given[field.name] = _positive(f"FLAAS_{field.name.upper()}", text, whole=field.name == "body_limit")
        return cls(
            database_url=database_url or Home.default().database_url,
            public_url=environment.get("FLAAS_PUBLIC_URL") or None,
            **given,  # type: ignore[arg-type]  # body_limit is whole, the others are not
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
