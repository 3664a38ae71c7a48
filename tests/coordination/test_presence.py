"""A node is online while it holds its event stream, and not a moment longer."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from flaas_jupyter.communications.identity import request_token
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.server import listen
from flaas_jupyter.coordination.tables import Node as NodeRow

from .hosted_api import Stream


def test_holding_the_stream_is_being_online(federation):
    node, watched = federation.node("north"), federation.follow()
    assert node.state == "offline"
    node.come_online()
    assert node.state == "online", "no later than the stream begins"
    assert watched.until("node.online")["node"] == node.id
    node.go_offline()
    assert watched.until("node.offline")["node"] == node.id
    body = federation.admin.get(node.path)
    assert body["state"] == "offline"
    assert datetime.now(UTC) - datetime.fromisoformat(body["last_seen"]) < timedelta(seconds=10)


def test_a_cut_connection_is_noticed_within_a_second(federation):
    node, watched = federation.node("north", online=True), federation.follow()
    cut = time.monotonic()
    node.stream.reset()
    watched.until("node.offline")
    assert time.monotonic() - cut < 1.0


HOLD = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
lines = ["GET " + sys.argv[2] + " HTTP/1.1", "Host: 127.0.0.1:" + sys.argv[1],
         "Authorization: FlaasNode " + sys.argv[3], "Accept: text/event-stream", "", ""]
connection.sendall("\\r\\n".join(lines).encode())
print(connection.recv(100).split()[1].decode(), flush=True)
while connection.recv(4096):
    pass
"""


def test_a_killed_node_is_offline_within_a_second(federation):
    node, watched = federation.node("north"), federation.follow()
    path = f"{node.path}/events"
    token = request_token(node.identity, "GET", federation.api.url + path)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(federation.api.port), path, token], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline().strip() == "200"
        watched.until("node.online")
        killed = time.monotonic()
        process.kill()
        watched.until("node.offline")
        assert time.monotonic() - killed < 1.0


def test_a_new_stream_takes_the_place_of_the_old_one(federation):
    node = federation.node("north", online=True)
    first = node.stream
    watched = federation.follow()
    node.come_online()
    with pytest.raises(EOFError):
        first.next()
    first.close()
    assert node.state == "online"
    node.describe("marker")
    assert watched.next()["type"] == "dataset.described", "neither offline nor online was told"
    node.go_offline()
    watched.until("node.offline")


def test_last_seen_is_kept_fresh_without_telling_anybody(federation):
    node, watched = federation.node("north", online=True), federation.follow()
    first = federation.admin.get(node.path)["last_seen"]
    for line in node.stream.lines():  # comments come every 0.2 s
        if line.startswith(":") and federation.admin.get(node.path)["last_seen"] > first:
            break
    node.describe("marker")
    assert watched.next()["type"] == "dataset.described"


def test_nobody_is_online_for_ever_when_the_api_was_killed(federation, database_url):
    node = federation.node("north")
    database = Database(database_url)
    long_ago = datetime.now(UTC) - timedelta(seconds=60)
    with database.writing() as session:  # what a process leaves behind that was killed a minute ago
        row = session.get_one(NodeRow, node.id)
        row.online, row.stream, row.last_seen = True, "of the killed process", long_ago
    database.close()
    assert node.state == "offline", "whatever the flag says"
    assert (
        federation.developer.get(f"{federation.path}/datasets")["_embedded"]["datasets"][0]["nodes"][0]["online"]
        is False
    )
    federation.follow(last=0).until("node.offline", node=node.id)


def test_a_stream_that_another_process_has_replaced_ends(start_api, enter):
    first, second = start_api(), start_api()
    federation = enter(first)
    node = federation.node("north", online=True)
    old = node.stream
    federation.moved_on(second)
    watched = federation.follow()
    node.come_online()
    with pytest.raises(EOFError):
        old.next()
    assert node.state == "online"
    node.go_offline()
    watched.until("node.offline")


def test_the_end_of_the_api_is_not_the_end_of_the_nodes(start_api, enter):
    api = start_api()
    federation = enter(api)
    node = federation.node("north", online=True)
    last = federation.admin.embedded(f"{federation.path}/events", "events")[-1]["id"]
    api._server.should_exit = True
    with pytest.raises(EOFError):
        node.stream.next()
    federation.moved_on(start_api())
    assert node.state == "online", "it has 5 s to come back"
    node.come_online()
    events = federation.admin.embedded(f"{federation.path}/events?after={last}", "events")
    assert events == [], "for those who watch, nothing has happened"


def test_the_stream_is_the_nodes_own(federation):
    north, south = federation.node("north"), federation.node("south")
    assert south.api.follow(f"{north.path}/events").status == 403
    assert federation.admin.follow(f"{north.path}/events").status == 403
    assert north.state == "offline"


def test_idle_streams_carry_comments(federation):
    node = federation.node("north", online=True)
    comments = [line for line, _ in zip((x for x in node.stream.lines() if x), range(3), strict=False)]
    assert all(line.startswith(":") for line in comments)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="TCP_USER_TIMEOUT is Linux's")
def test_accepted_connections_end_when_the_far_side_is_silent():
    listener = listen("127.0.0.1", 0)
    with socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        accepted.close()
    listener.close()


def test_a_stream_that_is_refused_leaves_nobody_online(federation):
    node = federation.node("north")
    stream = Stream(federation.api.port, f"{node.path}/events", {"Authorization": "FlaasNode nonsense"})
    assert stream.status == 401
    stream.close()
    assert node.state == "offline"
