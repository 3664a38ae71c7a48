"""What the owners of the data allow to be told: the release policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from ...errors import InvalidInput, NotAllowed
from .expressions import singling

if TYPE_CHECKING:
    from .statistics import Statistic

MINIMUM_NODES = 3


@dataclass(frozen=True)
class ReleasePolicy:
    """When sums over nodes may be told to whoever asked.

    Parameters
    ----------
    minimum_group : int
        k: a number about fewer rows than this is not released.
    order : str
        Minimum, maximum and quantiles are values of single rows. ``"bracketed"``: they are told as a bracket that holds
        at least k rows; ``"exact"``: as they are, of groups of at least k rows.
    derived : str
        Derived columns in sums: ``"plain"`` ones only, which cannot single a row out (`expressions.singling`), or
        ``"any"``. Conditions and group keys may be anything; the query audit looks at the rows that they choose.
    privacy : str
        ``"required"``: nothing is released without differential privacy; or ``"optional"``.
    minimum_nodes : int
        Nodes in a sum, at least 3.

    Raises
    ------
    InvalidInput
        Code ``bad-release-policy``.
    """

    minimum_group: int = 10
    order: Literal["bracketed", "exact"] = "bracketed"
    derived: Literal["plain", "any"] = "plain"
    privacy: Literal["optional", "required"] = "optional"
    minimum_nodes: int = MINIMUM_NODES

    def __post_init__(self) -> None:
        for name, least in (("minimum_group", 1), ("minimum_nodes", MINIMUM_NODES)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _bad(f"{name} is {value!r}; allowed is an integer from {least} on")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _bad(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(map(repr, choices))}")

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReleasePolicy:
        """Read `to_dict`'s form; what is not known is refused.

        Raises
        ------
        InvalidInput
            Code ``bad-release-policy``.
        """
        known = {entry.name for entry in fields(cls)}
        if not isinstance(data, Mapping) or not set(data) <= known:
            raise _bad(f"its settings must be among {', '.join(sorted(known))}")
        return cls(**data)

    @classmethod
    def strictest(cls, policies: Iterable[ReleasePolicy]) -> ReleasePolicy:
        """Return the policy that keeps to every one of `policies`, at least one."""
        given = list(policies)
        strict = {
            name: next((choice for choice in choices if any(getattr(p, name) == choice for p in given)), choices[0])
            for name, choices in _CHOICES.items()
        }
        return cls(
            minimum_group=max(policy.minimum_group for policy in given),
            minimum_nodes=max(policy.minimum_nodes for policy in given),
            **strict,  # type: ignore[arg-type]
        )

    def require(self, statistic: Statistic) -> None:
        """Refuse a statistic that this policy never releases.

        Raises
        ------
        NotAllowed
            ``analytics-privacy-required``; ``analytics-derived``: a derived column could single rows out of a sum.
        """
        if self.privacy == "required" and statistic.epsilon is None:
            raise NotAllowed(
                "The query is without differential privacy, which this data set's owner requires.",
                code="analytics-privacy-required",
                hint="Give epsilon=, e.g. 1.0, and bounds= of the columns that are summed.",
            )
        if self.derived == "any" or self.minimum_group == 1 or statistic.epsilon is not None:
            return
        used: set[str] = set(statistic.columns)
        for name, expression in reversed(statistic.assign):
            if name not in used:
                continue
            used |= expression.columns
            why = singling(expression)
            if why is not None:
                raise NotAllowed(
                    f"The derived column {name!r} could tell about single rows: {why}.",
                    code="analytics-derived",
                    hint="Allowed are sums, differences and products of two columns, and log, exp, abs, round or "
                    "quotients of columns without constants; or give epsilon= and bounds=.",
                    column=name,
                )


_CHOICES: dict[str, tuple[str, ...]] = {  # the strictest first
    "order": ("bracketed", "exact"),
    "derived": ("plain", "any"),
    "privacy": ("required", "optional"),
}


def _bad(why: str) -> InvalidInput:
    return InvalidInput(f"The release policy is not acceptable: {why}.", code="bad-release-policy")
