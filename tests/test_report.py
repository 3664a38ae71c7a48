"""The table of rounds: metrics, and figures of each client that can be laid out and drawn."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from flaas_jupyter.federation import report_frame

mpl.use("Agg")

NAMES = {str(number): f"client-{number}" for number in range(12)}


def round_report(number, votes, metrics=None):
    return {
        "number": number,
        "metrics": {"loss": 1 / number, "accuracy": 0.5} if metrics is None else metrics,
        "clients": [
            {"node": node, "examples": 5, "weight": vote / sum(votes.values()), "columns": {"votes": vote}}
            for node, vote in votes.items()
        ],
        "dropped": [{"node": "11", "phase": "update", "reason": "lost"}],
        "seconds": {"train": 0.1, "total": 0.2},
        "bytes": {"up": 10, "down": 20},
        "clipped": 0,
        "error_bound": None,
        "epsilon": None,
    }


@pytest.fixture
def report():
    return report_frame([round_report(1, {"10": 1.0, "2": 3.0}), round_report(2, {"2": 1.0, "0": 1.0})], NAMES)


def test_figures_of_each_client_are_those_that_hold_a_number_for_it(report):
    assert set(report.client_columns) == {"weights", "votes"}


def test_a_figure_is_laid_out_by_round_and_client_in_the_clients_order(report):
    table = report.by_client("votes")
    assert list(table.columns) == ["client-0", "client-2", "client-10"]
    np.testing.assert_array_equal(table.to_numpy(), [[np.nan, 3.0, 1.0], [1.0, 1.0, np.nan]])
    assert table.index.tolist() == [1, 2]


def test_weights_are_laid_out_unless_told_otherwise(report):
    assert report.by_client().loc[1].dropna().to_dict() == {"client-2": 0.75, "client-10": 0.25}


def test_a_figure_that_there_is_not_is_refused_with_those_that_there_are(report):
    with pytest.raises(KeyError, match="votes"):
        report.by_client("reputation")


def test_figures_are_drawn_with_attackers_first_and_in_red(report):
    report.attrs["attackers"] = ["client-10"]
    axes = report.plot_clients("votes")
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["client-10", "client-0", "client-2"]
    assert [label.get_color() for label in labels] == ["tab:red", "black", "black"]
    assert axes.get_title() == "votes"
    assert "1 attacker" in axes.get_ylabel()


def test_figures_are_drawn_where_asked(report):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots()
    assert report.plot_clients(ax=axes) is axes


def test_metrics_are_drawn_unless_told_otherwise(report):
    drawn = report.plot()
    assert [axes.get_legend().get_texts()[0].get_text() for axes in drawn] == ["loss", "accuracy"]
    assert report.plot(y="bytes_up").get_legend().get_texts()[0].get_text() == "bytes_up"


def test_a_report_without_metrics_is_drawn_all_the_same():
    report = report_frame([round_report(1, {"0": 1.0}, {}), round_report(2, {"0": 1.0}, {})], NAMES)
    report.plot()


def test_a_report_of_no_rounds_is_empty():
    report = report_frame([], {})
    assert len(report) == 0
    assert report.client_columns == []


def test_a_part_of_a_report_is_a_report(report):
    assert list(report.loc[2:].by_client("votes").columns) == ["client-0", "client-2"]


def test_groups_and_shards_have_columns_where_there_were_any(report):
    assert not {"groups", "shards"} & set(report.columns)
    grouped = round_report(1, {"2": 1.0, "0": 1.0}) | {
        "error_bound": 2e-7,
        "groups": {"size": 3, "formed": 5, "opened": 4},
        "shards": {"count": 7, "up": 100, "down": 90},
    }
    table = report_frame([grouped], NAMES)
    row = table.loc[1]
    assert (row["group_size"], row["groups"], row["groups_void"]) == (3, 4, 1)
    assert (row["shards"], row["node_bytes_up"], row["node_bytes_down"]) == (7, 100, 90)
    assert row["error_bound"] == 2e-7
