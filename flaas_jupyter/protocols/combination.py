"""What goes together in one run: an aggregation rule, secure aggregation, privacy, compression, so many clients.

The model asks before anything is sent, the coordination API when the run is created, the aggregator before anybody
trains. All of them ask here, so that a combination is refused everywhere for the same reason or nowhere.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from .aggregation import Needs, Rule, ScalarRule, aggregation
from .compression import Compressor, compression
from .groups import MINIMUM_GROUP, group_count, require_group_size
from .secure_aggregation import minimum_voters

if TYPE_CHECKING:
    from .privacy import DifferentialPrivacy, PrivacyPlan

INCOMPATIBLE = "SECAGG_INCOMPATIBLE_AGGREGATOR"
"""In the details of errors: the rule must see updates, and secure aggregation leaves it nothing that would do."""

_PROBE_PARAMETERS = 8
_TRIED_BEYOND = 8
"""A rule may need so many models more than its bound says, such as three for a line to be out of."""
_NAMES_A_CLIENT = {"trusted"}
"""Options of rules whose value is the name of a client."""


def make_rule(name: str, options: Mapping[str, Any]) -> Rule:
    """Make a registered rule from what was sent or saved.

    Raises
    ------
    InvalidInput
        ``unknown-aggregation``; ``bad-aggregation-option``: the rule has no such option, or not with this value.
    """
    try:
        return aggregation(name, **{str(key): value for key, value in options.items()})
    except InvalidInput as error:
        if error.code in ("unknown-aggregation", "bad-aggregation-option"):
            raise
        raise InvalidInput(error.message, code="bad-aggregation-option", hint=error.hint, **error.details) from error
    except (TypeError, ValueError, ArithmeticError) as error:  # a value of a kind that the rule does not expect
        raise InvalidInput(
            f"The aggregation rule {name!r} cannot be made with {dict(options)!r}: {error}.",
            code="bad-aggregation-option",
            hint="The rule's docstring lists its options.",
        ) from error


def in_groups(rule: Rule, *, secure_aggregation: bool) -> bool:
    """Tell whether the rule would run in group mode: see `flaas_jupyter.protocols.groups`."""
    return secure_aggregation and rule.needs is Needs.UPDATES


def require_combination(
    rule: Rule,
    *,
    secure_aggregation: bool,
    privacy: DifferentialPrivacy | None,
    group_size: int | None = None,
    sharded: bool = False,
    clients: int | None = None,
) -> None:
    """Refuse a rule that secure aggregation or differential privacy takes away from what it must see.

    Parameters
    ----------
    rule : Rule
    secure_aggregation : bool
    privacy : DifferentialPrivacy or None
    group_size : int, optional
        g of group mode, for a rule that must see updates; None where no groups were asked for.
    sharded : bool
        Whether every participant is to add up a part of the vector.
    clients : int, optional
        N, how many can take part in a round; None where that is not known yet.

    Raises
    ------
    InvalidInput
        ``aggregation-needs-updates``: the rule needs single updates, and under secure aggregation there are sums, one
        number of each client, and means of groups, of which there are too few; the details have ``needed``, the
        smallest N, and ``reason``, `INCOMPATIBLE`. ``bad-group-size``. ``secagg-not-sharded``: what is asked for does
        not work on parts of the vector. ``aggregation-with-privacy``: the noise of central or distributed
        differential privacy is calibrated to the mean of clipped updates, and the rule makes something else of them.
        ``privacy-needs-secure-aggregation``: distributed privacy without.
    """
    name = _name_of(rule)
    if group_size is not None:
        require_group_size(group_size)
    if in_groups(rule, secure_aggregation=secure_aggregation):
        _require_groups(rule, group_size, clients)
    if sharded:
        _require_sum(rule, secure_aggregation, privacy)
    if privacy is None:
        return
    if privacy.mode == "distributed" and not secure_aggregation:
        raise InvalidInput(
            "With distributed differential privacy every client adds a share of the noise, too little to hide its own "
            "update: it takes secure aggregation, which shows nothing but the sum.",
            code="privacy-needs-secure-aggregation",
            hint='Use secure_aggregation=True, or DifferentialPrivacy(..., mode="local").',
        )
    if privacy.mode != "local" and rule.needs is not Needs.SUM:
        raise InvalidInput(
            f"The aggregation rule {name} weights or selects single updates by their values. The noise of "
            f"{privacy.mode} differential privacy hides what one client adds to the mean of the clipped updates, not "
            "what its update does to the rule's choice.",
            code="aggregation-with-privacy",
            hint=f'Use one of {", ".join(_names(Needs.SUM))}, or DifferentialPrivacy(..., mode="local"), where each '
            "client adds noise before any rule sees its update.",
            aggregation=name,
        )


def make_compressor(data: Mapping[str, Any] | None) -> Compressor | None:
    """Make a registered compression from what was sent or saved: ``{"name", "options"}``, or None for none.

    Raises
    ------
    InvalidInput
        ``unknown-compression``; ``bad-compression-option``.
    """
    if data is None:
        return None
    name, options = data.get("name"), data.get("options", {})
    if set(data) - {"name", "options"} or not isinstance(name, str) or not isinstance(options, Mapping):
        raise InvalidInput(
            f"A compression is given by name and options, not {str(dict(data))[:200]}.", code="unknown-compression"
        )
    return compression(name, **{str(key): value for key, value in options.items()})


def require_compression(
    compressor: Compressor | None,
    rule: Rule,
    *,
    secure_aggregation: bool,
    privacy: DifferentialPrivacy | None,
    sharded: bool = False,
) -> None:
    """Refuse a compression whose updates cannot be added up unseen, bounded or compared, as the run asks.

    Parameters
    ----------
    compressor : Compressor or None
    rule : Rule
    secure_aggregation : bool
    privacy : DifferentialPrivacy or None
    sharded : bool
        Whether every participant adds up a part of the vector.

    Raises
    ------
    InvalidInput
        ``compression-with-secure-aggregation``: what it makes cannot be added up under masks;
        ``compression-not-sharded``; ``compression-with-privacy``: it would spend more than the budget, or the noise
        would not be what was accounted for; ``compression-with-aggregation``: the rule compares updates coordinate by
        coordinate, and every client sends other ones.
    """
    if compressor is None:
        return
    name, summing = compressor.name, ", ".join(_summing())
    if secure_aggregation and not compressor.summable:
        raise InvalidInput(
            f"The compression {name!r} does not go with secure aggregation: {_why_not_summed(compressor)}",
            code="compression-with-secure-aggregation",
            hint=f"Use one of {summing}, which are made for sums, or secure_aggregation=False.",
            compression=name,
        )
    if sharded:
        raise InvalidInput(
            f"The compression {name!r} does not go with sharded sums, whose parts are sent as they are.",
            code="compression-not-sharded",
            hint="Use SecureAggregation(sharded=False), or leave the compression out.",
            compression=name,
        )
    if privacy is not None and (secure_aggregation or compressor.remembers):
        why = (
            "error feedback carries into a round what earlier ones have left, and the noise is made for updates that "
            "are clipped in every round"
            if compressor.remembers
            else "coarse values under masks may be longer than the clip that the noise is made for"
        )
        raise InvalidInput(
            f"The compression {name!r} does not go with differential privacy here: {why}.",
            code="compression-with-privacy",
            hint=f"Without secure aggregation {', '.join(_stateless())} go with privacy; or leave one of the two out.",
            compression=name,
        )
    if not compressor.comparable and rule.needs is not Needs.SUM:
        raise InvalidInput(
            f"The compression {name!r} does not go with the aggregation rule {_name_of(rule)}, which compares updates: "
            "every client sends other coordinates, and what it does not send looks like no change.",
            code="compression-with-aggregation",
            hint=f"Use compression 'randomk', whose coordinates are the same for all, or one of "
            f"{', '.join(_stateless())}; or one of the rules {', '.join(_names(Needs.SUM))}.",
            compression=name,
            aggregation=rule.name,
        )


def _why_not_summed(compressor: Compressor) -> str:
    if not compressor.lossy:
        return "masked vectors are as good as random numbers, of which nothing can be saved without loss."
    if compressor.remembers:
        return "every client sends coordinates of its own, and a sum under masks is of the same ones."
    return "floating-point numbers do not add up under masks, which takes integers."


def _summing() -> list[str]:
    return [repr(name) for name in compression.names() if compression(name).summable]


def _stateless() -> list[str]:
    return [repr(name) for name in compression.names() if not compression(name).remembers]


def least_groups(rule: Rule) -> int:
    """Return how many groups the rule needs: for its bound, and to work at all, found by trying it."""
    least = max(2, rule.least_models(rule.malicious))
    refusal: InvalidInput | None = None
    for count in range(least, least + _TRIED_BEYOND):
        try:
            _try(copy.deepcopy(rule.on_groups(count)), [str(place) for place in range(count)], False)
            return count
        except InvalidInput as error:
            refusal = error
    assert refusal is not None
    raise InvalidInput(refusal.message, code="too-few-clients", hint=refusal.hint, **refusal.details) from refusal


def _require_groups(rule: Rule, group_size: int | None, clients: int | None) -> None:
    name = _name_of(rule)
    if rule.options.get("trusted") is not None:
        raise InvalidInput(
            f"The aggregation rule {name} compares with the update of client {rule.options['trusted']!r}, which secure "
            "aggregation hides in a sum. No number of clients would do.",
            code="aggregation-needs-updates",
            hint=_ways_out(),
            reason=INCOMPATIBLE,
            aggregation=name,
        )
    if group_size is not None and clients is None:
        return  # asked again when it is known how many there are
    needed = least_groups(rule)
    if group_size is not None and clients is not None and group_count(clients, group_size) >= needed:
        return
    there = "" if clients is None else f" There are N = {clients}."
    asked = " This run asks for no groups." if group_size is None else ""
    ways = (
        f"Let {needed * (group_size or MINIMUM_GROUP)} clients take part, or choose one of two ways out: {_ways_out()}"
    )
    if group_size is None and (clients is None or group_count(clients, MINIMUM_GROUP) >= needed):
        ways = f"Ask for groups: group_size={MINIMUM_GROUP}. Other ways out: {_ways_out()}"
    larger = "" if group_size in (None, MINIMUM_GROUP) else f", N ≥ {needed * group_size} in groups of {group_size}"
    raise InvalidInput(
        f"The aggregation rule {name} must see every client's update, and under secure aggregation nobody sees more "
        f"than sums. Against {rule.malicious} malicious client{'s' * (rule.malicious != 1)} it needs the means of "
        f"{needed} groups: N ≥ {needed * MINIMUM_GROUP} clients in groups of {MINIMUM_GROUP}{larger}.{there}{asked}",
        code="aggregation-needs-updates",
        hint=ways,
        reason=INCOMPATIBLE,
        aggregation=name,
        clients=clients,
        group_size=group_size,
        groups=needed,
        needed=needed * MINIMUM_GROUP,
    )


def _ways_out() -> str:
    return (
        "drop secure aggregation (secure_aggregation=False), or change the rule to one of "
        f"{', '.join(_names(Needs.SUM, Needs.SCALARS))}."
    )


def _require_sum(rule: Rule, secure_aggregation: bool, privacy: DifferentialPrivacy | None) -> None:
    """Refuse what does not work where every participant opens a part of the sum."""
    why = None
    if not secure_aggregation:
        why = "without secure aggregation there is nothing to divide"
    elif rule.needs is not Needs.SUM:
        why = f"the aggregation rule {_name_of(rule)} needs more than one sum"
    elif privacy is not None and privacy.mode == "central":
        why = (
            "the noise of central differential privacy is added to the opened sum, and every participant would see a "
            "part of that without"
        )
    if why is not None:
        raise InvalidInput(
            f"Secure aggregation cannot be sharded here: {why}.",
            code="secagg-not-sharded",
            hint=f"Use sharded=False, or one of {', '.join(_names(Needs.SUM))} with distributed or local privacy.",
            aggregation=_name_of(rule),
        )


def read_privacy(data: Mapping[str, Any] | None) -> DifferentialPrivacy | None:
    """Rebuild the settings of differential privacy from what was sent or saved.

    Raises
    ------
    InvalidInput
        Code ``bad-privacy``.
    """
    if data is None:
        return None
    from .privacy import DifferentialPrivacy

    try:
        return DifferentialPrivacy.from_dict(dict(data))
    except InvalidInput as error:
        raise InvalidInput(error.message, code="bad-privacy", hint=error.hint, **error.details) from error


def plan_privacy(privacy: DifferentialPrivacy | None, *, rounds: int) -> PrivacyPlan | None:
    """Return how much noise `rounds` rounds on real nodes take, or None without privacy.

    Real nodes see who takes part in a round, so that sampling amplifies nothing: each node is accounted for as if
    it took part in all rounds.

    Raises
    ------
    InvalidInput
        Code ``privacy-budget``: the run would spend more than its epsilon.
    """
    if privacy is None:
        return None
    from . import privacy as accounting

    return accounting.plan_privacy(privacy, rounds=rounds, clients=1, clients_per_round=1, amplified=False)


def resolve_clients(options: Mapping[str, Any], clients: Mapping[str, str]) -> dict[str, Any]:
    """Return a rule's options with the client that is given by name given by its id.

    Parameters
    ----------
    options : mapping
        As they were sent; ``trusted`` names a client by name or id.
    clients : mapping of str to str
        Id to name of everybody who can take part.

    Raises
    ------
    InvalidInput
        Code ``bad-aggregation-option``: nobody, or more than one, has that name.
    """
    resolved = dict(options)
    for option in _NAMES_A_CLIENT & resolved.keys():
        wanted = resolved[option]
        if wanted is None:
            continue
        found = [client for client, name in clients.items() if wanted in (client, name)]
        if len(found) != 1:
            raise InvalidInput(
                f"The option {option}={wanted!r} of the aggregation rule names {len(found)} of the participants "
                f"{', '.join(sorted(clients.values()))}; it must name one.",
                code="bad-aggregation-option",
                hint="Give the name or the id of a node that holds the data set.",
            )
        resolved[option] = found[0]
    return resolved


def named_clients(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the clients that resolved options name: no round is without them."""
    return frozenset(str(options[option]) for option in _NAMES_A_CLIENT & options.keys() if options[option] is not None)


