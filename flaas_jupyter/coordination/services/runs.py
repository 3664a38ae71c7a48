"""Runs: created by developers, answered by nodes, reported by their aggregator."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ...errors import Aborted, Conflict, InvalidInput, NotAllowed, NotFound
from ...governance import models as versions
from .. import events, hal, states
from ..access import View, within_project
from ..scheduler import Scheduler, waiting_for
from ..schemas import AnswerIn, RoundIn, RunIn, TransitionIn, VerticalReport
from ..states import Actor, State
from ..tables import Assignment, Node, Project, Round, Run
from . import datasets, vertical

SECURE_MINIMUM = 3
"""Nodes without which a secure sum would tell one what another has."""


def create(session: Session, view: View, scheduler: Scheduler, project: Project, body: RunIn) -> Run:
    """Create a run; it gathers at once if enough nodes are online.

    Raises
    ------
    NotFound
        Code ``unknown-dataset``.
    NotAllowed
        Code ``model-revoked``: it would start from weights that were revoked.
    InvalidInput
        Codes ``schema-mismatch``, ``secagg-too-few-nodes``; those of `flaas_jupyter.protocols.combination`; of a
        vertical run those of `vertical.require_parties`.
    """
    organisation = view.require_for_own(project.id)
    _require_not_revoked(session, project, body.start_digest)
    needed = _require_possible(session, project, body)
    run = Run(
        id=secrets.token_hex(8),
        project=project.id,
        dataset=body.dataset,
        request=body.model_dump(),
        needed=needed,
        state=State.QUEUED.value,
        term=0,
        round=0,
        created_by=view.caller.subject,
        organisation=organisation,
        created=datetime.now(UTC),
        participants=[],
    )
    session.add(run)
    session.flush()
    data = {"name": body.name, "dataset": body.dataset, "created_by": run.created_by}
    events.append(session, "run.created", project=project.id, run=run.id, data=data)
    scheduler.advance(session, run)
    return run


def cancel(session: Session, view: View, run: Run) -> None:
    """Cancel a run.

    Raises
    ------
    NotAllowed
        The caller is of another organisation than the run.
    Conflict
        Code ``run-ended``.
    """
    if not view.owns(run.organisation):
        raise NotAllowed(
            f"Run {run.id} belongs to organisation {run.organisation!r}, not to {view.caller.organisation!r}.",
            hint="A developer of that organisation, or an administrator, can cancel it.",
        )
    states.require_open(run)
    states.move(session, run, State.CANCELLED, Actor.PERSON)


def pause(session: Session, view: View, run: Run) -> None:
    """Have a run wait after the round under way, until it is resumed or cancelled; again changes nothing.

    The round is finished, reported and kept as a version of the model. No deadline passes meanwhile.

    Raises
    ------
    NotAllowed
        The caller may not pause runs in the run's project.
    Conflict
        Codes ``run-ended`` and ``forbidden-transition``: it has finished its last round.
    """
    _require_control(session, view, run)
    who = view.caller.subject
    reason = Aborted(
        f"Paused by {who}.",
        code="paused",
        hint="It goes on when somebody resumes it: in the run's menu, session.resume(run) or POST …/resume.",
        by=who,
    )
    states.move(session, run, State.PAUSED, Actor.PERSON, reason.to_dict())


def resume(session: Session, view: View, scheduler: Scheduler, run: Run) -> None:
    """Let a paused run go on with its next round; another aggregator is elected if its own has gone meanwhile.

    Raises
    ------
    NotAllowed
        The caller may not pause runs in the run's project.
    Conflict
        Codes ``run-ended`` and ``not-paused``.
    """
    _require_control(session, view, run)
    states.require_open(run)
    if run.state != State.PAUSED:
        raise Conflict(
            f"Run {run.id} is {run.state}, not paused.",
            code="not-paused",
            hint="Only a paused run is resumed; read the run again.",
            state=run.state,
        )
    gathered = run.gather_until is not None
    states.move(session, run, State.GATHERING if gathered else State.QUEUED, Actor.PERSON)
    scheduler.resumed(session, run)


def answer(session: Session, scheduler: Scheduler, run: Run, node: Node, body: AnswerIn) -> Assignment:
    """Take in a participant's answer; the last one has the aggregator elected.

    Raises
    ------
    NotFound
        The node was not invited.
    Conflict
        Codes ``run-ended`` and ``answered``.
    """
    participant = session.get(Assignment, (run.number, node.id))
    if participant is None:
        raise NotFound(f"Node {node.name} has no part in run {run.id}.", hint="It is told when it is invited.")
    reason = body.reason.model_dump() if body.reason else None
    if states.answer(session, run, participant, body.state, reason):
        scheduler.advance(session, run)
    return participant


def transition(session: Session, view: View, run: Run, body: TransitionIn) -> None:
    """Do what the aggregator makes of its run.

    Raises
    ------
    Conflict
        Codes ``stale-term``, ``run-ended``, ``forbidden-transition``, ``run-not-started``.
    NotAllowed
        Code ``not-the-aggregator``.
    """
    _require_aggregator(view, run, body.term)
    reason = body.reason.model_dump() if body.reason else None
    if body.report is not None and State(run.state) in states.OPEN:
        _keep_report(session, run, body.report)
    states.move(session, run, State(body.to), Actor.AGGREGATOR, reason)


def report(session: Session, view: View, run: Run, number: int, body: RoundIn) -> Round:
    """Take in a round's report; a new aggregator's report takes the place of its predecessor's.

    Raises
    ------
    InvalidInput
        Its number is not that of the address, or above the run's rounds; it names nodes that take no part.
    Conflict
        Code ``round-conflict``: the round was reported otherwise in this term; and as `transition`.
    """
    content = body.model_dump(mode="json")
    if body.number != number or number > run.request["rounds"]:
        raise InvalidInput(
            f"Report {body.number} cannot be round {number} of {run.request['rounds']}.",
            hint="Report rounds from 1 to the run's `rounds`, each at its own address.",
        )
    members = {participant.node for participant in run.participants}
    named = {client.node for client in body.clients} | {dropped.node for dropped in body.dropped}
    strangers = named - members
    if strangers:
        raise InvalidInput(f"{', '.join(sorted(strangers))} take no part in run {run.id}.")
    known = session.get(Round, (run.number, number))
    if known is not None and known.report == content:
        return known
    states.require_open(run)
    _require_aggregator(view, run, body.term)
    if known is not None and known.term == body.term:
        raise Conflict(
            f"Round {number} of run {run.id} was reported otherwise in term {body.term}.",
            code="round-conflict",
            hint="A report is not changed; read it and go on.",
        )
    kept = session.merge(
        Round(run=run.number, number=number, term=body.term, aggregator=run.aggregator, report=content)
    )
    run.round = max(run.round, number)
    states.keep_version(session, run)  # the round was under way when the run was paused
    events.append(session, "run.round", project=run.project, run=run.id, node=run.aggregator, data=content)
    return kept


def _keep_report(session: Session, run: Run, report: VerticalReport) -> None:
    """Keep how the parties of a vertical run stand, and say so."""
    if not vertical.is_vertical(run):
        raise InvalidInput(
            f"Run {run.id} is not a vertical one and has no report of parties.",
            hint="Report rounds at /v1/runs/{id}/rounds/{number}.",
        )
    content = report.model_dump()
    if content != run.report:
        run.report = content
        events.append(session, "run.report", project=run.project, run=run.id, node=run.aggregator, data=content)


def find_round(session: Session, run: Run, number: int) -> Round:
    """Return the report of round `number`; `NotFound` if there is none yet."""
    reported = session.get(Round, (run.number, number))
    if reported is None:
        raise NotFound(
            f"Round {number} of run {run.id} is not reported; the newest is {run.round}.",
            hint="Follow the run's events.",
        )
    return reported


def show(session: Session, view: View, run: Run) -> hal.Resource:
    """Return the run as the caller sees it."""
    href = f"/v1/runs/{run.id}"
    is_open = State(run.state) in states.OPEN
    mine = next((p for p in run.participants if p.node == view.caller.subject), None)
    controls = is_open and _controls(session, view, run)
    leads = is_open and view.caller.kind == "node" and run.aggregator == view.caller.subject
    body = {
        "id": run.id,
        "project": run.project,
        "state": run.state,
        "reason": run.reason,
        "waiting_for": waiting_for(run, session, view.now, view.settings),
        "term": run.term,
        "aggregator": run.aggregator,
        "round": run.round,
        **run.request,
        "report": run.report,
        "created_by": run.created_by,
        "organisation": run.organisation,
        "created": hal.instant(run.created),
        "started": hal.instant(run.started),
        "ended": hal.instant(run.ended),
        "participants": [
            {
                "node": participant.node,
                "name": participant.member.name,
                "organisation": participant.member.organisation,
                "state": participant.state,
                "reason": participant.reason,
                "rows": participant.rows,
                "online": view.online(participant.member),
            }
            for participant in run.participants
        ],
    }
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{run.project}"),
        rounds=hal.link(f"{href}/rounds"),
        events=hal.link(f"{href}/events"),
        pause=hal.link(f"{href}/pause", "POST") if run.state in states.PAUSABLE and controls else None,
        resume=hal.link(f"{href}/resume", "POST") if run.state == State.PAUSED and controls else None,
        models=hal.link(f"/v1/projects/{run.project}/models?run={run.id}") if run.round else None,
        cancel=hal.link(f"{href}/cancel", "POST")
        if is_open and view.may("run:cancel") and view.owns(run.organisation)
        else None,
        assignment=hal.link(f"{href}/assignments/{mine.node}", "PUT")
        if mine is not None and is_open and states.ANSWERS[mine.state]
        else None,
        transitions=hal.link(f"{href}/transitions", "POST") if leads else None,
        report=hal.link(f"{href}/rounds/{{number}}", "PUT", templated=True) if leads else None,
    )


def show_assignment(session: Session, view: View, run: Run, participant: Assignment) -> hal.Resource:
    """Return a node's part in a run, with the run."""
    href = f"/v1/runs/{run.id}/assignments/{participant.node}"
    body = {
        "node": participant.node,
        "state": participant.state,
        "reason": participant.reason,
        "run": show(session, view, run),
    }
    open_answer = State(run.state) in states.OPEN and states.ANSWERS[participant.state]
    return hal.resource(
        body,
        f"/v1/nodes/{participant.node}/assignments",
        answer=hal.link(href, "PUT") if open_answer else None,
    )


