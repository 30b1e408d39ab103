"""Which experiment validation chooses, and when it chooses none."""

import pytest

from emomm.evaluation.selection import Candidate
from emomm.evaluation.selection import choices
from emomm.evaluation.selection import choose


def run(seed, fold, uar, accuracy=0.5, rows=20, corpora=("A",), classes=None):
    part = {"corpora": list(corpora), "rows": rows, "classes": classes or {"sad": rows}}
    return {
        "seed": seed,
        "fold": fold,
        "status": "done",
        "parts": {"validation": part},
        "validation": {"uar": uar, "accuracy": accuracy},
        "test": {"A": {"uar": 1 - uar}},
    }


def runs(*scores, **fields):
    return [run(1 + i // 2, f"session-{i % 2}", score, **fields) for i, score in enumerate(scores)]


def test_the_highest_mean_validation_score_is_chosen():
    found = choose([Candidate("low", runs(0.9, 0.3)), Candidate("high", runs(0.6, 0.8))])
    assert (found.experiment, found.score, found.runs) == ("high", pytest.approx(0.7), 2)
    assert found.among == ["low", "high"] and found.tied == ["high"] and found.metric == "uar"


def test_it_is_compared_over_the_runs_that_all_have():
    """The seed that one experiment alone has says nothing of the others."""
    more = Candidate("more", [*runs(0.5, 0.5), *[run(2, "session-0", 1.0), run(2, "session-1", 1.0)]])
    found = choose([more, Candidate("few", runs(0.6, 0.6))])
    assert (found.experiment, found.runs) == ("few", 2)


def test_what_chose_the_epochs_chooses_where_it_is_one_for_all():
    by_uar, by_accuracy = runs(0.6, 0.6, accuracy=0.1), runs(0.5, 0.5, accuracy=0.9)
    both = [Candidate("a", by_uar, "accuracy"), Candidate("b", by_accuracy, "accuracy")]
    assert (choose(both).experiment, choose(both).metric) == ("b", "accuracy")
    mixed = [Candidate("a", by_uar, "accuracy"), Candidate("b", by_accuracy, "uar")]
    assert (choose(mixed).experiment, choose(mixed).metric) == ("a", "uar")
    no_score = [Candidate("a", by_uar, "loss"), Candidate("b", by_accuracy, "loss")]
    assert (choose(no_score).experiment, choose(no_score).metric) == ("a", "uar")


@pytest.mark.parametrize(
    "other",
    [
        Candidate("b", runs(0.9, 0.9, corpora=("B",))),
        Candidate("b", runs(0.9, 0.9, rows=21)),
        Candidate("b", runs(0.9, 0.9, classes={"glad": 20})),
        Candidate("b", runs(0.9, 0.9), rule="random"),
        Candidate("b", [run(7, "session-0", 0.9)]),
        Candidate("b", []),
    ],
)
def test_scores_on_different_rows_choose_nothing(other):
    found = choose([Candidate("a", runs(0.5, 0.5), rule="session"), other])
    assert (found.experiment, found.score, found.runs, found.among) == (None, None, 0, ["a", "b"])


def test_ties_are_named():
    found = choose([Candidate("a", runs(0.1, 0.2)), Candidate("b", runs(0.2, 0.1)), Candidate("c", runs(0.1, 0.1))])
    assert found.experiment == "a" and found.tied == ["a", "b"]


def entry(name, scores, rows=40):
    return {"name": name, "runs": runs(*scores), "statistics": {"A": {"rows": rows}}, "selection": {"metric": "uar"}}


def test_experiments_of_results_json_that_tested_all_rows():
    """One whose fold failed is not compared; a single one leaves nothing to choose."""
    entries = [entry("a", (0.5, 0.6)), entry("b", (0.7, 0.6)), entry("half", (1.0, 1.0), rows=20)]
    assert choices(entries)["A"]["experiment"] == "b" and choices(entries)["A"]["among"] == ["a", "b"]
    assert choices(entries[1:]) == {} and choices([{"name": "under way", "runs": []}]) == {}
