"""A view of the data explorer as data: asked by JupyterLab's panel and by the widget, answered in this kernel.

The panel sends one JSON text, `show` has the view made and displays it under a MIME type of its own. Nothing of what is
asked is code: views and options are looked up by name, columns and limits are values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import FlaasError, InvalidInput

if TYPE_CHECKING:
    from ..exploration import Exploration, View

Json = dict[str, Any]

MIME = "application/vnd.flaas.exploration+json"


def view_of(exploration: Exploration, asked: Mapping[str, Any]) -> View:
    """Return the view that was asked for.

    Parameters
    ----------
    exploration : Exploration
    asked : mapping
        ``part``, and of ``column``, ``columns``, ``bins``, ``bounds``, ``epsilon`` what the part takes; null is not
        given.

    Raises
    ------
    FlaasError
        As `Exploration.view`.
    """
    from ..exploration import options_of

    return exploration.view(str(asked.get("part")), **options_of(asked))


def show(text: str) -> None:
    """Display the view that is asked for, given as JSON, or why there is none; say what is waited for."""
    from IPython.display import display

    try:
        asked = _read(text)
        if asked.get("part") != "overview":
            print("Your rows are counted …" if asked.get("own") is True else "The nodes are asked …", flush=True)
        with exploration_of(asked) as exploration:
            content: Json = {"exploration": view_of(exploration, asked).to_dict()}
    except FlaasError as error:
        content = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    display({MIME: content, "text/plain": "Shown in the panel Federated learning."}, raw=True)


@contextmanager
def exploration_of(asked: Mapping[str, Any]) -> Iterator[Exploration]:
    """Connect as who is signed in now, for one view: somebody else may be the next."""
    from .. import connected, own_exploration

    if asked.get("own") is True:
        yield own_exploration.explore(str(asked["dataset"]))
        return
    with connected.connect() as session:
        yield session.project(str(asked["project"])).federation(dataset=str(asked["dataset"])).explore()


def _read(text: str) -> Json:
    try:
        asked = json.loads(text)
    except ValueError as error:
        raise _bad("it is not JSON") from error
    if not isinstance(asked, dict):
        raise _bad("it is no object")
    for name in ("project", "dataset"):
        if not isinstance(asked.get(name), str) and not (name == "project" and asked.get("own") is True):
            raise _bad(f"its {name} is no text")
    return asked


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The view that is asked for cannot be made: {why}.",
        code="bad-question",
        hint="Reload the page: panel and kernel may be of different versions.",
    )