def show_round(run_id: str, reported: Round) -> hal.Resource:
    """Return a round's report."""
    href = f"/v1/runs/{run_id}"
    return hal.resource(reported.report, f"{href}/rounds/{reported.number}", run=hal.link(href))


def count_by_state(session: Session) -> dict[str, int]:
    """Return how many runs are in each state."""
    counts = {state.value: 0 for state in State}
    for state, count in session.execute(select(Run.state, func.count()).group_by(Run.state)):
        counts[state] = count
    return counts


def _controls(session: Session, view: View, run: Run) -> bool:
    return view.may("run:pause", *within_project(session, run.project))


def _require_control(session: Session, view: View, run: Run) -> None:
    if not _controls(session, view, run):
        raise NotAllowed(
            f"{view.caller.subject} may not pause or resume runs of project {run.project!r}.",
            hint="A developer or operator of the project can.",
            operation="run:pause",
        )


def _require_not_revoked(session: Session, project: Project, digest: str | None) -> None:
    known = None if digest is None else versions.revoked(session, project.id, digest)
    if known is not None:
        raise NotAllowed(
            f"The run would start from the weights of model {known.id}, which is revoked: {known.reason}",
            code="model-revoked",
            hint="Start from another version, or from fresh weights.",
            model=known.id,
        )


