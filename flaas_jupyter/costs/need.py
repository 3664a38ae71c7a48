"""What a node needs of a machine."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import InvalidInput

ARCHITECTURES = ("x86_64", "arm64")


@dataclass(frozen=True)
class Need:
    """Lower bounds of a machine.

    Parameters
    ----------
    vcpus : float
        Virtual CPUs, at least; above 0.
    memory_gib : float
        GiB of memory, at least.
    gpu_count : float, optional
        GPUs, at least; a fraction such as 0.5 takes a slice of one. None means 1 if `gpu_names` or `gpu_memory_gib`
        asks for a GPU, else 0; after construction it is the number. 0 means a machine without GPU.
    gpu_memory_gib : float
        GiB of each GPU, at least.
    gpu_names : tuple of str
        Any of these models, whole names in either case: ``"A100"`` is not ``"A100-80GB"``. Empty: any model.
    burstable : bool
        Whether a machine whose CPUs are throttled after a while will do.
    arch : str, optional
        ``"x86_64"``, ``"arm64"``, None for either.

    Raises
    ------
    InvalidInput
        ``bad-need``, naming the field, its value and what is allowed.
    """

    vcpus: float = 1
    memory_gib: float = 0
    gpu_count: float | None = None
    gpu_memory_gib: float = 0
    gpu_names: tuple[str, ...] = ()
    burstable: bool = False
    arch: str | None = "x86_64"

    def __post_init__(self) -> None:
        for f in fields(self):  # numpy's scalars, as rows of tables have them
            value = getattr(self, f.name)
            if isinstance(value, np.generic):
                object.__setattr__(self, f.name, value.item())
        if self.gpu_names is None:
            object.__setattr__(self, "gpu_names", ())
        given: object = (self.gpu_names,) if isinstance(self.gpu_names, str) else self.gpu_names
        names = tuple(given) if isinstance(given, Iterable) else (None,)
        if not all(isinstance(name, str) and name.strip() for name in names):
            raise _bad("gpu_names", self.gpu_names, "a list of names of GPUs")
        object.__setattr__(self, "gpu_names", tuple(str(name).strip() for name in names))
        _require_number("vcpus", self.vcpus, above_zero=True)
        _require_number("memory_gib", self.memory_gib)
        _require_number("gpu_memory_gib", self.gpu_memory_gib)
        if not isinstance(self.burstable, bool):
            raise _bad("burstable", self.burstable, "True or False")
        if self.arch is not None and self.arch not in ARCHITECTURES:
            raise _bad("arch", self.arch, f"{', '.join(ARCHITECTURES)} or None for either")
        asks = bool(self.gpu_names) or self.gpu_memory_gib > 0
        if self.gpu_count is None:
            object.__setattr__(self, "gpu_count", 1 if asks else 0)
        _require_number("gpu_count", self.gpu_count)
        if asks and self.gpu_count == 0:
            raise _bad("gpu_count", 0, "above 0 (or None) together with gpu_names or gpu_memory_gib")

    @property
    def gpus(self) -> float:
        """GPUs, at least."""
        assert self.gpu_count is not None
        return self.gpu_count

    def to_dict(self) -> dict[str, Any]:
        """Return the need as JSON values."""
        return {f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Need:
        """Read what `to_dict` wrote; fields that are left out have their defaults.

        Raises
        ------
        InvalidInput
            ``bad-need``, also for a field that does not exist.
        """
        require_known(data, [f.name for f in fields(cls)], "a need", "bad-need")
        return cls(**data)


def require_known(data: object, allowed: Iterable[str], what: str, code: str) -> None:
    """Raise `InvalidInput` unless `data` is a mapping with keys of `allowed` alone."""
    allowed = list(allowed)
    if not isinstance(data, Mapping):
        raise InvalidInput(f"{what.capitalize()} must be a mapping, not {type(data).__name__}.", code=code)
    unknown = [str(key) for key in data if key not in allowed]
    if unknown:
        close = [match for key in unknown for match in difflib.get_close_matches(key, allowed, n=1)]
        raise InvalidInput(
            f"{', '.join(map(repr, unknown))}: no such key of {what}. Allowed are {', '.join(allowed)}.",
            code=code,
            hint=f"Did you mean {' and '.join(close)}?" if close else "",
        )


def _require_number(field: str, value: object, *, above_zero: bool = False) -> None:
    allowed = "a number above 0" if above_zero else "a number of at least 0"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _bad(field, value, allowed)
    if value < 0 or (above_zero and value == 0):
        raise _bad(field, value, allowed)


def _bad(field: str, value: object, allowed: str) -> InvalidInput:
    return InvalidInput(
        f"{field}={value!r} cannot be needed. Allowed is {allowed}.",
        code="bad-need",
        hint=f"Change {field}.",
        field=field,
    )
