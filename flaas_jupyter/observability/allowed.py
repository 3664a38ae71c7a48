"""What labels of metrics and attributes of spans may say: the whole list, and nothing beside it.

No name is here by which a person, a data set, a project, an organisation or a node could be told apart; ids of runs,
which are random, stand in traces and logs and never in metrics. Each label takes few values, all of them chosen by
our code: a caller cannot make new ones.
"""

from __future__ import annotations

LABELS = frozenset(
    {
        "direction",  # in, out; sent, received
        "kind",  # of a connection: direct, relay, tls; of a database error
        "le",  # Prometheus's own: the bound of a histogram's bucket
        "method",  # HTTP's, or "other"
        "outcome",  # how something ended
        "phase",  # of a round
        "reason",  # why a relay let a frame or connection go
        "role",  # aggregator, participant
        "route",  # as the API describes it, with {parameters}
        "state",  # of a run
        "status",  # class of HTTP statuses: 2xx, …
        "version",  # of the package
    }
)

ATTRIBUTES = frozenset(
    {
        "error.type",
        "flaas.attempt",
        "flaas.message",
        "flaas.participants",
        "flaas.phase",
        "flaas.round",
        "flaas.run",
        "http.request.method",
        "http.response.status_code",
        "http.route",
    }
)
