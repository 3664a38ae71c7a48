"""The data explorer as a widget: what there is of a data set, and what its owners show of its rows.

The kernel has views made and holds them; the page draws `DataExplorer.state` and says what is asked. So it can be
driven from code as well as by hand, also outside JupyterLab. Saved notebooks have what was shown, and no more: withheld
figures never came here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ..errors import FlaasError, InvalidInput
from . import exploration_request, widget_files
from .text_widget import TextWidget

if TYPE_CHECKING:
    from ..exploration import Exploration, View

Json = dict[str, Any]


class DataExplorer(TextWidget):
    """Look at the data of a project, as far as its owners show them.

    Parameters
    ----------
    what : Project, federation or Exploration, optional
        Any of the three below, whichever it is.
    dataset : str, optional
        Of a project: which to begin with; the first by name unless it is given.
    project : Project, optional
        ``flaas.connect().project("credit")``, whose data sets can be chosen from.
    federation : Federation, optional
        Connected or simulated.
    exploration : Exploration, optional
        ``flaas.explore("loans")``, the rows of the node on this machine; or ``federation.explore()``.

    Raises
    ------
    InvalidInput
        Codes ``no-exploration``: there is nothing to explore in what was given, or not one of the four was;
        ``no-datasets``.
    NotFound
        Code ``unknown-dataset``.

    Examples
    --------
    >>> project = flaas.connect().project("credit")  # doctest: +SKIP
    >>> explorer = flaas.widgets.DataExplorer(project)  # or project=project  # doctest: +SKIP
    >>> explorer.show("column", column="age")["column"]["counts"]  # doctest: +SKIP
    """

    _esm = widget_files.module("data_explorer")
    _css = widget_files.style("data_explorer")
    state = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        what: Any = None,
        dataset: str | None = None,
        *,
        project: Any = None,
        federation: Any = None,
        exploration: Any = None,
    ) -> None:
        super().__init__()
        what = _the_one(what=what, project=project, federation=federation, exploration=exploration)
        self._project = what if hasattr(what, "federation") and hasattr(what, "datasets") else None
        self._exploration: Exploration
        datasets: list[str] = []
        if self._project is not None:
            datasets = [str(name) for name in self._project.datasets["name"]]
            if not datasets:
                raise InvalidInput(
                    f"No node of project {self._project.id!r} has a data set.",
                    code="no-datasets",
                    hint="Their owners register them with `flaas dataset add`.",
                )
            self._exploration = self._project.federation(dataset=dataset or datasets[0]).explore()
        elif hasattr(what, "explore"):
            self._exploration = what.explore()
        elif hasattr(what, "overview") and hasattr(what, "view"):
            self._exploration = what
        else:
            raise InvalidInput(
                f"There is nothing to explore in {type(what).__name__}.",
                code="no-exploration",
                hint="Give a project, flaas.connect().project(…), a federation, or flaas.explore(NAME).",
            )
        self.state = {"datasets": datasets, "overview": None, "shown": None, "nodes": None, "error": None}
        self.on_msg(self._clicked)
        self.show("overview")

    def choose(self, dataset: str) -> None:
        """Go over to another data set of the project."""
        if self._project is None:
            raise InvalidInput("There is one data set here.", code="no-datasets")
        self._exploration = self._project.federation(dataset=dataset).explore()
        self.state = {**self.state, "shown": None, "nodes": None}
        self.show("overview")

    def show(self, part: str, **options: Any) -> Json:
        """Have a view made, and show it.

        Parameters
        ----------
        part : str
            ``"overview"``, ``"nodes"``, ``"column"``, ``"missing"``, ``"correlations"``, ``"labels"``, ``"drift"``.
        **options
            ``column``, ``columns``, ``bins``, ``bounds``, ``epsilon``, as the part takes them.

        Returns
        -------
        dict
            See `flaas_jupyter.exploration.View`.
        """
        view: View = exploration_request.view_of(self._exploration, {"part": part, **options})
        shown = view.to_dict()
        place = part if part in ("overview", "nodes") else "shown"
        self.state = {**self.state, "error": None, place: shown}
        return shown

    def __repr__(self) -> str:
        overview, shown = self.state.get("overview"), self.state.get("shown")
        if overview is None:
            return "Data explorer"
        head = f"Data set {overview['dataset']}: {overview['level']}, {len(overview['columns'])} columns"
        if shown is None:
            return head
        from ..exploration import View

        return f"{head}\n{View(shown)!r}"

    def _clicked(self, _widget: object, content: Json, _buffers: object) -> None:
        """Do what the page asks for; what goes wrong is shown there."""
        try:
            asked = content.get("view")
            if content.get("do") == "choose":
                self.choose(str(content.get("dataset")))
            elif content.get("do") == "show" and isinstance(asked, Mapping):
                options = {str(name): value for name, value in asked.items() if name != "part"}
                self.show(str(asked.get("part")), **options)
        except FlaasError as error:
            told = {"message": error.message, "hint": error.hint, "code": error.code}
            self.state = {**self.state, "shown": None, "error": told}


def _the_one(**given: Any) -> Any:
    """Return what is to be explored, whichever name it was given by."""
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise InvalidInput(
            f"One of {', '.join(given)} says what is to be explored; given were {', '.join(named) or 'none'}.",
            code="no-exploration",
            hint="Give a project, flaas.connect().project(…), a federation, or flaas.explore(NAME).",
        )
    return given[named[0]]
