"""What a person sees when a job ends."""

from emomm.reporting.results_table import comparison_lines
from emomm.reporting.results_table import format_table
from emomm.reporting.results_table import results_notes
from emomm.reporting.results_table import results_table
from emomm.reporting.score_words import p_in_words

METRICS = ("uar", "accuracy", "f1_macro", "f1_weighted")


def scores(pooled, std=0.05):
    """Figures of the four scores; the mean over runs is .1 above the pooled one."""
    given = {"mean": pooled + 0.1, "std": std, "ci95": [pooled - 0.1, pooled + 0.1], "pooled": pooled}
    return {metric: given for metric in METRICS}


def statistics(**fields):
    recall = {name: {"pooled": 0.5} for name in ("neutral", "happy", "sad", "anger")}
    return {"seeds": 2, "recall": recall, "decisions": {}, "folds_lacking_classes": {}, **fields}


def results(**of_a):
    runs = [{"status": "done", "test": {"A": {}}}, {"status": "done", "test": {"A": {}, "B": {}}}]
    failed = {"status": "failed: diverged"}
    one = {"name": "one", "runs": [*runs, failed], "summary": {"A": scores(0.5), "B": scores(0.25, None)}}
    one["statistics"] = {"A": statistics(**of_a), "B": statistics()}
    return {"experiments": [one, {"name": "two", "runs": [failed], "summary": {}}]}


def test_columns_are_aligned():
    text = format_table([["name", "n"], ["a longer one", "1"], ["b", "20"]])
    assert text.splitlines() == ["name          n", "------------  --", "a longer one  1", "b             20"]


def test_pooled_scores_stand_first():
    lines = results_table(results()).splitlines()
    assert lines[0].split("  ")[0] == "experiment"
    assert lines[0].index("UAR [95 %]") < lines[0].index("accuracy") < lines[0].index("UAR of runs")
    assert [line.split() for line in lines[2:]] == [
        [*"one A 2 0.500 [0.400, 0.600] 0.500 0.500 0.500 0.600 ± 0.050".split()],
        [*"one B 1 0.250 [0.150, 0.350] 0.250 0.250 0.250 0.350".split()],
        [*"two - 0 - - - - -".split()],
    ]
    assert results_notes(results()) == [
        "Scores are pooled over folds and averaged over seeds; the last column is mean ± std over runs."
    ]


def test_a_mean_over_folds_with_different_classes_says_so_where_it_stands():
    given = results(folds_lacking_classes={"session-2": ["anger"]})
    lines = results_table(given).splitlines()
    assert lines[2].endswith("0.600 ± 0.050*") and not lines[3].endswith("*")
    assert results_notes(given)[1] == (
        "* A: folds differ in their classes (session-2 no anger). UAR there averages 3 recalls (always naming one "
        "class gives .333), elsewhere 4 (.250): the mean over runs mixes them, the pooled UAR does not."
    )


def test_both_decisions_are_shown_with_their_chance():
    every = {"classes": ["neutral", "happy", "sad", "anger"], "chance": 0.25, **scores(0.4)}
    shared = {"classes": ["happy", "anger"], "chance": 0.5, **scores(0.7)}
    given = results(decisions={"all": every, "shared": shared})
    rows = [line.split("  ") for line in results_table(given).splitlines()[2:]]
    assert [(row[1].strip(), row[3].split()[0]) for row in ([c for c in row if c] for row in rows[:2])] == [
        ("A, among all 4", "0.400"),
        ("A, among its 2", "0.700"),
    ]
    (line,) = comparison_lines({**given, "comparisons": {"A": [pair(0.2, 0.2)]}})
    assert line.startswith("A: a - b: UAR among all 4 +0.150")
    note = results_notes(given)[1]
    assert note.startswith("A has 2 of the 4 classes (happy, anger).") and note.endswith("a UAR of .250 and .500.")


def test_what_validation_chooses_is_said_with_the_optimism_of_the_highest():
    choice = {"experiment": "one", "metric": "uar", "score": 0.61, "runs": 2, "among": ["one", "two"], "tied": ["one"]}
    (_, said) = results_notes({**results(), "chosen_on_validation": {"A": choice}})
    assert said == (
        "A: chosen on validation: one (validation UAR 0.610, mean of 2 runs); the highest of 2 test scores is "
        "optimistic, since luck helps to pick it."
    )
    (_, said) = results_notes({**results(), "chosen_on_validation": {"A": {**choice, "tied": ["one", "two"]}}})
    assert "mean of 2 runs; as high: two)" in said
    (_, said) = results_notes({**results(), "chosen_on_validation": {"A": {**choice, "experiment": None}}})
    assert said.startswith("A: validation chooses none of the 2 experiments, which were validated on different rows;")


def test_one_seed_says_nothing_of_other_trainings():
    assert results_notes(results(seeds=1))[-1].startswith("Intervals and tests are for other speakers, not for other")


def pair(p, p_holm, ci95=(-0.01, 0.31)):
    test = {"difference": 0.15, "ci95": ci95, "p": p, "p_holm": p_holm, "test": "swapped speakers", "note": ""}
    return {"first": "a", "second": "b", "uar": test}


def test_the_interval_stands_beside_the_p_it_goes_with():
    lines = comparison_lines({"comparisons": {"A": [pair(0.016, 0.048), pair(0.0004, 0.0012, None)]}})
    assert lines == [
        "A: a - b: UAR +0.150 [-0.010, +0.310], p = .016 (swapped speakers); p = .048 after Holm's correction",
        "A: a - b: UAR +0.150, p < .001 (swapped speakers); p = .001 after Holm's correction",
    ]
    (line,) = comparison_lines({"comparisons": {"A": [pair(0.2, 0.2)]}})
    assert "Holm" not in line  # a single test is not corrected
    assert comparison_lines({"comparisons": {"A": [pair(0.2, 0.2)] * 11}}) == []


def test_p_is_never_zero():
    assert [p_in_words(p) for p in (0.0, 0.00099, 0.001, 0.0496, 1.0)] == [
        "p < .001",
        "p < .001",
        "p = .001",
        "p = .050",
        "p = 1.000",
    ]