def least_clients(
    rule: Rule,
    client_ids: Sequence[str],
    *,
    secure_aggregation: bool,
    has_trusted: bool = False,
    group_size: int | None = None,
) -> int:
    """Return with how many clients the rule works at least, found by trying it on random numbers.

    Parameters
    ----------
    rule : Rule
        Stays as it is.
    client_ids : sequence of str
        Those that can take part at most; who is indispensable to the rule comes first.
    secure_aggregation : bool
        Whether votes of the rule must hide each other, see `Votes`.
    has_trusted : bool
        Whether the aggregator has trusted weights of its own to compare with.
    group_size : int, optional
        g of group mode, for a rule that must see updates.

    Raises
    ------
    InvalidInput
        Code ``aggregation-needs-updates``: too few for the groups that the rule needs. Code ``too-few-clients``: not
        with all of them either; the message is the rule's. ``bad-aggregation-option``: the rule compares with trusted
        weights, and its options name no client that trains them.
    """
    if rule.needs_trusted and not has_trusted:
        raise InvalidInput(
            f"The aggregation rule {_name_of(rule)} compares updates with a trusted one, and no participant is named "
            "as trusted.",
            code="bad-aggregation-option",
            hint=f'Name one: flaas.aggregation({_name_of(rule)!r}, trusted="<name of the node>").',
        )
    if in_groups(rule, secure_aggregation=secure_aggregation):
        _require_groups(rule, group_size, len(client_ids))
        return least_groups(rule) * (group_size or MINIMUM_GROUP)
    refusal: InvalidInput | None = None
    for count in range(1, len(client_ids) + 1):
        try:
            _try(copy.deepcopy(rule), client_ids[:count], secure_aggregation)
            return count
        except InvalidInput as error:
            refusal = error
    if refusal is None:
        raise InvalidInput("A run needs clients.", code="too-few-clients")
    raise InvalidInput(refusal.message, code="too-few-clients", hint=refusal.hint, **refusal.details) from refusal


