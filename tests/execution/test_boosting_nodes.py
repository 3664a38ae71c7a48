"""Boosting over nodes: the model of the pooled rows, and what owners have a say in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from query_table import DATASET, QueryTable
from round_table import together
from sklearn.base import clone

import flaas_jupyter as flaas
from flaas_jupyter.errors import NotAllowed
from flaas_jupyter.protocols.boosting import forget

MADE = flaas.FederatedBoostingClassifier(max_iter=3, max_depth=2, max_bins=16)


class Notebook:
    """A federation as `fit` takes it, around a query table."""

    def __init__(self, table):
        self.table = table
        self.analytics = self.source = self

    @property
    def schema(self):
        columns = [{"name": name, "role": "feature", "classes": None} for name in ("age", "income", "ward")]
        return [*columns, {"name": "sick", "role": "target", "classes": 2}]

    @property
    def names(self):
        return {site.id: site.name for site in self.table.sites}

    def open_query(self, operation, summary=None):
        return Asked(self.table, operation)


class Asked:
    def __init__(self, table, operation):
        self.table, self.operation, self.record, self.steps = table, operation, None, 0

    def step(self, statistic, via="mpc"):
        if self.record is None:
            self.record = self.table.opened(self.operation, via, purpose="train")
        document = self.table.signed(self.record, statistic, self.steps)
        self.steps += 1
        return together(self.table.run(document))["released"]

    def close(self, error=None):
        self.record = None


def test_nodes_train_the_model_of_the_pooled_rows(tmp_path):
    table = QueryTable(tmp_path, [150, 90, 120])
    model = clone(MADE).fit(Notebook(table))
    pooled = table.pooled
    other = clone(MADE).fit(pooled[["age", "income", "ward"]], pooled["sick"])
    assert model._ensemble.to_dict(statistics=True) == other._ensemble.to_dict(statistics=True)
    assert model.n_iter_ == 3
    entries = table.site("north").queries.ledger.entries(DATASET)
    assert {entry["kind"] for entry in entries} == {"tree_histogram"}
    assert len(entries) == model.n_steps_
    for site in table.sites:  # it is written down which rows the model is made of
        (use,) = site.registry.get(DATASET).lineage
        assert use["version"] == site.registry.get(DATASET).version


def test_bins_of_few_rows_are_told_by_no_step(tmp_path):
    table = QueryTable(tmp_path, [60, 50, 70], minimum_group=15)
    clone(MADE).fit(Notebook(table))
    told = [reply.tensors["counts"] for reply in table.seen if "released" in reply.body]
    assert len(told) > 5
    for counts in told:
        assert not ((counts > 0) & (counts < 15)).any()


def below(age):
    return {"op": "lt", "args": [{"column": "age"}, {"value": age}]}


def test_rows_that_differ_by_few_from_those_of_another_training_are_refused(tmp_path):
    table = QueryTable(tmp_path, [60, 50, 70])
    notebook = Notebook(table)
    clone(MADE).fit(notebook)
    oldest = int(table.pooled["age"].max())
    with pytest.raises(NotAllowed) as refused:
        clone(MADE).fit(notebook, rows=below(oldest))
    assert refused.value.code == "query-differs-by-few"
    assert clone(MADE).fit(notebook, rows=below(50)).n_rows_ == (table.pooled["age"] < 50).sum()


def test_rows_held_out_may_not_be_few(tmp_path):
    notebook = Notebook(QueryTable(tmp_path, [60, 50, 70]))
    made = clone(MADE).set_params(early_stopping=True)
    assert len(clone(made).set_params(validation_fraction=0.3).fit(notebook).validation_loss_) == 4
    with pytest.raises(NotAllowed) as refused:
        clone(made).set_params(validation_fraction=0.02).fit(notebook)
    assert refused.value.code in ("boosting-withheld", "query-differs-by-few")
    with pytest.raises(NotAllowed) as refused:
        clone(made).set_params(validation_fraction=0.35).fit(notebook)
    assert refused.value.code == "query-differs-by-few"


def test_a_node_that_starts_again_goes_on(tmp_path):
    table = QueryTable(tmp_path, [60, 50, 70])
    notebook = Notebook(table)
    before = clone(MADE).fit(notebook)
    forget()
    table.site("south").open()
    after = clone(MADE).fit(notebook)
    assert before._ensemble.to_dict() == after._ensemble.to_dict()


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"operations": ("analytics",)}, "policy-operation"),
        ({"privacy": "required"}, "policy-privacy"),
        ({"minimum_rows": 65}, "policy-minimum-rows"),
    ],
)
def test_an_owner_who_allows_no_such_training_is_not_asked_twice(tmp_path, policy, code):
    table = QueryTable(tmp_path, [60, 50, 70], **policy)
    with pytest.raises(NotAllowed) as refused:
        clone(MADE).fit(Notebook(table))
    assert refused.value.code == code


def test_fewer_steps_of_a_query_take_more_queries(tmp_path):
    table = QueryTable(tmp_path, [60, 50, 70], maximum_rounds=5)
    model = clone(MADE).fit(Notebook(table))
    assert model.n_steps_ > 5
    assert len(table.records) > 1
    assert isinstance(model.predict(pd.DataFrame(table.pooled)), np.ndarray)
