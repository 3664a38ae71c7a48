"""Events: in one sequence, to those they concern, resumed exactly."""

from __future__ import annotations

import json
import threading

import jsonschema

from flaas_jupyter.coordination import events
from flaas_jupyter.coordination.database import Database


def described(stream) -> str:
    return stream.until("dataset.described")["data"]["name"]


def test_a_stream_begins_now(federation):
    node = federation.node("north")
    node.describe("before")
    watched = federation.follow()
    node.describe("after")
    assert described(watched) == "after"


def test_a_stream_resumes_exactly_where_it_was_lost(federation):
    node = federation.node("north")
    watched = federation.follow()
    node.describe("first")
    seen = watched.next()
    watched.close()
    names = [f"missed-{number}" for number in range(5)]
    for name in names:
        node.describe(name)
    resumed = federation.follow(last=seen["id"])
    got = [resumed.next() for _ in names]
    assert [event["data"]["name"] for event in got] == names
    node.describe("live")
    assert described(resumed) == "live"


def test_after_resumes_too_and_last_event_id_comes_first(federation):
    node = federation.node("north")
    node.describe("one")
    node.describe("two")
    all_events = federation.developer.embedded(f"{federation.path}/events", "events")
    one = next(e["id"] for e in all_events if e["data"].get("name") == "one")
    path = f"{federation.path}/events"
    assert described(federation.developer.follow(f"{path}?after={one}")) == "two"
    assert described(federation.developer.follow(f"{path}?after=0", last=one)) == "two"
    assert described(federation.developer.follow(f"{path}?after=0")) == "loans"


def test_a_number_from_the_future_does_not_silence_the_stream(federation):
    node = federation.node("north")
    watched = federation.follow(last=10**12)
    node.describe("heard")
    assert described(watched) == "heard"


def test_a_last_event_id_is_a_number(federation):
    for last in ("x", "-1", "1.5", str(1 << 63), "٣"):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last.encode()}
        response = federation.developer.call("GET", f"{federation.path}/events", headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "invalid-input")


def test_pages_hold_the_same_events_as_the_stream(federation):
    nodes = federation.three()
    federation.led_run(nodes)
    paged = federation.developer.embedded(f"{federation.path}/events?limit=4", "events")
    stream = federation.follow(last=0)
    assert [stream.next() for _ in paged] == paged
    numbers = [event["id"] for event in paged]
    assert numbers == sorted(set(numbers))
    assert (
        federation.developer.get(f"{federation.path}/events?after={numbers[-2]}")["_embedded"]["events"] == paged[-1:]
    )


def test_streams_are_described_as_what_they_send(federation):
    document = federation.api.app.openapi()
    node = federation.node("north", online=True)
    run, _, _ = federation.led_run([node])
    streams = [path for path in document["paths"] if path.endswith("/events")]
    assert len(streams) == 3
    for path in streams:
        stream = document["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]
        known = {"project_id": federation.project, "run_id": run, "node_id": node.id}
        who = node.api if "node_id" in path else federation.developer
        fields = who.follow(path.format(**known), last=0).fields()
        jsonschema.validate(fields, stream["itemSchema"])
        content = stream["itemSchema"]["properties"]["data"]["contentSchema"]
        jsonschema.validate(json.loads(fields["data"]), {**content, "components": document["components"]})


def test_a_runs_events_are_its_own(federation):
    node = federation.node("north", online=True)
    run, _, _ = federation.led_run([node])
    other = federation.run()["id"]
    got = federation.developer.embedded(f"/v1/runs/{run}/events", "events")
    assert {event["run"] for event in got} == {run}
    assert [event["type"] for event in got] == [
        "run.created", "run.state", "run.participant", "run.participant", "run.aggregator",
    ]  # fmt: skip
    stream = federation.developer.follow(f"/v1/runs/{other}/events", last=0)
    assert stream.next()["run"] == other


def test_a_node_is_told_of_its_own_runs_and_the_directory_only(federation):
    north, south = federation.node("north", online=True), federation.node("south", online=True)
    south.api.call("DELETE", f"{south.path}/datasets/loans")
    run = federation.run()["id"]
    for told in ("run.created", "run.state"):
        assert north.stream.until(told)["run"] == run
    assert north.stream.until("run.participant")["data"]["node"] == north.id
    south.api.put(f"{south.path}/record", south.record())
    heard = []
    while not heard or heard[-1]["type"] != "directory.changed" or heard[-1]["node"] != south.id:
        heard.append(south.stream.next())
    assert {event["type"] for event in heard} == {"directory.changed"}


def test_a_node_that_was_away_gets_what_it_missed(federation):
    node = federation.node("north", online=True)
    run = federation.run()["id"]
    seen = node.stream.until("run.participant")
    node.go_offline()
    federation.developer.post(f"/v1/runs/{run}/cancel")
    node.come_online(last=seen["id"])
    event = node.stream.next()
    assert (event["type"], event["data"]["to"]) == ("run.state", "cancelled")


def test_two_processes_on_one_data_base_tell_the_same(start_api, enter):
    first, second = start_api(), start_api()
    federation = enter(first)
    node = federation.node("north")
    watched = enter(second).follow()
    node.describe("told-by-the-other")
    assert described(watched) == "told-by-the-other"


def test_events_written_at_once_are_seen_in_order_and_none_is_skipped(federation, database_url):
    """Writers on several threads and connections, a follower that resumes all the time: nothing is lost."""
    writers, each = 4, 15
    database = Database(database_url)

    def write(writer: int) -> None:
        for number in range(each):
            with database.writing() as session:
                data = {"name": f"{writer}/{number}"}
                events.append(session, "dataset.described", project=federation.project, data=data)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    begin = len(federation.developer.embedded(f"{federation.path}/events", "events"))
    last = federation.developer.embedded(f"{federation.path}/events", "events")[-1]["id"] if begin else 0
    for thread in threads:
        thread.start()
    got: list[str] = []
    while len(got) < writers * each:
        stream = federation.follow(last=last)
        for _ in range(7):
            event = stream.next()
            assert event["id"] > last
            last = event["id"]
            got.append(event["data"]["name"])
            if len(got) == writers * each:
                break
        stream.close()
    for thread in threads:
        thread.join()
    database.close()
    assert len(set(got)) == writers * each
    for writer in range(writers):
        assert [name for name in got if name.startswith(f"{writer}/")] == [f"{writer}/{n}" for n in range(each)]