def _require_possible(session: Session, project: Project, body: RunIn) -> int:
    """Refuse a run that cannot come about; return how many nodes it needs."""
    if body.kind == vertical.KIND:
        return len(vertical.require_parties(session, project, body))
    found = datasets.require_known(session, project, body.dataset)
    vertical.require_horizontal(body, found)
    datasets.require_same_schema(body.dataset, found)
    if body.secure_aggregation:
        _require_enough_for_secrecy(body, found)
    least = _least_nodes(body, found)
    return max(least, body.minimum_nodes or (SECURE_MINIMUM if body.secure_aggregation else 1))


def _least_nodes(body: RunIn, found: list[datasets.Holding]) -> int:
    """Refuse what does not go together; return how many nodes the aggregation rule needs."""
    from ...protocols import combination  # NumPy is loaded with the first run, not with the API

    holders = {holding.node.id: holding.node.name for holding in found}
    options = combination.resolve_clients(body.aggregation_options, holders)
    rule = combination.make_rule(body.aggregation, options)
    privacy = combination.read_privacy(body.privacy.model_dump() if body.privacy else None)
    possible = min(len(found), body.clients_per_round or len(found))
    combination.require_combination(
        rule,
        secure_aggregation=body.secure_aggregation,
        privacy=privacy,
        group_size=body.group_size,
        sharded=body.sharded,
        clients=possible,
    )
    combination.plan_privacy(privacy, rounds=body.rounds)
    named = combination.named_clients(options)
    sampled = sorted(holders, key=lambda node: node not in named)[: body.clients_per_round]
    return combination.least_clients(
        rule, sampled, secure_aggregation=body.secure_aggregation, group_size=body.group_size
    )


def _require_enough_for_secrecy(body: RunIn, found: list[datasets.Holding]) -> None:
    holders = ", ".join(holding.node.name for holding in found)
    if len(found) < SECURE_MINIMUM:
        raise InvalidInput(
            f"Secure aggregation needs {SECURE_MINIMUM} nodes that hold {body.dataset!r}; "
            f"there {'is' if len(found) == 1 else 'are'} {len(found)}: {holders}.",
            code="secagg-too-few-nodes",
            hint="With fewer, one would learn another's update. Wait for more nodes, or switch it off.",
            needed=SECURE_MINIMUM,
            holders=len(found),
        )
    for name, value in (("minimum_nodes", body.minimum_nodes), ("clients_per_round", body.clients_per_round)):
        if value is not None and value < SECURE_MINIMUM:
            raise InvalidInput(
                f"Secure aggregation needs {name} of at least {SECURE_MINIMUM}, not {value}.",
                code="secagg-too-few-nodes",
                hint="With fewer, one would learn another's update. Raise it, or leave it out.",
                needed=SECURE_MINIMUM,
            )


def _require_aggregator(view: View, run: Run, term: int) -> None:
    if run.term == 0:
        raise Conflict(f"Run {run.id} has no aggregator yet.", code="run-not-started", hint="Wait for its election.")
    if term != run.term:
        raise Conflict(
            f"Run {run.id} is in term {run.term}; this was sent in term {term}.",
            code="stale-term",
            hint="Another aggregator has been elected: read the run and follow it.",
            term=run.term,
        )
    if run.aggregator != view.caller.subject:
        raise NotAllowed(
            f"The aggregator of run {run.id} is {run.aggregator}.",
            code="not-the-aggregator",
            hint="Only it may report for the run.",
        )
