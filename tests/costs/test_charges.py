"""Deliveries: twice, out of order, overlapping, corrected or late, the table and its roll-up are the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.billing import charges, files, focus, summary
from flaas_jupyter.costs.billing import rollup as rolling

from .bills import empty_base, rollup, row, samples, table

WHEN = datetime(2026, 9, 1, tzinfo=UTC)
FIRST = date(2026, 8, 1)


def charge(resource: str, billed: int | str, day: int = 1, **changes):
    """Return a charge of one day in August."""
    start = datetime(2026, 8, day, tzinfo=UTC)
    changed = {"ChargePeriodStart": start, "ChargePeriodEnd": start + timedelta(days=1), **changes}
    found, problems = focus.check(row(ResourceId=resource, BilledCost=str(billed), **changed))
    assert problems == []
    return found


def total(session) -> Decimal:
    scope = summary.Scope(None, date(2000, 1, 1), date(2100, 1, 1))
    return sum((each.billed for each in summary.totals(session, scope, "provider")), Decimal(0))


lines = st.builds(
    lambda resource, billed, day, project: charge(resource, billed, day, Tags={"flaas-project": project, "x": "1"}),
    st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 2), st.sampled_from(("", "credit", "fraud")),
)  # fmt: skip
deliveries = st.lists(st.tuples(st.integers(0, 3), st.lists(lines, max_size=5)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(deliveries, st.randoms(use_true_random=False))
def test_any_order_of_files_gives_the_same_table(sent, random):
    shuffled = [*sent, *random.choices(sent, k=2)]
    random.shuffle(shuffled)
    found = []
    for order in (sent, shuffled):
        with empty_base() as session:
            for when, rows in order:
                mixed = list(rows)
                random.shuffle(mixed)
                charges.deliver(session, "lab", mixed, WHEN + timedelta(hours=when))
            found.append((table(session), rollup(session)))
    assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(deliveries, st.randoms(use_true_random=False))
def test_any_order_of_fetches_gives_the_same_table(sent, random):
    windows = [(when, rows, random.randint(0, 1), random.randint(2, 3)) for when, rows in sent]
    shuffled = [*windows, *random.choices(windows, k=2)]
    random.shuffle(shuffled)
    found = []
    for order in (windows, shuffled):
        with empty_base() as session:
            for when, rows, first, after in order:
                window = (FIRST + timedelta(days=first), FIRST + timedelta(days=after))
                charges.cover(session, "lab", "account", window, rows, WHEN + timedelta(hours=when))
            found.append((table(session), rollup(session)))
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(deliveries)
def test_the_roll_up_is_what_adding_up_the_charges_gives(sent):
    with empty_base() as session:
        for number, (when, rows) in enumerate(sent):
            if number % 2:
                charges.deliver(session, "lab", rows, WHEN + timedelta(hours=when))
            else:
                window = (FIRST, FIRST + timedelta(days=2))
                charges.cover(session, "lab", "account", window, rows, WHEN + timedelta(hours=when))
        kept = rollup(session)
        rolling.rebuild(session, "lab")
        assert kept == rollup(session)


def test_equal_charges_of_one_bill_all_count_and_their_correction_replaces_them_all():
    with empty_base() as session:
        first = charges.deliver(session, "lab", [charge("a", 1), charge("a", 2), charge("b", 5)], WHEN)
        assert (first, total(session)) == (charges.Outcome(accepted=3), 8)
        later = WHEN + timedelta(days=1)
        corrected = charges.deliver(session, "lab", [charge("a", 4)], later)
        assert (corrected, total(session)) == (charges.Outcome(accepted=1, replaced=2), 9)
        late = charges.deliver(session, "lab", [charge("a", 1), charge("a", 2), charge("c", 10)], WHEN)
        assert (late, total(session)) == (charges.Outcome(accepted=1, ignored=2), 19)


def test_a_bill_that_is_exported_again_with_new_tags_replaces_what_was_there():
    old = [charge("a", 1, Tags=""), charge("a", 2, Tags=""), charge("b", 4, Tags='{"team": "x"}')]
    new = [
        charge("a", 1, Tags='{"flaas-project": "credit"}'), charge("a", 2, Tags='{"flaas-project": "fraud"}'),
        charge("b", 4, Tags='{"team": "x", "flaas-project": "credit"}'),
    ]  # fmt: skip
    with empty_base() as session:
        charges.deliver(session, "lab", old, WHEN)
        again = charges.deliver(session, "lab", new, WHEN + timedelta(days=1))
        assert again == charges.Outcome(accepted=3, replaced=3)
        scope = summary.Scope("lab", FIRST, FIRST + timedelta(days=1))
        found = {each.key: each.billed for each in summary.totals(session, scope, "project")}
        assert found == {"credit": 5, "fraud": 2}
        assert charges.deliver(session, "lab", old, WHEN) == charges.Outcome(ignored=3)
        assert charges.deliver(session, "lab", new[::-1], WHEN) == charges.Outcome(ignored=3)
        assert total(session) == 7


def test_a_group_that_no_request_holds_is_added_up_by_project_and_node():
    rows = [
        charge("a", 1, Tags={"flaas-project": f"p{n % 2}", "flaas-node": "n", "job": "x" * 300 + str(n // 4)})
        for n in range(4000)
    ]  # fmt: skip
    sent = list(files.batches(rows, {charges.line(rows[0]): len(rows)}))
    ((first, second),) = sent
    assert {(each["Tags"]["flaas-project"], each["BilledCost"]) for each in (first, second)} == {
        ("p0", "2000"), ("p1", "2000"),
    }  # fmt: skip
    fewer = [charge("a", 1, Tags={"flaas-project": f"p{n % 2}", "job": str(n % 3)}) for n in range(4000)]
    (batch,) = files.batches(fewer, {charges.line(fewer[0]): len(fewer)})
    assert len(batch) == 6, "other tags stay where there are few"
    assert sum(Decimal(each["BilledCost"]) for each in batch) == 4000


def test_a_charge_that_a_newer_fetch_does_not_tell_is_gone():
    window = (FIRST, FIRST + timedelta(days=2))
    with empty_base() as session:
        charges.cover(session, "lab", "acc", window, [charge("a", 1), charge("b", 2, day=2)], WHEN)
        charges.cover(session, "lab", "acc", window, [charge("a", 1)], WHEN + timedelta(hours=1))
        assert total(session) == 1
        old = charges.cover(session, "lab", "acc", (FIRST, FIRST + timedelta(days=3)),
                            [charge("b", 2, day=2), charge("c", 4, day=3)], WHEN)  # fmt: skip
        assert (old, total(session)) == (charges.Outcome(accepted=1, ignored=1), 5)
        charges.forget(session, "lab", "acc")
        assert (table(session), rollup(session)) == ([], [])


def test_organisations_and_sources_do_not_touch_each_other():
    with empty_base() as session:
        charges.deliver(session, "lab", [charge("a", 1)], WHEN)
        charges.deliver(session, "clinic", [charge("a", 2)], WHEN + timedelta(days=1))
        charges.cover(session, "lab", "acc", (FIRST, FIRST + timedelta(days=1)), [], WHEN + timedelta(days=2))
        scope = summary.Scope("lab", FIRST, FIRST + timedelta(days=9))
        assert [each.billed for each in summary.totals(session, scope, "project")] == [1]


def test_currencies_are_never_added_up():
    with empty_base() as session:
        rows = [charge("a", 1), charge("b", 2, BillingCurrency="EUR"), charge("c", 4, Tags="")]
        charges.deliver(session, "lab", rows, WHEN)
        scope = summary.Scope("lab", FIRST, FIRST + timedelta(days=1))
        found = {(each.key, each.currency): each.billed for each in summary.totals(session, scope, "project")}
        assert found == {("credit", "USD"): 1, ("credit", "EUR"): 2, ("", "USD"): 4}
        assert summary.without_project(session, scope) == [("USD", 4)]


def test_what_is_stored_is_told_again_in_the_same_columns():
    rows = [charge("a", "0.00000000012345", Tags='{"flaas-project": "credit", "x": "é"}'), charge("b", "-3")]
    with empty_base() as session:
        charges.deliver(session, "lab", rows, WHEN)
        told = [charges.focus_row(each) for each in charges.stored(session, "lab", FIRST, FIRST + timedelta(days=1))]
        again = list(focus.checked(told))
        assert sorted(again, key=str) == sorted(rows, key=str)


def test_the_sample_of_the_specification_adds_up_like_its_file():
    path = samples() / "focus" / "focus_sample_1000.csv"
    frame = pd.read_csv(path)
    with empty_base() as session:
        charges.deliver(session, "lab", list(files.charges_of(path)), WHEN)
        charges.deliver(session, "lab", list(files.charges_of(samples() / "focus" / "focus_aws.csv")), WHEN)
        scope = summary.Scope("lab", date(2024, 1, 1), date(2025, 1, 1))
        for group, column in (("service", "ServiceName"), ("provider", "ProviderName")):
            sums = frame.groupby(column)[["BilledCost", "EffectiveCost", "ListCost"]].sum()
            found = {each.key: each for each in summary.totals(session, scope, group)}
            for name, expected in sums.iterrows():
                told = found[focus.provider(name) if group == "provider" else name]
                assert float(told.billed) == pytest.approx(expected["BilledCost"], abs=1e-9)
                assert float(told.effective) == pytest.approx(expected["EffectiveCost"], abs=1e-9)
                assert float(told.list) == pytest.approx(expected["ListCost"], abs=1e-9)
        day = summary.days(session, scope, "day", set())
        assert float(sum(each["billed"] for each in day)) == pytest.approx(frame["BilledCost"].sum(), abs=1e-9)
