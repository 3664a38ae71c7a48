"""Which model a question is about: named by the digest of what travels beside the question."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput, NotAllowed
from ..analytics import limits

KINDS = ("keras", "boosting")
OUTPUTS = ("margin", "prediction")
MAXIMUM_OUTPUTS = 100


@dataclass(frozen=True)
class ModelReference:
    """A model and what of it is looked at.

    Attributes
    ----------
    kind : str
        ``"keras"``: a training plan and weights; ``"boosting"``: an ensemble of trees.
    sha256 : str
        Of the tensors that it travels as, see `digest_of`.
    output : str
        ``"margin"``: what goes into a last sigmoid or softmax; ``"prediction"``: what comes out of the model.
    outputs : int
        How many numbers it gives for a row.
    """

    kind: str
    sha256: str
    output: str = "margin"
    outputs: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"kind": self.kind, "sha256": self.sha256, "output": self.output, "outputs": self.outputs}

    @classmethod
    def parse(cls, data: object) -> ModelReference:
        """Check the JSON form and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-statistic``.
        """
        entry = limits.mapping(data, "the model")
        limits.only(entry, ("kind", "sha256", "output", "outputs"), "the model")
        kind, sha256, output, outputs = (entry.get(name) for name in ("kind", "sha256", "output", "outputs"))
        if kind not in KINDS or output not in OUTPUTS:
            raise limits.bad(f"a model is {' or '.join(KINDS)}, and looked at as {' or '.join(OUTPUTS)}")
        if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise limits.bad("the model's digest is not 64 hex digits")
        if type(outputs) is not int or not 1 <= outputs <= MAXIMUM_OUTPUTS:
            raise limits.bad(f"a model has 1 to {MAXIMUM_OUTPUTS} outputs")
        return cls(str(kind), sha256, str(output), outputs)

    def require(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Refuse tensors that are not the model that was signed for.

        Raises
        ------
        InvalidInput
            ``model-missing``: none came.
        NotAllowed
            ``model-altered``: they have another digest.
        """
        if not tensors:
            raise InvalidInput(
                "The question is about a model, and none came with it.",
                code="model-missing",
                hint="Use the same version of flaas_jupyter in the notebook and at the nodes.",
            )
        if digest_of(tensors) != self.sha256:
            raise NotAllowed(
                "The model that came is not the one that the developer has signed for.",
                code="model-altered",
                hint="Ask again. If it happens again, the node that releases the answer is not to be trusted.",
            )


def digest_of(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of tensors by name, 64 hex digits."""
    running = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        running.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        running.update(array.data)
    return running.hexdigest()
