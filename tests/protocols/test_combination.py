"""What goes together: one table, asked by the model, the API and the aggregator."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import combination
from flaas_jupyter.protocols.aggregation import Needs, aggregation, names
from flaas_jupyter.protocols.compression import compression
from flaas_jupyter.protocols.privacy import DifferentialPrivacy
from flaas_jupyter.protocols.secure_aggregation import minimum_voters

CENTRAL = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=1.0)
LOCAL = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=1.0, mode="local")
DISTRIBUTED = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=1.0, mode="distributed")
IDS = [f"node-{i:02}" for i in range(12)]


@pytest.mark.parametrize("name", names())
def test_every_rule_goes_with_what_it_needs(name):
    rule = aggregation(name)
    for secure, size in ((False, None), (True, None), (True, 3)):
        for privacy in (None, CENTRAL, LOCAL, DISTRIBUTED):
            code = None
            if secure and size is None and rule.needs is Needs.UPDATES:
                code = "aggregation-needs-updates"
            elif privacy is DISTRIBUTED and not secure:
                code = "privacy-needs-secure-aggregation"
            elif privacy in (CENTRAL, DISTRIBUTED) and rule.needs is not Needs.SUM:
                code = "aggregation-with-privacy"
            how = {"secure_aggregation": secure, "privacy": privacy, "group_size": size}
            if code is None:
                combination.require_combination(rule, **how)
                continue
            with pytest.raises(InvalidInput) as caught:
                combination.require_combination(rule, **how)
            assert caught.value.code == code
            assert name in str(caught.value) or "distributed" in str(caught.value)


@pytest.mark.parametrize("name", names())
def test_a_sum_alone_can_be_sharded(name):
    rule = aggregation(name)
    for secure, privacy in ((True, None), (True, CENTRAL), (True, LOCAL), (True, DISTRIBUTED), (False, None)):
        how = {"secure_aggregation": secure, "privacy": privacy, "group_size": 3, "sharded": True}
        if secure and privacy is not CENTRAL and rule.needs is Needs.SUM:
            combination.require_combination(rule, **how)
            continue
        with pytest.raises(InvalidInput) as caught:
            combination.require_combination(rule, **how)
        assert caught.value.code == "secagg-not-sharded"


@pytest.mark.parametrize(
    ("name", "options", "secure", "needed"),
    [
        ("fedavg", {}, True, 1),
        ("median", {}, False, 1),
        ("krum", {}, False, 3),
        ("krum", {"byzantine": 3}, False, 9),
        ("trimmed_mean", {"byzantine": 2}, False, 5),
        ("reputation", {}, False, 4),
        ("fltrust", {"trusted": "node-00"}, False, 2),
        ("fedqv", {}, False, 2),
        ("fedqv", {}, True, 5),
    ],
)
def test_a_rule_needs_so_many_clients(name, options, secure, needed):
    rule = combination.make_rule(name, options)
    state = rule.state_dict()
    assert combination.least_clients(rule, IDS, secure_aggregation=secure) == needed
    assert rule.state_dict() == state, "it was only tried"
    if needed > 1:
        with pytest.raises(InvalidInput) as caught:
            combination.least_clients(rule, IDS[: needed - 1], secure_aggregation=secure)
        assert caught.value.code == "too-few-clients"


def test_five_clients_are_the_fewest_of_whom_enough_can_vote():
    scalars = np.array([0.0, 0.5, 0.5, 0.5, 1.0])
    votes = aggregation("fedqv").ballot(scalars, np.ones(5), IDS[:5]).votes
    assert np.count_nonzero(votes) == minimum_voters(5) == 3


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("krumm", {}, "unknown-aggregation"),
        ("krum", {"byzantine": -1}, "bad-aggregation-option"),
        ("krum", {"byzantine": [1]}, "bad-aggregation-option"),
        ("fedavg", {"name": "krum"}, "bad-aggregation-option"),
        ("fedavg", {"self": 1}, "bad-aggregation-option"),
        ("fedavg", {"_moments": {}}, "bad-aggregation-option"),
        ("fedqv", {"theta": {"a": 1}}, "bad-aggregation-option"),
    ],
)
def test_a_rule_that_cannot_be_made_is_told(name, options, code):
    with pytest.raises(InvalidInput) as caught:
        combination.make_rule(name, options)
    assert caught.value.code == code


def test_a_client_is_named_by_name_or_id():
    clients = {"aa": "north", "bb": "south", "cc": "south"}
    assert combination.resolve_clients({"trusted": "north", "alpha": 1}, clients) == {"trusted": "aa", "alpha": 1}
    assert combination.resolve_clients({"trusted": "bb"}, clients) == {"trusted": "bb"}
    assert combination.resolve_clients({"trusted": None}, clients) == {"trusted": None}
    for unclear in ("south", "west", ["north"]):
        with pytest.raises(InvalidInput, match="it must name one") as caught:
            combination.resolve_clients({"trusted": unclear}, clients)
        assert caught.value.code == "bad-aggregation-option"


def test_privacy_comes_back_from_what_was_sent():
    assert combination.read_privacy(LOCAL.to_dict()) == LOCAL
    assert combination.read_privacy(None) is None
    assert combination.plan_privacy(None, rounds=3) is None
    assert combination.plan_privacy(CENTRAL, rounds=3).sampling_rate == 1, "real nodes are not hidden by sampling"
    with pytest.raises(InvalidInput) as caught:
        combination.read_privacy({"epsilon": 1.0})
    assert caught.value.code == "bad-privacy"


# ---- compression -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", compression.names())
def test_every_compression_goes_with_what_can_be_done_with_it(name):
    """One table: the sum under masks, parts of it, privacy, rules that compare."""
    compressor = compression(name)
    for secure, sharded in ((False, False), (True, False), (True, True)):
        for privacy in (None, CENTRAL, LOCAL, DISTRIBUTED):
            for rule in (aggregation("fedavg"), aggregation("median"), aggregation("fedqv")):
                code = None
                if secure and name not in ("int8", "int16", "randomk"):
                    code = "compression-with-secure-aggregation"
                elif sharded:
                    code = "compression-not-sharded"
                elif privacy is not None and (secure or name in ("topk", "randomk")):
                    code = "compression-with-privacy"
                elif name == "topk" and rule.needs is not Needs.SUM:
                    code = "compression-with-aggregation"
                how = {"secure_aggregation": secure, "privacy": privacy, "sharded": sharded}
                if code is None:
                    combination.require_compression(compressor, rule, **how)
                    continue
                with pytest.raises(InvalidInput) as caught:
                    combination.require_compression(compressor, rule, **how)
                assert caught.value.code == code
                assert repr(name) in caught.value.message
                assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"name": "zip", "options": {}}, "unknown-compression"),
        ({"name": 3, "options": {}}, "unknown-compression"),
        ({"name": "topk", "options": {"fraction": 0.1}, "more": 1}, "unknown-compression"),
        ({"name": "topk", "options": {"fraction": "all"}}, "bad-compression-option"),
        ({"name": "topk", "options": {"k": 3}}, "bad-compression-option"),
    ],
)
def test_a_compression_that_was_sent_is_read_with_suspicion(data, code):
    with pytest.raises(InvalidInput) as caught:
        combination.make_compressor(data)
    assert caught.value.code == code


def test_a_compression_comes_back_as_it_was_sent():
    for name in compression.names():
        assert combination.make_compressor(compression(name).to_dict()) == compression(name)
    assert combination.make_compressor(None) is None
