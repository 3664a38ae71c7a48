"""Write docs/results from the finished cells: one page a paper, and the cells as JSON.

The readings are computed from the cells, so that a page never says what its table does not.
"""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import grid, run

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
NAMES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "sensitive-topics": "Sensitive topics",
    "cifar10": "CIFAR-10 subset",
}
FEDQV = (
    "FedAvg",
    "FedQV",
    "FedQV, average on silence",
    "FedQV, θ = 0",
    "FedQV + reputation",
    "FedQV + reputation, as released",
    "Multi-Krum, f = 3",
)
REPUTATION = (
    "FedAvg",
    "Residual",
    "Reputation",
    "Reputation, as released",
    "FedQV + reputation",
    "Median",
    "Multi-Krum, f = 3",
)
SET_UP = """\
Measured on {data}; Dirichlet(0.9) over the classes everywhere.

* **MNIST, Fashion-MNIST:** the 10,000 test images dealt out as 8,000 to train and 2,000 to test, pixels
  standardised; 100 clients, 10 a round, 100 rounds, 5 local epochs, batches of 10, SGD 0.01 with momentum 0.5; a
  network 784-64-10 (50,890 weights). This is FedQV's protocol with about 80 rows a client instead of 600 and a
  smaller network.
* **Sensitive topics:** headlines labelled Religion, Health, Politics, Ethnicity, Sexual or Clear, as many clear
  ones as others (10,034 to train, 2,564 to test), TF-IDF of the 1,000 most frequent terms; 10 clients, all in every
  round, 50 rounds, 5 local epochs, batches of 64, SGD 0.5 with momentum 0.5; the paper's network 1000-256-32-6 with
  dropout. Label flip: Religion passes as Clear. Backdoor: the five words most typical of Health at their mean
  weight among Clear, for Religion. A substitute for the paper's web pages, which are not public; headlines are
  short, and accuracies lower.
* **CIFAR-10 subset:** 4,000 images to train, 1,000 to test; 10 clients, all in every round, 30 rounds, 3 local
  epochs, batches of 32, SGD 0.02 with momentum 0.9; two convolutions (16, 32) and two dense layers. Label flip:
  cats pass as dogs.

Good for the direction of effects, **not** for comparing digits with the papers' own tables.

Cells: accuracy in %, mean ± spread (standard deviation) over the last ten rounds; in brackets the attack's success
rate where it has one; without attackers, how often the model makes that mistake by itself. “Negated” attacks send the
negation of what Krum or the trimmed mean would choose, as FedQV's released code does. “As released” counts evidence
the wrong way round, as the papers' released code does. {date}.
"""
Results = dict[str, dict[str, Any]]


def number(result: dict[str, Any] | None) -> str:
    """Return one cell of a table."""
    if result is None:
        return "–"
    success = "" if result["asr"] is None else f" ({100 * result['asr']:.1f})"
    return f"{100 * result['accuracy']:.1f} ± {100 * result['accuracy_spread']:.1f}{success}"


def table(results: Results, rules: Sequence[str], fraction: float, seed: int, dataset: str) -> str:
    """Return rules × attacks as a Markdown table, only of rows and columns with a finished cell."""
    found = {
        (rule, attack): results.get(grid.Cell(rule, attack, 0.0 if attack == "none" else fraction, seed, dataset).key)
        for rule in rules
        for attack in grid.ATTACKS
    }
    attacks = [attack for attack in grid.ATTACKS if any(found[rule, attack] for rule in rules)]
    if attacks in ([], ["none"]):
        return ""
    lines = ["| rule | " + " | ".join(attacks) + " |", "| --- |" + " --- |" * len(attacks)]
    for rule in rules:
        if any(found[rule, attack] for attack in attacks):
            lines.append(f"| {rule} | " + " | ".join(number(found[rule, attack]) for attack in attacks) + " |")
    return "\n".join(lines)


def tables(results: Results, rules: Sequence[str]) -> Iterable[str]:
    """Return every table that has a finished cell, each with a heading."""
    for dataset, fraction, seed in [
        ("mnist", 0.3, 0),
        ("mnist", 0.3, 1),
        ("mnist", 0.3, 2),
        ("mnist", 0.1, 0),
        ("fashion-mnist", 0.3, 0),
        ("sensitive-topics", 0.3, 0),
        ("sensitive-topics", 0.3, 1),
        ("sensitive-topics", 0.3, 2),
        ("cifar10", 0.3, 0),
    ]:
        if text := table(results, rules, fraction, seed, dataset):
            yield f"## {NAMES[dataset]}, {fraction:.0%} attackers, seed {seed}\n\n{text}\n"


def value(
    results: Results, rule: str, attack: str, fraction: float = 0.3, what: str = "accuracy", dataset: str = "mnist"
) -> str:
    """Return a figure in % for a sentence: the mean over seeds, and of how many."""
    cells = [grid.Cell(rule, attack, 0.0 if attack == "none" else fraction, seed, dataset) for seed in (0, 1, 2)]
    values = [100 * results[cell.key][what] for cell in cells if cell.key in results]
    if not values:
        return "not measured yet"
    return f"{statistics.mean(values):.1f}" + (f" (mean of {len(values)} seeds)" if len(values) > 1 else "")


