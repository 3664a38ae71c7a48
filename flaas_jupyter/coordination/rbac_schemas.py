"""What may be sent and is answered about roles: the arguments of each function of INCITS 359 from its signature."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Field, StringConstraints, create_model

from ..governance.rbac.functions import FUNCTIONS, Function
from .schemas import Count, PlainObject, _In, _Out, _Resource

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Prose = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Days = Annotated[float, Field(gt=0, le=3660, allow_inf_nan=False)]
Operation = Annotated[str, StringConstraints(max_length=200, pattern=r"^[a-z][a-z-]*:[a-z][a-z-]*$")]
Thing = Annotated[
    str,
    StringConstraints(max_length=200, pattern=r"^(platform|(organisation|project|node)/[A-Za-z0-9][A-Za-z0-9._-]*)$"),
]

_NOT_SENT = {"expires", "fixed"}
"""Arguments that the API sets itself."""


class HeldIn(_In):
    """A role, in one scope."""

    role: Text
    scope: Text


def _arguments(function: Function) -> type[BaseModel]:
    """Return the model of a function's arguments, without the session of the data base."""
    hints = get_type_hints(function.call)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function.call).parameters.values())[1:]:
        name = _sent_as(parameter.name)
        if name in _NOT_SENT:
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            fields[name] = (Annotated[list[Text], Field(max_length=100)], Field(default_factory=list))
            continue
        kind = Prose if name == "description" else _kind(hints[parameter.name])
        fields[name] = (kind, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    model = create_model(_title(function.name, "Arguments"), __base__=_In, **fields)
    model.__doc__ = f"The arguments of {function.name}."
    return model


def _sent_as(name: str) -> str:
    """Return the standard's name of a parameter: there, a session is one of roles."""
    return "session" if name == "session_id" else name


def _kind(hint: Any) -> Any:
    if hint is str:
        return Text
    if hint is int:
        return Count
    if get_origin(hint) in (Union, types.UnionType):
        return Text | None if str in get_args(hint) else datetime | None
    if get_origin(hint) is Iterable:
        several = Text if get_args(hint) == (str,) else Text | HeldIn
        return Annotated[list[several], Field(max_length=1000)]  # type: ignore[valid-type]
    return hint


def _title(name: str, ending: str) -> str:
    return "".join(word.capitalize() for word in name.split("_")) + ending


ARGUMENTS: Mapping[str, type[BaseModel]] = {name: _arguments(function) for name, function in FUNCTIONS.items()}
"""What each function takes."""

CALLS: Mapping[str, type[BaseModel]] = {
    name: create_model(_title(name, "Call"), __base__=_In, arguments=(model, ...)) for name, model in ARGUMENTS.items()
}
"""What is sent to each function: ``{"arguments": {…}}``."""


class ChangeIn(_In):
    """A call of an administrative function."""

    function: Annotated[str, StringConstraints(max_length=60)]
    arguments: PlainObject


class ChangesIn(_In):
    """Changes to be tried, in this order."""

    changes: Annotated[list[ChangeIn], Field(max_length=100)]


class Pair(_Out):
    """A permission: an operation on an object."""

    operation: str
    object: str


class Result(_Resource):
    """What a function has answered; names and pairs sorted."""

    function: str
    result: bool | int | str | list[str] | list[Pair] | None


class Holder(_Out):
    """Somebody who has a role, and where."""

    user: str
    scope: str


class Role(_Resource):
    """A role: its own permissions and those that it inherits, and whoever has it, as far as the caller may know."""

    name: str
    description: str
    built_in: bool
    juniors: list[str]
    seniors: list[str]
    permissions: list[Pair]
    inherited: list[Pair]
    users: list[Holder]


class _Roles(_Out):
    roles: list[Role]


class Roles(_Resource):
    """A page of roles, by name."""

    embedded: _Roles = Field(alias="_embedded")


class Way(_Out):
    """A role that has a permission, and the way through the hierarchy to the role that it was granted to."""

    role: str
    path: list[str]


class Permission(_Resource):
    """A permission, and who has it why."""

    operation: str
    object: str
    description: str
    roles: list[Way]


class _Permissions(_Out):
    permissions: list[Permission]


class Permissions(_Resource):
    """A page of permissions."""

    embedded: _Permissions = Field(alias="_embedded")


class UnusedPermission(_Out):
    """A permission of a role that nobody has used where the role is held."""

    role: str
    scope: str
    operation: str
    object: str
    assigned: str
    last_used: str | None


class Unused(_Resource):
    """The permissions that nobody has used for so many days."""

    days: float
    unused: list[UnusedPermission]


class Exclusion(_Resource):
    """A separation of duty: of these roles nobody has `cardinality` or more, or has them active at once."""

    name: str
    kind: Literal["static", "dynamic"]
    roles: list[str]
    cardinality: int
    per_scope: bool


class _Exclusions(_Out):
    exclusions: list[Exclusion]


class Exclusions(_Resource):
    """All separations of duty."""

    embedded: _Exclusions = Field(alias="_embedded")


class RoleConflict(_Out):
    """Somebody whom a change would bring into conflict with a separation of duty."""

    exclusion: str
    user: str
    session: str | None = None
    roles: list[str]


class RoleProblem(_Out):
    """Why a change cannot be made."""

    code: str
    title: str
    detail: str
    hint: str
    change: int


class RolePreview(_Resource):
    """What would come of the changes; nothing was changed."""

    conflicts: list[RoleConflict]
    problem: RoleProblem | None


class Because(_Out):
    """An active role that gives a permission, where it is held, and the way to the role that it was granted to."""

    role: str
    scope: str
    path: list[str]


class Can(_Resource):
    """Whether the caller may, and why."""

    operation: str
    resource: str | None
    permitted: bool
    because: list[Because]
