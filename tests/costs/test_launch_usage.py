"""What machines have cost: exact, split at midnight, equal to lifetime x price whatever the days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.launch import usage
from flaas_jupyter.costs.launch.tables import LaunchedMachine

from .launch_world import World

BEGIN = datetime(2026, 9, 1, tzinfo=UTC)
MOMENT = st.integers(0, 5 * 86_400 * 10**6).map(lambda us: BEGIN + timedelta(microseconds=us))


@pytest.fixture
def world(tmp_path):
    made = World(f"sqlite:///{tmp_path / 'usage.db'}")
    yield made
    made.database.close()


def ran(world, *lives):
    """Launch machines that ran from when to when at which price."""
    number = world.launch(*(f"n{i}" for i in range(len(lives))))

    def act(session, launch):
        for row, (started, ended, price) in zip(launch.machines, lives, strict=True):
            row.started, row.ended, row.usd_hour, row.node_id = started, ended, price, row.node * 32

    world.change(number, act)


def daily(world, start=date(2026, 9, 1), end=date(2026, 9, 10), organisation=None, **options):
    with world.database.reading() as session:
        return usage.daily(session, organisation, start, end, **options)


def test_a_machine_over_midnight_is_split(world):
    ran(world, (BEGIN + timedelta(hours=22), BEGIN + timedelta(hours=25), "0.3"))
    assert daily(world, now=BEGIN + timedelta(days=9)) == [
        {"day": date(2026, 9, 1), "project": "credit", "provider": "aws", "node": "n0", "service": "Compute",
         "usd": Decimal("0.6")},
        {"day": date(2026, 9, 2), "project": "credit", "provider": "aws", "node": "n0", "service": "Compute",
         "usd": Decimal("0.3")},
    ]  # fmt: skip


def test_one_that_runs_costs_up_to_now_and_other_organisations_see_nothing(world):
    ran(world, (BEGIN, None, "2"))
    now = BEGIN + timedelta(minutes=90)
    assert sum(row["usd"] for row in daily(world, now=now, organisation="lab")) == 3
    assert daily(world, now=now, organisation="other") == []
    assert daily(world, date(2026, 9, 2), now=now) == []


def test_traffic_costs_what_left(world):
    ran(world, (BEGIN, BEGIN + timedelta(hours=1), "0"))
    rows = daily(
        world,
        now=BEGIN + timedelta(days=1),
        transfer=lambda node, day: Decimal("0.225") if (node, day) == ("n0" * 32, date(2026, 9, 1)) else Decimal(0),
    )
    assert [row["usd"] for row in rows if row["service"] == usage.EGRESS] == [Decimal("0.225")]


def test_charges_that_tell_the_machine_and_not_the_node_get_its_tag(world):
    ran(world, (BEGIN, None, "1"), (BEGIN, None, "1"))
    group = "/subscriptions/1/resourceGroups/flaas/providers/Microsoft"
    machine = f"{group}.Compute/virtualMachines/mTOKEN-0a1b2c3d"

    def made(session, launch):
        launch.machines[0].machine = machine

    world.change(1, made)

    def charge(resource, **tags):
        return {"ResourceId": resource, "Tags": {"flaas-project": "credit", **tags}, "BilledCost": Decimal(1)}

    rows = [
        charge(machine.lower()),
        charge(f"{group}.Compute/disks/mtoken-0a1b2c3d-disk"),
        charge(f"{group}.Network/publicIPAddresses/mtoken-0a1b2c3d-ip"),
        charge(machine, **{"flaas-node": "as-billed"}),
        charge(f"{group}.Compute/virtualMachines/mtoken-ffffffff"),
        charge(None),
        {**charge(machine), "Tags": None},
    ]
    with world.database.reading() as session:
        found = usage.with_nodes(session, "lab", rows)
        assert usage.with_nodes(session, "other", rows) == rows
    assert [(row["Tags"] or {}).get("flaas-node") for row in found] == [
        "n0", "n0", "n0", "as-billed", None, None, "n0",
    ]  # fmt: skip
    assert [{**row, "Tags": None} for row in found] == [{**row, "Tags": None} for row in rows]


@given(
    st.lists(
        st.tuples(MOMENT, MOMENT | st.none(), st.decimals("0", "40", places=5)).filter(
            lambda life: life[1] is None or life[1] >= life[0]
        ),
        min_size=1, max_size=5,
    ),
    st.integers(0, 5), st.integers(0, 5),
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_add_up_to_lifetime_times_price(tmp_path_factory, lives, first, count):
    world = World(f"sqlite:///{tmp_path_factory.mktemp('usage') / 'u.db'}")
    try:
        ran(world, *[(started, ended, str(price)) for started, ended, price in lives])
        now = BEGIN + timedelta(days=6)
        start, end = BEGIN + timedelta(days=first), BEGIN + timedelta(days=first + count)
        found = sum((row["usd"] for row in daily(world, start.date(), end.date(), now=now)), Decimal(0))
        expected = Decimal(0)
        for started, ended, price in lives:
            span = min(ended or now, end, now) - max(started, start)
            expected += price * max(span // timedelta(microseconds=1), 0) / Decimal(3_600_000_000)
        assert abs(found - expected) < Decimal("1e-20")
        with world.database.reading() as session:
            machines = session.query(LaunchedMachine).all()
            everything = sum((row["usd"] for row in daily(world, now=now)), Decimal(0))
            assert abs(usage.spent(machines, now) - everything) < Decimal("1e-20")
    finally:
        world.database.close()
