"""What runs beside the data: the node daemon, its data sets and policy, local training, and runs.

`anonymise` is for owners who release rows; it loads on first use, like everything here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anonymisation import anonymise

__all__ = ["anonymise"]


def __getattr__(name: str) -> Any:
    if name == "anonymise":
        from .anonymisation import anonymise

        return anonymise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
