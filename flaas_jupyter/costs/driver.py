"""What the cost layer asks of a cloud: who am I, prices, launch, describe, terminate, costs.

A provider is one module in `flaas_jupyter.costs.providers` and one line in its registry. Drivers are synchronous, since
the clouds' own SDKs are, and hold no state but their connection: everything that must survive a crash is kept by who
calls them. Everything that the clouds have in common (templates, user data, tags, budgets, reaping) lives above them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, Literal, Protocol

from ..errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated, Unreachable

Market = Literal["on_demand", "spot"]
MachineState = Literal["pending", "running", "stopping", "stopped", "terminated"]

PROJECT_TAG = "flaas-project"
INSTALLATION_TAG = "flaas-installation"
LAUNCH_TAG = "flaas-launch"
NODE_TAG = "flaas-node"

_LABEL = re.compile(r"[a-z][a-z0-9-]{0,62}")


# ---- errors --------------------------------------------------------------------------------------------------------


class CredentialsRefused(NotAuthenticated):
    """The cloud does not know these credentials, or they have expired."""

    code = "cloud-credentials-refused"


class PermissionMissing(NotAllowed):
    """The cloud knows the credentials and they may not do this; ``details["permission"]`` names what is missing."""

    code = "cloud-permission-missing"


class Throttled(Unreachable):
    """The cloud asks to come back later; ``details["retry_after"]`` is in seconds."""

    code = "cloud-throttled"


class CloudUnreachable(Unreachable):
    """No answer, half an answer, or an internal error of the cloud."""

    code = "cloud-unreachable"


class NotOffered(Conflict):
    """The cloud has no such machine there, or none left."""

    code = "machine-not-offered"


class QuotaExceeded(Conflict):
    """The account's own limit is reached."""

    code = "cloud-quota"


# ---- what is asked and answered ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CredentialField:
    """One thing that a provider needs to know to sign in.

    Parameters
    ----------
    name : str
        Key in the mapping of credentials.
    label : str
        For people.
    secret : bool
        Never shown again, never logged.
    required : bool
        Whether it may be left out.
    help : str
        Where to find it.
    """

    name: str
    label: str
    secret: bool = False
    required: bool = True
    help: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where a cloud is reached, if not at its public address: a private endpoint, a sovereign cloud, a laboratory.

    Parameters
    ----------
    base : str, optional
        ``https://host:port``; the provider's own address if None.
    ca : str, optional
        File with the certificates to trust there.
    """

    base: str | None = None
    ca: str | None = None


@dataclass(frozen=True)
class PermissionCheck:
    """Whether the credentials may do one thing, and what it is needed for."""

    permission: str
    granted: bool
    needed_for: Literal["costs", "prices", "launch"]


@dataclass(frozen=True)
class Identity:
    """Whom a cloud takes the credentials for.

    Parameters
    ----------
    account : str
        AWS account, Google Cloud project, Azure subscription.
    principal : str
        User, role, service account or application.
    permissions : tuple of PermissionCheck
        What was tried out.
    currency : str, optional
        Billing currency where the cloud tells it.
    """

    account: str
    principal: str
    permissions: tuple[PermissionCheck, ...] = ()
    currency: str | None = None

    def missing(self, needed_for: str) -> tuple[str, ...]:
        """Return the permissions that are missing for ``"costs"``, ``"prices"`` or ``"launch"``."""
        return tuple(p.permission for p in self.permissions if p.needed_for == needed_for and not p.granted)


@dataclass(frozen=True)
class MachineOrder:
    """One machine to launch.

    Parameters
    ----------
    token : str
        Idempotency token, at most 36 characters ``[a-z0-9-]``: the same token never makes a second machine.
    installation : str
        Identifies this coordination API, so that nobody else's machines are ever touched.
    project, launch, node : str
        Become tags; see `tags`.
    region, instance_type : str
        In the cloud's own terms.
    market : str
        ``"on_demand"`` or ``"spot"``.
    disk_gib : int
        Size of the boot disk.
    user_data : str
        cloud-init document; holds no secret but a single-use enrolment token.
    max_minutes : int
        After so long the machine ends by itself, whatever has become of this API.
    """

    token: str
    installation: str
    project: str
    launch: str
    node: str
    region: str
    instance_type: str
    user_data: str
    max_minutes: int
    market: Market = "on_demand"
    disk_gib: int = 30

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,35}", self.token):
            raise InvalidInput(f"{self.token!r} is no launch token.", code="bad-launch-token")
        for name, value in self.tags.items():
            if not _LABEL.fullmatch(value):
                raise InvalidInput(
                    f"{value!r} cannot be the tag {name} in every cloud.",
                    code="bad-tag",
                    hint="Use 1 to 63 lower-case letters, digits or '-', starting with a letter.",
                )

    @property
    def tags(self) -> dict[str, str]:
        """The tags that every resource of this machine carries."""
        return {
            PROJECT_TAG: self.project,
            INSTALLATION_TAG: self.installation,
            LAUNCH_TAG: self.launch,
            NODE_TAG: self.node,
        }


@dataclass(frozen=True)
class Machine:
    """A machine as its cloud describes it.

    Parameters
    ----------
    provider, region, instance_type : str
        Where and what it is.
    id : str
        The cloud's own id, which `CloudDriver.terminate` takes.
    state : str
        Of the cloud; ``"stopped"`` machines still cost their disk.
    token : str
        The order's token; empty if it was not made from an order.
    tags : mapping
        All tags.
    created, ended : datetime, optional
        Aware.
    leftovers : tuple of str
        Ids of further resources that still exist (disks, network interfaces, addresses).
    """

    provider: str
    id: str
    region: str
    instance_type: str
    state: MachineState
    token: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    ended: datetime | None = None
    leftovers: tuple[str, ...] = ()

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left that could cost anything."""
        return self.state == "terminated" and not self.leftovers


PriceRow = Mapping[str, Any]
"""A row of the catalog: the columns of ``<provider>_vms.csv`` (see `flaas_jupyter.costs.catalog`)."""

ChargeRow = Mapping[str, Any]
"""A billed charge: FOCUS column names; ``BilledCost`` is a `decimal.Decimal`, times are aware, ``Tags`` a mapping."""


class CloudDriver(Protocol):
    """One account at one cloud."""

    name: ClassVar[str]
    title: ClassVar[str]
    fields: ClassVar[Sequence[CredentialField]]

    def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint = ...) -> None: ...

    def whoami(self) -> Identity:
        """Return whom the cloud takes the credentials for, and try out each permission without changing anything.

        Raises
        ------
        CredentialsRefused, CloudUnreachable, Throttled
        """
        ...

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield list prices of machines, of all regions if none is named."""
        ...

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield those of `wanted` (region, instance_type) for which this account has a price of its own."""
        ...

    def launch(self, order: MachineOrder) -> Machine:
        """Launch a machine; the same order again returns the same machine.

        Raises
        ------
        NotOffered, QuotaExceeded, PermissionMissing, CredentialsRefused, Throttled, CloudUnreachable
        """
        ...

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return all machines in `regions` that carry this installation's tag, ended ones as long as they are known."""
        ...

    def terminate(self, machine: Machine) -> None:
        """End a machine and everything made with it; one that is gone already is no error."""
        ...

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield what was billed from `start` to before `end`, by day, resource group and tag."""
        ...


def public(error: FlaasError) -> dict[str, Any]:
    """Return `error` as JSON values that may be stored and shown: drivers put no secrets into errors."""
    return error.to_dict()
