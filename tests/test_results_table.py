"""The table at the end of a job."""

from emomm.reporting.results_table import format_table
from emomm.reporting.results_table import results_table


def test_columns_are_aligned():
    text = format_table([["name", "n"], ["a longer one", "1"], ["b", "20"]])
    assert text.splitlines() == ["name          n", "------------  --", "a longer one  1", "b             20"]


def test_the_table_of_results():
    def spread(mean):
        return {"mean": mean, "std": 0.05, "ci95": None, "pooled": mean / 2}

    summary = {name: spread(i / 10) for i, name in enumerate(("uar", "accuracy", "f1_macro", "f1_weighted"), start=1)}
    runs = [
        {"status": "done", "test": {"A": {}}},
        {"status": "done", "test": {"A": {}, "B": {}}},
        {"status": "failed: diverged"},
    ]
    experiments = [
        {"name": "one", "runs": runs, "summary": {"A": summary, "B": summary}},
        {"name": "two", "runs": runs[2:], "summary": {}},
    ]
    lines = results_table({"experiments": experiments}).splitlines()
    assert [line.split() for line in lines[2:]] == [
        [*"one A 2 0.100 ± 0.050 0.200 ± 0.050 0.300 ± 0.050 0.400 ± 0.050 0.050".split()],
        [*"one B 1 0.100 ± 0.050 0.200 ± 0.050 0.300 ± 0.050 0.400 ± 0.050 0.050".split()],
        [*"two - 0 - - - - -".split()],
    ]
    assert lines[0].split("  ")[0] == "experiment" and "UAR pooled" in lines[0]