def _try(rule: Rule, client_ids: Sequence[str], secure_aggregation: bool) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=_PROBE_PARAMETERS)
    updates = reference + rng.normal(size=(len(client_ids), _PROBE_PARAMETERS))
    examples = np.ones(len(client_ids))
    if rule.needs is Needs.SUM:
        updates, examples, client_ids = updates[:1], examples[:1], client_ids[:1]
    trusted = updates[0] if rule.needs_trusted else None
    rule(updates, examples, client_ids=client_ids, reference=reference, trusted=trusted)
    if secure_aggregation and isinstance(rule, ScalarRule):
        _try_votes(copy.deepcopy(rule), client_ids)


def _try_votes(rule: ScalarRule, client_ids: Sequence[str]) -> None:
    """Let all clients but two extreme ones report the same, which is when quadratic voting silences the fewest."""
    count = len(client_ids)
    scalars = np.full(count, 0.5)
    scalars[:1], scalars[1:2] = 0.0, 1.0
    votes = rule.ballot(scalars, np.ones(count), tuple(client_ids)).votes
    voting = int(np.count_nonzero(votes > 0))
    if voting < minimum_voters(count):
        raise InvalidInput(
            f"Of {count} clients the aggregation rule {_name_of(rule)} lets {voting} vote, and with secure aggregation "
            f"at least {minimum_voters(count)} votes must hide each other.",
            hint="Use more nodes, or no secure aggregation.",
        )


def _name_of(rule: Rule) -> str:
    return str(getattr(rule, "name", type(rule).__name__))


def _names(*needs: Needs) -> list[str]:
    return [name for name in aggregation.names() if aggregation(name).needs in needs]