def reading(results: Results, rule: str) -> list[str]:
    """Return what the cells say about one rule beside plain averaging, in %."""
    lines = [
        f"* **Price without attackers:** {value(results, rule, 'none')} against {value(results, 'FedAvg', 'none')} "
        "of plain averaging."
    ]
    for attack in ("label flip", "Gaussian", "Krum (negated)"):
        lines.append(
            f"* **{attack[0].upper() + attack[1:]}, 30 %:** {value(results, rule, attack)} against "
            f"{value(results, 'FedAvg', attack)}; evidence counted as released: "
            f"{value(results, f'{rule}, as released', attack)}."
        )
    lines.append(
        f"* **Backdoor succeeds:** {value(results, rule, 'backdoor', 0.1, 'asr')} with 10 % attackers, "
        f"{value(results, rule, 'backdoor', 0.3, 'asr')} with 30 %."
    )
    return lines


def voting(results: Results) -> list[str]:
    """Return what the cells say about quadratic voting by itself."""
    return [
        f"* **Voting alone** under label flip by 30 %: {value(results, 'FedQV', 'label flip')} (θ = 0: "
        f"{value(results, 'FedQV, θ = 0', 'label flip')}) against {value(results, 'FedAvg', 'label flip')} of plain "
        "averaging. The band mutes the most similar clients as well as the least similar ones, honest or not; when "
        "attackers are far out, nobody is left in it, and the model stays as it was (or takes the attack in, if "
        "silence is answered by averaging). Use the reputation with it."
    ]


def topics(results: Results) -> list[str]:
    """Return what the cells say about the paper's own task."""

    def success(rule: str, attack: str) -> str:
        return value(results, rule, attack, what="asr", dataset="sensitive-topics")

    def accuracy(rule: str, attack: str) -> str:
        return value(results, rule, attack, dataset="sensitive-topics")

    ours, plain = "Reputation", "FedAvg"
    return [
        f"* **Sensitive topics:** accuracy {accuracy(ours, 'none')} against {accuracy(plain, 'none')} of plain "
        f"averaging without attackers, {accuracy(ours, 'label flip')} against {accuracy(plain, 'label flip')} with "
        f"30 % of them flipping. Religion passes as Clear in {success(ours, 'label flip')} against "
        f"{success(plain, 'label flip')} of its rows, where the model without attackers errs in "
        f"{success(ours, 'none')} and {success(plain, 'none')}.",
        "* **Ten clients that take part in every round are soon out of credits:** FedQV with reputation gets "
        f"{accuracy('FedQV + reputation', 'none')} there without attackers. A budget of 30 lasts for 12 to 25 rounds.",
    ]


def expulsion() -> list[str]:
    """Return what a look at the budgets of one run told, which no cell of the table holds."""
    return [
        "* **Expulsion takes time and takes honest clients too.** Looked at on 2026-11-25, label flip by 30 %, seed 0: "
        "after 100 rounds 24 of 30 attackers and 12 of 70 honest clients had lost their budgets. A "
        "round in which several of the other attackers met cost up to 15 points, and the next ones repaired it. That "
        "is the spread in the table, and why the mean of ten rounds depends on the draw."
    ]


def page(title: str, paper: str, results: Results, rules: Sequence[str], lines: Sequence[str], date: str) -> str:
    """Return one paper's page."""
    measured = ", ".join(NAMES[each] for each in NAMES if any(r["dataset"] == each for r in results.values()))
    planned = grid.cells()
    left = sum(cell.key not in results for cell in planned)
    note = (
        f"{len(planned) - left} of {len(planned)} runs of the grid are done; a dash is one that is not. "
        "`make papers` goes on where it stopped.\n"
        if left
        else "`make papers` runs all of them again, or those that are missing.\n"
    )
    return "\n".join(
        [
            f"# {title}\n",
            f"{paper} Measured with `make papers`; the cells are in [fedqv.json](fedqv.json) and "
            "[reputation.json](reputation.json).\n",
            SET_UP.format(data=measured, date=date),
            note,
            "## Reading\n",
            *lines,
            "",
            *tables(results, rules),
        ]
    )


def write(name: str, text: str, results: Results, rules: Sequence[str]) -> None:
    """Write a page and its cells."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text.rstrip() + "\n")
    keys = {cell.key for cell in grid.cells() if cell.rule in rules}
    cells = [result for key, result in results.items() if key in keys]
    cells.sort(key=lambda cell: json.dumps(cell, sort_keys=True))
    (RESULTS / f"{name}.json").write_text("[\n" + ",\n".join(json.dumps(cell) for cell in cells) + "\n]\n")


def main() -> None:
    results = run.finished()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    fedqv = page(
        "FedQV: quadratic voting",
        "Chu et al., “FedQV: Leveraging Quadratic Voting in Federated Learning”, SIGMETRICS 2024.",
        results,
        FEDQV,
        [*reading(results, "FedQV + reputation"), *expulsion(), *voting(results)],
        date,
    )
    reputation = page(
        "Reputation from residuals",
        "Chu et al., “Securing Federated Sensitive Topic Classification against Poisoning Attacks”, NDSS 2023.",
        results,
        REPUTATION,
        [*reading(results, "Reputation"), *topics(results)],
        date,
    )
    write("fedqv", fedqv, results, FEDQV)
    write("reputation", reputation, results, REPUTATION)
    print(f"wrote {RESULTS / 'fedqv.md'} and {RESULTS / 'reputation.md'}")


if __name__ == "__main__":
    main()
