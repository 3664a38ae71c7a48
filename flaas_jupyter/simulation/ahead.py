"""Train the next round while the notebook looks at the last one.

Callbacks, validation and reports take time in which the workers would wait. Which clients the next round asks and from
which weights they start is known by then, unless the notebook stops or changes the learning rate; so the round is
started, and taken if it is what is asked for next. What comes of a round does not depend on when it was started.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn

from ..errors import FlaasError
from .work import Executor, RoundOutput, RoundWork


class AheadExecutor:
    """An executor that can be told what will probably be asked of it next.

    Parameters
    ----------
    executor : Executor
    """

    def __init__(self, executor: Executor) -> None:
        self.inner = executor
        self._expected: tuple[RoundWork, Callable[[], RoundOutput]] | None = None

    def expect(self, work: RoundWork) -> None:
        """Start work that will probably be asked for; what is wrong with it is told then."""
        try:
            self._expected = (work, self.inner.start(work))
        except FlaasError as error:
            self._expected = (work, functools.partial(_raise, error))

    def prepare(self, work: RoundWork) -> None:
        """Make ready for the round after that, which starts from weights that are not known yet."""
        self.inner.prepare(work)

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work, or take what was started if it is the same."""
        expected, self._expected = self._expected, None
        if expected is None:
            return self.inner.run(work)
        output = expected[1]()  # what is under way has to end in any case
        return output if expected[0].same_as(work) else self.inner.run(work)

    @property
    def busy(self) -> bool:
        """Whether something was started that was not asked for yet."""
        return self._expected is not None


def _raise(error: FlaasError) -> NoReturn:
    raise error
