"""A kernel that answers the data explorer from a book: data sets of every level, and what is refused.

`show` stands where the kernel side of the panel is (`flaas_jupyter.notebook.exploration_request`); what it was asked is
written to a file for the test to read. Data set ``biopsies`` goes to the real one, with a simulated federation.
"""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MODULE = "flaas_jupyter.notebook.exploration_request"
MIME = "application/vnd.flaas.exploration+json"
ASKED = "explored.jsonl"
NODES = {"a" * 64: ("hospital-a", "north"), "b" * 64: ("hospital-b", "east"), "c" * 64: ("hospital-c", "south")}
FEW = "fewer than 10 rows"

STARTUP = """\
def _book():
    import importlib.util

    spec = importlib.util.spec_from_file_location("fake_exploration", {path!r})
    book = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(book)
    book.install({folder!r})


_book()
"""


def kernel_environment(folder: Path) -> dict[str, str]:
    """Return the environment of kernels that answer so, beside what `fake_analytics` makes of them."""
    from .fake_analytics import kernel_environment as simulated

    environment = simulated(folder)
    startup = folder / "profile_default" / "startup" / "10-exploration.py"
    startup.write_text(STARTUP.format(path=str(Path(__file__).resolve()), folder=str(folder)))
    return environment


def asked(folder: Path) -> list[Json]:
    """Return what kernels were asked, in order."""
    log = folder / ASKED
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def described(name: str) -> Json:
    """A data set as the API lists it."""
    holders = [
        {"node": node, "node_name": known, "organisation": organisation, "rows": 300, "online": True}
        for node, (known, organisation) in NODES.items()
    ]
    features: list[Json] = [
        {"name": column, "dtype": "float64", "shape": []} for column in ("age", "chol", "resting blood pressure")
    ]
    target = {"name": "disease", "dtype": "int64", "kind": "binary", "classes": 2}
    declared = [{"name": "age", "dtype": "float64", "role": "feature", "unit": "years", "range": [0, 120]}]
    return {
        "name": name, "rows": 900, "nodes": holders, "features": features, "target": target, "schema": declared,
    }  # fmt: skip


# ---- the book -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What is displayed instead of an answer."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


LEVELS = {"heart": "aggregates", "loans": "private", "ledger": "schema"}
SPENT = {"loans": 3.5}
LIMIT = 5.0


def answer(request: Json) -> Json:
    """Answer one look.

    Raises
    ------
    Refused
    """
    name, part = request["dataset"], request["part"]
    if name == "vault":
        raise Refused(
            "not-allowed", "Your role does not let you look at data sets.", "Ask for the permission data:explore."
        )
    level = "owner" if request["own"] else LEVELS[name]
    if level == "private" and part not in ("overview", "nodes", "drift"):
        if request["epsilon"] is None:
            raise Refused("epsilon-needed", "The owners give figures with noise only.", "Give epsilon.")
        SPENT[name] += request["epsilon"]
    parts = {
        "column": column, "missing": missing, "labels": labels, "correlations": correlations, "drift": drift,
    }  # fmt: skip
    found = {part: parts[part](request)} if part in parts else {}
    notes = ["Your role lacks data:explore: figures are not shown."] if level == "schema" else []
    return {
        "version": 1, "part": part, "dataset": name, "project": request["project"], "time": "2026-11-26T12:00:00+00:00",
        "level": level, "rows": 300 if request["own"] else 900, "nodes": nodes(name, level, part),
        "columns": columns() if part in ("overview", "nodes") else [], "notes": notes,
        "budget": budget(name) if part == "nodes" and name in SPENT else None, **found,
    }  # fmt: skip


def nodes(name: str, level: str, part: str) -> list[Json]:
    """Every node, and what it shows; of the own rows only one."""
    found = []
    for node, (known, organisation) in NODES.items():
        mine = known == "hospital-a" and name == "heart"
        shown = "owner" if mine else level
        problem = None
        if part == "nodes" and known == "hospital-c" and name == "heart":
            problem = {"code": "silent", "message": "hospital-c does not answer.", "hint": "Ask again later."}
        found.append(
            {
                "node": node, "name": known, "organisation": organisation, "rows": 300, "level": shown,
                "online": problem is None, "drift": None if part != "nodes" else known != "hospital-c",
                "problem": problem,
            }
        )  # fmt: skip
    return found[:1] if level == "owner" else found


