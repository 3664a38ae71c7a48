"""A `VerticalModel` as a file: a zip archive of Keras's own files of its parts, the plan, and the parties' states."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from .errors import InvalidInput
from .protocols.vertical.protection import Protection
from .training.vertical.plan import VerticalPlan
from .training.vertical.state import PartyState
from .vertical_federation import VerticalOutcome
from .vertical_parts import clone
from .vertical_report import VerticalReport

if TYPE_CHECKING:
    from .verticalmodel import VerticalModel

VERSION = 1


def save(model: VerticalModel, compiling: dict[str, Any], path: str | Path) -> None:
    """Write a model; see `VerticalModel.save`."""
    outcome = model.outcome
    about = {
        "version": VERSION,
        "name": model.name,
        "mode": model.mode,
        "encoder": model.encoder,
        "standardize": model.standardize,
        "protection": dataclasses.asdict(model.protection),
        "bottoms": {
            party: "keras" if isinstance(bottom, keras.Model) else bottom for party, bottom in model.bottoms.items()
        },
        "top": model.top is not None,
        "compile": _compiled(compiling).get_compile_config(),
        "plan": None if model.plan is None else model.plan.to_dict(),
        "report": None if model.vertical_report is None else model.vertical_report.to_dict(),
        "outcome": None
        if outcome is None
        else {"reports": outcome.reports, "run": outcome.run, "states": list(outcome.states)},
    }
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "model"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("model.json", json.dumps(about))
            for at, bottom in enumerate(model.bottoms.values()):
                if isinstance(bottom, keras.Model):
                    file.writestr(f"bottom_{at}.keras", _keras_bytes(bottom, folder))
            if model.top is not None:
                file.writestr("top.keras", _keras_bytes(model.top, folder))
            for at, state in enumerate(outcome.states.values() if outcome else ()):
                file.writestr(f"state_{at}.npz", state.to_bytes())
        made.replace(target)


def load(kind: type[VerticalModel], path: str | Path) -> VerticalModel:
    """Read a model; see `VerticalModel.load`."""
    try:
        with zipfile.ZipFile(path) as file, tempfile.TemporaryDirectory() as folder:
            about = json.loads(file.read("model.json"))
            if about.get("version") != VERSION:
                raise ValueError(f"it is of version {about.get('version')!r}, and {VERSION} is needed")
            return _read(kind, about, file, folder)
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is not a saved vertical model: {error}.",
            code="bad-vertical-file",
            hint="VerticalModel.save(path) writes one.",
        ) from error


def _read(kind: type[VerticalModel], about: dict[str, Any], file: zipfile.ZipFile, folder: str) -> VerticalModel:
    bottoms = {
        party: _read_keras(file, f"bottom_{at}.keras", folder) if entry == "keras" else entry
        for at, (party, entry) in enumerate(about["bottoms"].items())
    }
    top = _read_keras(file, "top.keras", folder) if about["top"] else None
    protection = Protection.from_dict(about["protection"])
    model = kind(
        bottoms,
        top,
        about["mode"],
        encoder=about["encoder"],
        standardize=about["standardize"],
        embedding_clip=protection.embedding_clip,
        embedding_noise=protection.embedding_noise,
        gradient_protection=protection.gradient,
        gradient_noise=protection.gradient_noise,
        name=about["name"],
    )
    compiled = _compiled(None)
    compiled.compile_from_config(about["compile"])
    read = keras.saving.deserialize_keras_object
    metrics = about["compile"].get("metrics")
    model.compile(compiled.optimizer, read(about["compile"]["loss"]), metrics=read(metrics) if metrics else None)
    if about["plan"] is not None:
        model.plan = VerticalPlan.from_dict(about["plan"])
    if about["report"] is not None:
        model.vertical_report = VerticalReport(about["report"])
    done = about["outcome"]
    if done is not None:
        states = [PartyState.from_bytes(file.read(f"state_{at}.npz")) for at in range(len(done["states"]))]
        model.outcome = VerticalOutcome(done["reports"], dict(zip(done["states"], states, strict=True)), done["run"])
    return model


def _compiled(compiling: dict[str, Any] | None) -> keras.Model:
    """A model of no importance, by which Keras writes and reads optimizers, losses and metrics."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    if compiling is not None:
        model.compile(**clone(compiling))
    return model


def _keras_bytes(model: keras.Model, folder: str) -> bytes:
    path = Path(folder) / "part.keras"
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(path)
    return path.read_bytes()


def _read_keras(file: zipfile.ZipFile, name: str, folder: str) -> keras.Model:
    path = Path(folder) / name
    path.write_bytes(file.read(name))
    return keras.saving.load_model(path, compile=False, safe_mode=True)
