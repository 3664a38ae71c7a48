"""The clouds that there are drivers for: one module each, loaded when it is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from ...errors import InvalidInput, NotFound
from ..driver import CloudDriver, Endpoint

_DRIVERS: Mapping[str, str] = {
    "aws": "aws:AwsDriver",
    "azure": "azure:AzureDriver",
    "gcp": "gcp:GcpDriver",
    "local": "local:LocalDriver",
    "ssh": "ssh:SshDriver",
}
"""Provider to ``module:class`` in this package."""

CLOUDS = ("aws", "azure", "gcp")
"""Those that are reached over the internet, unless the API's operator has set another endpoint."""


def names() -> tuple[str, ...]:
    """Return the providers, in the order in which they are shown."""
    return tuple(_DRIVERS)


def driver_class(provider: str) -> type[CloudDriver]:
    """Return the driver of `provider`.

    Raises
    ------
    NotFound
        Code ``unknown-provider``.
    """
    if provider not in _DRIVERS:
        raise NotFound(
            f"There is no driver for {provider[:40]!r}; there is: {', '.join(_DRIVERS)}.", code="unknown-provider"
        )
    module, name = _DRIVERS[provider].split(":")
    found: type[CloudDriver] = getattr(importlib.import_module(f".{module}", __name__), name)
    return found


def endpoint(provider: str, environment: Mapping[str, str] | None = None) -> Endpoint:
    """Return where `provider` is reached: ``FLAAS_AWS_ENDPOINT`` and so on, and ``FLAAS_CLOUD_CA``.

    Operators of the API set these; nothing that a caller sends can, since credentials go there.
    """
    environment = os.environ if environment is None else environment
    base = environment.get(f"FLAAS_{provider.upper()}_ENDPOINT") or None
    if base is not None and not base.startswith("https://"):
        raise InvalidInput(
            f"FLAAS_{provider.upper()}_ENDPOINT is {base!r}, which is not https.",
            code="bad-endpoint",
            hint="Credentials travel there: give an https:// address, and its certificate in FLAAS_CLOUD_CA.",
        )
    return Endpoint(base, environment.get("FLAAS_CLOUD_CA") or None)


def connect(provider: str, credentials: Mapping[str, str]) -> CloudDriver:
    """Return the driver of `provider` with `credentials`, which are only looked at for completeness.

    Raises
    ------
    InvalidInput
        Code ``bad-credentials``: a field is missing, empty or unknown; values are never quoted.
    """
    cls = driver_class(provider)
    known = {each.name: each for each in cls.fields}
    unknown = sorted(set(credentials) - set(known))
    missing = [name for name, each in known.items() if each.required and not credentials.get(name)]
    if unknown or missing:
        wrong = [f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown]
        raise InvalidInput(
            f"Credentials of {cls.title} are not complete: {', '.join(wrong)}.",
            code="bad-credentials",
            hint="They have: "
            + ", ".join(f"{name} ({each.help})" if each.help else name for name, each in known.items())
            + ".",
        )
    return cls(credentials, endpoint(provider))