def columns() -> list[Json]:
    """What nodes have described."""
    usual: Json = {
        "dtype": "float64", "role": "feature", "kind": "number", "unit": None, "description": None, "range": None,
        "categories": None, "classes": None, "differences": [],
    }  # fmt: skip
    differs = [
        {"node": "b" * 64, "field": "unit", "value": "mmol/l"},
        {"node": "c" * 64, "field": "range", "value": [0, 12]},
    ]
    return [
        {**usual, "name": "age", "unit": "years", "range": [0, 120], "description": "At admission"},
        {**usual, "name": "chol", "unit": "mg/dl", "range": [80, 600], "differences": differs},
        {**usual, "name": "resting blood pressure", "unit": "mmHg"},
        {**usual, "name": "chest pain", "dtype": "string", "kind": "text",
         "categories": ["typical angina", "atypical angina", "non-anginal pain", "asymptomatic"]},
        {**usual, "name": "disease", "dtype": "int64", "role": "label", "kind": "label", "classes": 2},
    ]  # fmt: skip


def budget(name: str) -> list[Json]:
    return [{"node": node, "spent": SPENT[name], "budget": LIMIT, "remaining": LIMIT - SPENT[name]} for node in NODES]


def column(request: Json) -> Json:
    """The distribution of a column; of ages with an open end, bins that were merged, and one that is withheld."""
    name = request["column"]
    summary: Json = {
        "count": 893, "missing": 7, "mean": 53.51, "std": 9.42, "min": None, "median": 54.0, "max": None,
    }  # fmt: skip
    noise = {"error_bound": 6.2 if request["epsilon"] else 0.0, "epsilon": request["epsilon"], "bounds_error": 1.5}
    if name == "chest pain":
        return {
            "name": name, "kind": "categories", "edges": [], "summary": {"count": 897, "missing": 3},
            "labels": ["asymptomatic", "non-anginal pain", "atypical angina", "typical angina"],
            "counts": [496, 204, 174, None], "suppressed": [False, False, False, True],
            "reasons": {"3": FEW}, **noise,
        }  # fmt: skip
    edges = [None, 30, 35, 40, 45, 50, 55, 60, 65, 70, 80]
    counts = [14, 37, 72, 118, 131, 196, 180, 98, 47, None]
    return {
        "name": name, "kind": "histogram", "labels": [], "edges": edges, "counts": counts,
        "suppressed": [count is None for count in counts],
        "reasons": {"0": "told together with its neighbour", "9": FEW}, "summary": summary, **noise,
    }  # fmt: skip


def missing(request: Json) -> list[Json]:
    shares = {"age": 0.0, "chol": 0.032, "resting blood pressure": 0.064, "chest pain": 0.0033}
    found = [
        {"column": name, "count": round(900 * share), "share": share, "suppressed": False, "reason": None}
        for name, share in shares.items()
    ]
    return [*found, {"column": "disease", "count": None, "share": None, "suppressed": True, "reason": FEW}]


def labels(request: Json) -> Json:
    return {
        "column": "disease", "classes": [0, 1], "counts": [411, 489], "suppressed": [False, False], "reasons": {},
    }  # fmt: skip


def correlations(request: Json) -> Json:
    names = request["columns"] or ["age", "chol", "resting blood pressure", "disease"]
    values: list[list[float | None]] = [
        [1.0 if row == place else math.cos(1 + row * place + row + place) * 0.8 for place in range(len(names))]
        for row in range(len(names))
    ]
    hidden = [[{row, place} == {1, 2} for place in range(len(names))] for row in range(len(names))]
    return {
        "columns": names, "suppressed": hidden, "reason": "fewer than 10 rows have both values",
        "values": [
            [None if gone else value for value, gone in zip(*rows, strict=True)]
            for rows in zip(values, hidden, strict=True)
        ],
    }  # fmt: skip


def drift(request: Json) -> list[Json]:
    found = []
    for row, name in enumerate(("age", "chol", "resting blood pressure", "disease")):
        for place, node in enumerate(NODES):
            silent = place == 2
            found.append(
                {
                    "column": name, "node": node, "distance": None if silent else round(0.05 + 0.17 * row * place, 2),
                    "suppressed": silent, "reason": "its owner does not let it be told" if silent else None,
                }
            )  # fmt: skip
    return found


# ---- in the kernel --------------------------------------------------------------------------------------------------


def install(folder: str) -> None:
    """Stand where the kernel side of the panel is."""

    def show(text: str) -> None:
        from IPython.display import display

        request = json.loads(text)
        with (Path(folder) / ASKED).open("a") as log:
            log.write(json.dumps(request) + "\n")
        if request["dataset"] == "biopsies":
            real().show(text)
            return
        try:
            content: Json = {"exploration": answer(request)}
        except Refused as refused:
            content = {"error": {"code": refused.code, "message": refused.message, "hint": refused.hint}}
        display({MIME: content, "text/plain": "Shown in the panel."}, raw=True)

    def real() -> Any:
        """Import what this stands in for."""
        import importlib

        sys.modules.pop(MODULE, None)
        found = importlib.import_module(MODULE)
        sys.modules[MODULE] = book
        return found

    book = types.ModuleType(MODULE)
    book.show = show  # type: ignore[attr-defined]
    sys.modules[MODULE] = book
