"""Amazon Web Services: one user or role in one account.

Its policy is in ``docs/clouds/aws-policy.json``; ``docs/clouds/aws.md`` says how to make both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import ClassVar

from ..driver import ChargeRow, CredentialField, Endpoint, Identity, Machine, MachineOrder, PriceRow
from . import aws_costs, aws_machines, aws_permissions, aws_prices
from .aws_connection import Connection


def _now() -> datetime:
    return datetime.now(UTC)


class AwsDriver:
    """See `flaas_jupyter.costs.driver.CloudDriver`.

    Parameters
    ----------
    credentials : mapping
        With the names in `fields`.
    endpoint : Endpoint
        AWS's public addresses if it has no base.
    clock : callable
        Tells the time; for spot prices and for which days prices are learned from.

    Attributes
    ----------
    max_requests : int
        So many requests to Cost Explorer, at USD 0.01 each, does one call of `costs` or `negotiated` make at most.
    attempts : int
        How often a request is sent over all, before it counts as failed.
    """

    name: ClassVar[str] = "aws"
    title: ClassVar[str] = "Amazon Web Services"
    max_requests: ClassVar[int] = 50
    attempts: ClassVar[int] = 3
    read_timeout: ClassVar[float] = 30
    fields: ClassVar[Sequence[CredentialField]] = (
        CredentialField("access_key_id", "Access key id", help="IAM, Users, Security credentials"),
        CredentialField("secret_access_key", "Secret access key", secret=True, help="shown once, with the access key"),
        CredentialField(
            "session_token", "Session token", secret=True, required=False, help="of temporary credentials only"
        ),
        CredentialField("role_arn", "Role", required=False, help="arn:aws:iam::…:role/…, to be assumed with the key"),
        CredentialField("external_id", "External id", required=False, help="if the role's trust policy asks for one"),
        CredentialField(
            "region", "Region", required=False, help="where permissions are tried out; us-east-1 if left out"
        ),
        CredentialField(
            "image",
            "Image",
            required=False,
            help="AMI id or SSM parameter of a Debian or Ubuntu; Ubuntu 24.04 if left out",
        ),
    )

    def __init__(
        self,
        credentials: Mapping[str, str],
        endpoint: Endpoint = Endpoint(),  # noqa: B008 (frozen)
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.connection = Connection(credentials, endpoint, self.attempts, self.read_timeout)
        self._clock = clock

    def whoami(self) -> Identity:
        """Sign in and try out permissions; those that cannot be tried without a change or a fee are left out."""
        return aws_permissions.whoami(self.connection)

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield list and spot prices in USD for Linux; see `CloudDriver.prices`."""
        return aws_prices.prices(self.connection, regions, self._clock())

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield what this account paid per hour of late, with its discounts; costs USD 0.01 per request."""
        explorer = aws_costs.Explorer(self.connection, self.max_requests)
        return aws_prices.learned(explorer, wanted, self._clock())

    def launch(self, order: MachineOrder) -> Machine:
        """Launch a machine; the same order again returns the same machine, also once it has ended."""
        return aws_machines.launch(self.connection, order)

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return this installation's machines; those of which only parts are left are ``"terminated"``."""
        return aws_machines.describe(self.connection, installation, regions)

    def terminate(self, machine: Machine) -> None:
        """End a machine; called again once it has ended, delete what is left of it."""
        aws_machines.terminate(self.connection, machine)

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield billed charges by day, service, project and node; AWS shows them up to 24 hours late.

        Raises
        ------
        Conflict
            Code ``billing-request-limit``: it would take more than `max_requests` requests.
        """
        return aws_costs.costs(self.connection, start, end, self.max_requests)

    def activate_cost_tags(self) -> tuple[str, ...]:
        """Make the project and node tags cost allocation tags; see `aws_costs.activate_tags`."""
        return aws_costs.activate_tags(self.connection)
