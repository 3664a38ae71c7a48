"""The cost wizard as a widget: template, prices, choice, plan, launch, follow. Also outside JupyterLab.

The kernel holds the state and does everything; the page shows `CostWizard.state` and says what was clicked. So a wizard
can be driven from code as well as by hand, and nothing secret is ever in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ..answers import without_links
from ..errors import FlaasError, InvalidInput, NotAuthenticated
from . import widget_files

if TYPE_CHECKING:
    from ..connected import Session
    from ..connected_costs import Launch

Json = dict[str, Any]

_OPTIONS = ("area", "market", "rounds", "hours", "nodes", "parameters", "rows_per_node", "budget_usd")
STEPS = ("template", "prices", "plan", "follow")


class CostWizard(anywidget.AnyWidget):  # type: ignore[misc]
    """Compare the clouds for a template, launch it, and follow it.

    Parameters
    ----------
    project : str, optional
        The federated project that machines are launched for. Default: the only one there is.
    session : Session, optional
        Default: ``flaas.connect()``. Without a token the wizard compares list prices and launches nothing.
    datasets : mapping, optional
        Node name to ``{"name", "source", "target"}``: what the launched machines offer for training.

    Examples
    --------
    >>> wizard = flaas.widgets.CostWizard(project="demo")  # doctest: +SKIP
    >>> wizard  # doctest: +SKIP
    """

    _esm = widget_files.module("cost_wizard")
    _css = widget_files.style("cost_wizard")
    state = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        project: str | None = None,
        *,
        session: Session | None = None,
        datasets: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__()
        self._session = session if session is not None else _connected()
        self._datasets = dict(datasets or {})
        self._launched: Launch | None = None
        self._actions: Mapping[str, Callable[..., None]] = {
            "template": self.choose_template,
            "compare": self.compare,
            "choose": self.choose_provider,
            "launch": self.launch,
            "refresh": self.refresh,
            "resume": self.resume,
            "end": self.end,
            "back": self.back,
        }
        projects = self._projects()
        self.state = {
            "step": "template",
            "templates": self._templates(),
            "template": None,
            "options": {},
            "answer": None,
            "provider": None,
            "plan": None,
            "projects": projects,
            "project": project or (projects[0] if len(projects) == 1 else None),
            "launch": None,
            "error": None,
            "can_launch": self._session is not None,
        }
        self.on_msg(self._clicked)

    # ---- what can be done, in the order of the steps ----------------------------------------------------------

    def choose_template(self, name: str) -> None:
        """Take a template, and compare the clouds for it."""
        known = {template["name"]: template for template in self.state["templates"]}
        if name not in known:
            raise InvalidInput(f"There is no template {name!r}; there is: {', '.join(known)}.", code="unknown-template")
        self._set(template=known[name], options={}, provider=None)
        self.compare()

    def compare(self, **options: Any) -> None:
        """Compare the clouds again, with other options (see `Costs.recommend`)."""
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise InvalidInput(
                f"There is no option {unknown[0]!r}; there is: {', '.join(_OPTIONS)}.", code="bad-option"
            )
        if self.state["template"] is None:
            raise InvalidInput("Choose a template first.", code="no-template")
        merged = {**self.state["options"], **options}
        merged = {key: value for key, value in merged.items() if value not in (None, "")}
        answer = self._recommend(self.state["template"]["name"], merged)
        self._set(step="prices", options=merged, answer=answer)
        best = answer["plan"]
        self._set(provider=None, plan=best)

    def choose_provider(self, provider: str | None = None) -> None:
        """Take the recommendation (None), or everything at one provider, and show the plan."""
        answer = self.state["answer"]
        if answer is None:
            raise InvalidInput("Compare prices first.", code="no-prices")
        if provider is None:
            plan, why = answer["plan"], "no provider has a fitting offer"
        else:
            entry = next((e for e in answer["providers"] if e["provider"] == provider), None)
            plan, why = (entry["plan"], entry["why_not"]) if entry else (None, "it is unknown")
        if plan is None:
            raise InvalidInput(f"There is no plan for {provider or 'this template'}: {why}.", code="no-placement")
        self._set(step="plan", provider=provider, plan=plan)

    def launch(self, accept_usd: float, project: str | None = None, hours: float | None = None) -> None:
        """Launch the plan, for at most `accept_usd`."""
        if self._session is None:
            raise NotAuthenticated(
                "Nobody is signed in: this wizard only compares prices.",
                code="no-token",
                hint="Sign in in the Federated learning panel or with `flaas login`, then make the wizard again.",
            )
        project = project or self.state["project"]
        if project is None:
            raise InvalidInput(
                f"For which project? There is: {', '.join(self.state['projects']) or 'none'}.", code="no-project"
            )
        from ..connected_costs import Recommendation

        recommendation = Recommendation(self._session.costs, self.state["answer"])
        self._launched = recommendation.launch(
            project,
            self.state["provider"],
            accept_usd=accept_usd,
            hours=hours,
            datasets=self._datasets,
            title=self.state["template"]["title"],
        )
        self._set(step="follow", project=project, launch=self._launched.answer)

    def refresh(self) -> None:
        """Look how the launch stands."""
        self._set(launch=self.launched.refresh().answer)

    def resume(self) -> None:
        """Try again what has failed."""
        self._set(launch=self.launched.resume().answer)

    def end(self) -> None:
        """End all machines."""
        self._set(launch=self.launched.end().answer)

    def back(self) -> None:
        """Go a step back; a launch goes on and is found again with `flaas.connect().costs.launches(project)`."""
        self._set(step=STEPS[max(0, STEPS.index(self.state["step"]) - 1)])

    @property
    def launched(self) -> Launch:
        """The launch that is followed.

        Raises
        ------
        InvalidInput
            Code ``no-launch``.
        """
        if self._launched is None:
            raise InvalidInput("Nothing was launched yet.", code="no-launch")
        return self._launched

    # ---- inside -------------------------------------------------------------------------------------------------

    def _clicked(self, _widget: object, content: Json, _buffers: object) -> None:
        """Do what the page asks for; what goes wrong is shown there, and nothing is lost."""
        action = self._actions.get(str(content.get("do")))
        arguments = content.get("with") or {}
        if action is None or not isinstance(arguments, dict):
            return
        try:
            action(**arguments)
        except FlaasError as error:
            self._set(error={"message": error.message, "hint": error.hint, "code": error.code})
        except TypeError:
            self._set(
                error={
                    "message": "The page and the kernel do not understand each other.",
                    "hint": "Run the cell again.",
                    "code": "bad-message",
                }
            )

    def _set(self, **changes: Any) -> None:
        self.state = {**self.state, "error": None, **changes}

    def _templates(self) -> list[Json]:
        if self._session is not None:
            return [without_links(entry) for entry in self._session.list("/v1/costs/templates", "templates")]
        from ..costs import templates

        return [template.to_dict() for template in templates.builtin()]

    def _projects(self) -> list[str]:
        return [] if self._session is None else [str(p["id"]) for p in self._session.list("/v1/projects", "projects")]

    def _recommend(self, template: str, options: Json) -> Json:
        if self._session is not None:
            return without_links(self._session.costs.recommend(template, **options).answer)
        from ..costs import Catalog, templates
        from ..costs.recommendation import Request, recommend

        request = Request.from_dict({"template": template, **options}, templates.builtin())
        return recommend(Catalog.current(), request).to_dict()


def _connected() -> Session | None:
    from ..connected import connect

    try:
        return connect()
    except NotAuthenticated as error:
        if error.code != "no-token":
            raise
        return None
