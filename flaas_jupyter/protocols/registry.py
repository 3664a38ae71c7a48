"""Things that can be asked for by name: aggregation rules, attacks.

One registry serves the model API, nodes, the simulator, the panel and the documentation. `Registry.describe` reads what
there is to know about each entry from its class, the docstring and its own statements: nothing is written twice.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import Conflict, InvalidInput

T = TypeVar("T")


class Registry(Generic[T]):
    """Makers by name: call it to make one, ``names()`` lists them.

    Parameters
    ----------
    kind : str
        What an entry is, for people: ``"aggregation rule"``.
    code : str
        The same in the codes of errors: ``"aggregation"``.
    makers : mapping of str to callable
        A class or function for each name; it takes the entry's options by keyword.
    facts : tuple of str
        Class attributes that `describe` adds for each entry.

    Examples
    --------
    >>> colours = Registry("colour", "colour", {"grey": lambda level=0.5: (level,) * 3})
    >>> colours("grey", level=1.0)
    (1.0, 1.0, 1.0)
    >>> colours.names()
    ['grey']
    """

    def __init__(
        self, kind: str, code: str, makers: Mapping[str, Callable[..., T]], *, facts: tuple[str, ...] = ()
    ) -> None:
        self._kind = kind
        self._code = code
        self._makers = dict(makers)
        self._facts = facts

    def __call__(self, name: str, **options: Any) -> T:
        """Make the entry `name` with its own options.

        Raises
        ------
        InvalidInput
            Code ``unknown-<code>``, or ``bad-<code>-option`` when the entry has no such option.
        """
        if name not in self._makers:
            near = difflib.get_close_matches(str(name), self._makers, n=1)
            raise InvalidInput(
                f"There is no {self._kind} {str(name)[:80]!r}; there are {', '.join(self.names())}.",
                code=f"unknown-{self._code}",
                hint=f"Did you mean {near[0]!r}?" if near else "Choose one of these, or `register` your own.",
                allowed=self.names(),
            )
        try:
            return self._makers[name](**options)
        except TypeError as error:
            raise InvalidInput(
                f"The {self._kind} {name!r} cannot be made with {options!r}: {error}.",
                code=f"bad-{self._code}-option",
                hint=f"Its options are {', '.join(_options(self._makers[name])) or 'none'}.",
            ) from error

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        return sorted(self._makers)

    def register(self, name: str, make: Callable[..., T]) -> None:
        """Add an entry of one's own: `make` takes its options and returns it.

        Raises
        ------
        Conflict
            Code ``<code>-exists``: the name is taken.
        """
        if name in self._makers:
            raise Conflict(f"There is a {self._kind} {name!r} already.", code=f"{self._code}-exists")
        self._makers[name] = make

    def describe(self) -> list[dict[str, Any]]:
        """Return what there is to know about each entry, by name, as JSON values.

        Returns
        -------
        list of dict
            ``name``; ``class`` (name of the class or function); ``summary`` (first line of its docstring);
            ``options``: a list of ``{"name", "default", "required", "type", "help"}``, the last two from the
            docstring's parameters; and the attributes listed as `facts`.
        """
        return [self._description(name) for name in self.names()]

    def _description(self, name: str) -> dict[str, Any]:
        make = self._makers[name]
        documented = _documented_parameters(make)
        options = [
            {
                "name": option.name,
                "default": None if option.default is option.empty else option.default,
                "required": option.default is option.empty,
                "type": documented.get(option.name, ("", ""))[0],
                "help": documented.get(option.name, ("", ""))[1],
            }
            for option in _options(make).values()
        ]
        summary = (inspect.getdoc(make) or "").partition("\n\n")[0].replace("\n", " ")
        facts = {fact: getattr(make, fact, "") for fact in self._facts}
        return {"name": name, "class": getattr(make, "__name__", name), "summary": summary, "options": options, **facts}


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, for documentation that is made from `Registry.describe`."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _options(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: each for name, each in inspect.signature(make).parameters.items() if each.kind in named}


def _documented_parameters(make: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Read type and meaning of each parameter from a NumPy docstring, inherited parameters included."""
    found: dict[str, tuple[str, str]] = {}
    for each in reversed(make.__mro__ if isinstance(make, type) else [make]):
        text = inspect.cleandoc(each.__doc__ or "")
        section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\S|\Z)", text, re.MULTILINE | re.DOTALL)
        entries = re.findall(
            r"^(\w+(?:, \w+)*) : (.+)\n((?:[ ]+.*(?:\n|\Z)|\n)*)", section[1] if section else "", re.MULTILINE
        )
        for names, kind, body in entries:
            found |= dict.fromkeys(names.split(", "), (kind, " ".join(body.split())))
    return found
