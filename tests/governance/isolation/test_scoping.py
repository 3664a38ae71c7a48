"""What a session of one organisation sees and can write, whatever the statement forgets to say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, inspect, select, text, update
from sqlalchemy.orm import aliased, joinedload

from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.tables import (
    Assignment,
    Base,
    Charge,
    Dataset,
    EventRow,
    LaunchedMachine,
    LaunchRow,
    Node,
    NodeProject,
    Organisation,
    Project,
    ProjectOrganisation,
    Run,
)
from flaas_jupyter.errors import NotFound
from flaas_jupyter.governance.isolation import OWNERSHIP, SYSTEM, ScopedSession, Tenant, across

from .population import ELSEWHERE, NORTH, inserts, rows_of, seen, tables

north, elsewhere = Tenant(NORTH), Tenant(ELSEWHERE)
THEIRS = rows_of(ELSEWHERE)
OURS = rows_of(NORTH)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('isolation')}/two.db")
    with opened._writers.begin() as connection:
        tables()
        Base.metadata.create_all(connection)
        for statement in (*inserts(OURS), *inserts(THEIRS)):
            connection.execute(statement)
    yield opened
    opened.close()


@pytest.fixture
def database(kept):
    """The two organisations; nothing is committed in them."""
    return kept


@pytest.fixture
def session(database):
    with database.reading(north) as opened:
        yield opened


def classes():
    return {mapper.local_table.name: mapper.class_ for mapper in Base.registry.mappers}


@pytest.mark.parametrize("table", sorted(OWNERSHIP))
def test_each_table_shows_what_is_ones_own(database, table):
    model = classes()[table]
    for tenant, theirs in ((north, THEIRS), (elsewhere, OURS)):
        with database.reading(tenant) as session:
            assert session.scalar(select(func.count()).select_from(model)) == seen(table)
            assert len(session.scalars(select(model)).all()) == seen(table)
            key = tuple(theirs[table][column.name] for column in inspect(model).primary_key)
            assert (session.get(model, key) is None) == (seen(table) < 2)
    with database.reading(SYSTEM) as session:
        assert session.scalar(select(func.count()).select_from(model)) == 2


@pytest.mark.parametrize("table", sorted(OWNERSHIP))
def test_nothing_of_others_is_changed_removed_or_added(database, table):
    model = classes()[table]
    with database.reading(north) as session, across(session, "the test takes the row of others"):
        key = tuple(THEIRS[table][column.name] for column in inspect(model).primary_key)
        theirs = session.get(model, key)
    with database.reading(north) as session:
        kept = session.merge(theirs, load=False)
        session.delete(kept)
        with pytest.raises(NotFound) as caught:
            session.flush()
        assert (caught.value.code, ELSEWHERE in str(caught.value)) == ("not-yours", False)
    matching = [getattr(model, inspect(model).get_property_by_column(c).key) == THEIRS[table][c.name]
                for c in inspect(model).primary_key]  # fmt: skip
    with database.reading(north) as session:
        assert session.execute(delete(model).where(*matching)).rowcount == 0
    if table != "installation":
        with database.reading(north) as session, pytest.raises((NotFound, RuntimeError)):
            session.execute(insert(model), [THEIRS[table]])
        with database.reading(north) as session:
            keys = {column.name: inspect(model).get_property_by_column(column).key for column in model.__table__.c}
            session.add(model(**{key: THEIRS[table][name] for name, key in keys.items()}))
            with pytest.raises(NotFound):
                session.flush()


def test_a_session_that_nobody_has_said_anything_of_sees_nothing(database):
    with ScopedSession(database._readers) as session:
        for model in classes().values():
            expected = 2 if seen(model.__tablename__) == 2 else 0
            assert len(session.scalars(select(model)).all()) == expected, model


def test_aliases_subqueries_and_joins_are_narrowed(session):
    other = aliased(Node)
    assert [row.organisation for row in session.scalars(select(other))] == [NORTH]
    assert session.scalars(select(Run.id).where(Run.project.in_(select(Project.id)))).all() == [OURS["runs"]["id"]]
    assert session.scalar(select(select(func.count(Run.number)).scalar_subquery())) == 1
    assert session.scalar(select(select(Node.id).where(Node.organisation == ELSEWHERE).exists())) is False
    both = select(Run.id, other.id).select_from(Run).join(other, Run.project != other.name)
    assert len(session.execute(both).all()) == 1
    outer = select(Organisation.id, Node.id).outerjoin(Node, Node.organisation != "nobody")
    assert {row[1] for row in session.execute(outer)} == {OURS["nodes"]["id"]}
    united = select(Node.id).union_all(select(Node.organisation))
    assert set(session.scalars(united)) == {OURS["nodes"]["id"], NORTH}
    named = select(Node.organisation.label("whose")).cte("named")
    assert session.scalars(select(named.c.whose)).all() == [NORTH]


def test_relationships_are_narrowed(session):
    run = session.scalars(select(Run)).one()
    assert [part.member.organisation for part in run.participants] == [NORTH]
    session.expire_all()
    assert [part.node for part in run.participants] == [OURS["nodes"]["id"]]
    joined = session.scalars(select(Run).options(joinedload(Run.participants))).unique().all()
    assert [run.id for run in joined] == [OURS["runs"]["id"]]
    launch = session.scalars(select(LaunchRow)).one()
    assert len(launch.machines) == 1


def test_counting_and_plain_columns_are_narrowed(session):
    assert session.scalar(select(func.max(EventRow.id))) == OURS["events"]["id"]
    assert session.scalar(select(func.sum(Charge.billed_micro))) == 1
    assert session.query(Charge.organisation).distinct().all() == [(NORTH,)]


def test_bulk_changes_reach_ones_own_only(database):
    with database.reading(north) as session:
        assert session.execute(update(Run).values(state="failed")).rowcount == 1
        assert session.execute(delete(EventRow)).rowcount == 1
        assert session.execute(update(Node).values(version="9")).rowcount == 1


def test_a_row_is_not_handed_to_others(database):
    with database.reading(north) as session:
        session.scalars(select(LaunchRow)).one().organisation = ELSEWHERE
        with pytest.raises(NotFound, match="not there for your organisation"):
            session.flush()
    with database.reading(north) as session:
        session.scalars(select(Run)).one().project = THEIRS["projects"]["id"]
        with pytest.raises(NotFound):
            session.flush()
    with database.reading(north) as session, pytest.raises(RuntimeError, match="UPDATE of launches"):
        session.execute(update(LaunchRow).values(organisation=ELSEWHERE))
    with database.reading(north) as session, pytest.raises(RuntimeError, match="by primary keys"):
        session.execute(update(Node), [{"id": THEIRS["nodes"]["id"], "version": "0"}])


def test_one_does_not_let_oneself_into_the_project_of_others(database):
    for row in (
        ProjectOrganisation(project=THEIRS["projects"]["id"], organisation=NORTH),
        NodeProject(node=OURS["nodes"]["id"], project=THEIRS["projects"]["id"]),
        NodeProject(node=THEIRS["nodes"]["id"], project=OURS["projects"]["id"]),
        Assignment(run=THEIRS["runs"]["number"], node=OURS["nodes"]["id"], state="invited", rows=1),
        Dataset(node=THEIRS["nodes"]["id"], name="x", rows=1, features=[], target={}),
    ):
        with database.reading(north) as session:
            session.add(row)
            with pytest.raises(NotFound):
                session.flush()


def test_what_refers_to_a_row_of_the_same_flush_is_written(database):
    now = datetime.now(UTC)
    with database.reading(north) as session:
        ours = {**OURS["launches"], "number": None, "id": "new"}
        machines = [
            LaunchedMachine(**{**OURS["machines"], "launch": None, "token": f"t{n}", "attempt": n}) for n in (1, 2)
        ]
        session.add(LaunchRow(**ours, machines=machines))
        session.flush()
        assert session.scalar(select(func.count()).select_from(LaunchedMachine)) == 3
    with database.reading(north) as session:
        session.add(LaunchRow(**{**ours, "organisation": ELSEWHERE}))
        with pytest.raises(NotFound):
            session.flush()
    with database.reading(north) as session:
        session.add_all([Organisation(id="new", name="New", created=now), *session.scalars(select(Node))])
        with pytest.raises(NotFound):
            session.flush()


def test_what_cannot_be_narrowed_is_refused(session):
    nodes = Node.__table__
    for statement in (select(nodes), select(nodes.c.id), nodes.update().values(version="0"), nodes.delete()):
        with pytest.raises(RuntimeError, match="nodes"):
            session.execute(statement)
    with pytest.raises(RuntimeError, match="charges"):
        session.execute(insert(Charge).from_select(["organisation"], select(Charge.organisation)))
    for bulk in (session.bulk_save_objects, session.bulk_insert_mappings, session.bulk_update_mappings):
        with pytest.raises(RuntimeError, match="bulk"):
            bulk()
    assert session.scalar(text("SELECT 1")) == session.scalar(select(1)) == 1


def test_a_node_sees_its_own_projects_and_nothing_of_its_organisations_money(database):
    tenant = Tenant(NORTH, node=OURS["nodes"]["id"])
    with database.writing() as session:
        session.add(Project(id="second", name="", description="", domain_key="", created=datetime.now(UTC)))
        session.flush()
        session.add(ProjectOrganisation(project="second", organisation=NORTH))
    try:
        with database.reading(tenant) as session:
            assert session.scalars(select(Project.id)).all() == [OURS["projects"]["id"]]
            assert session.scalars(select(Node.id)).all() == [OURS["nodes"]["id"]]
            assert session.scalars(select(Charge)).all() == session.scalars(select(LaunchRow)).all() == []
            assert session.scalars(select(Organisation.id)).all() == [NORTH]
        with database.reading(Tenant(ELSEWHERE, projects=frozenset({"second"}))) as session:
            assert set(session.scalars(select(Project.id))) == {"second", THEIRS["projects"]["id"]}
    finally:
        with database.writing() as session:
            session.execute(delete(Project).where(Project.id == "second"))


def test_across_is_for_a_while_and_then_over(database):
    with database.reading(north) as session:
        with across(session, "the test looks over the wall"):
            assert session.scalar(select(func.count()).select_from(Node)) == 2
            with across(session, "once more"):
                session.add(Organisation(id="new", name="New", created=datetime.now(UTC)))
            assert session.get(Organisation, "new") is not None
        assert session.scalars(select(Node.organisation)).all() == [NORTH]
        with pytest.raises(ZeroDivisionError), across(session, "it fails"):
            1 / 0  # noqa: B018
        assert session.scalars(select(Node.organisation)).all() == [NORTH]


@given(name=st.text(max_size=30).filter(lambda name: name not in (NORTH, ELSEWHERE) and "\x00" not in name))
def test_no_name_of_an_organisation_opens_anothers(kept, name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    with kept.reading(Tenant(name, projects=frozenset({name}), node=None)) as session:
        for model in (Organisation, Project, Run, Node, Charge, LaunchRow):
            assert session.scalars(select(model)).all() == [], name
