"""What a report says in words, where a number alone would be taken for another."""

import numpy as np
import pytest
from test_report_data import rows_in

from emomm.evaluation.summaries import experiment_statistics
from emomm.reporting import report_data as report_data
from emomm.reporting.report_data import ReportData
from emomm.reporting.report_data import ReportedExperiment
from emomm.reporting.score_tables import comparisons_table
from emomm.reporting.score_tables import results_table
from emomm.reporting.words import caveats
from emomm.reporting.words import difficulty_text
from emomm.reporting.words import lead
from emomm.reporting.words import protocol_text

LABELS = ("sad", "glad")


def run(seed=1, uar=0.6, validated_on="A", shared=0, **fields):
    part = {"corpora": ["A"], "rows": 60, "speaker_count": 5}
    validation = {"corpora": [validated_on], "rows": 20, "speaker_count": 5, "classes": {"sad": 20}}
    parts = {"train": part, "test": part, "validation": {**validation, "speakers_trained_on": shared}}
    return {
        "seed": seed,
        "fold": "all",
        "status": "done",
        "validation": {"uar": uar},
        "test": {"A": {}},
        "parts": parts,
        **fields,
    }


def experiment(name, right=0.7, labels=LABELS, runs=None, folds=None, **settings):
    """One with 60 rows of two classes of five speakers, of which the share `right` is right."""
    tested = rows_in(np.arange(60) % 10 < 10 * right, np.linspace(0, 1, 60), "A", labels)
    if len(labels) > 2:
        rest = np.zeros((*tested.rows.predictions.shape, len(labels) - 2), np.float32)
        rows = tested.rows.__dict__ | {"probabilities": np.concatenate([tested.rows.probabilities, rest], axis=-1)}
        tested = report_data.Tested("A", type(tested.rows)(**rows), tested.difficulty, {})
    if folds is not None:
        tested.rows.folds[:] = folds
    found = experiment_statistics({"A": tested.rows})["A"]
    tested = report_data.Tested("A", tested.rows, tested.difficulty, found)
    settings = {"evaluation_mode": "loso", "metric_for_best_model": "uar", "validation": "session", **settings}
    runs = runs or [run()]
    return ReportedExperiment(name, name, {"corpora": [], "runs": runs}, runs, [], settings, None, {"A": tested})


def test_the_lead_is_what_validation_chooses_and_not_the_best_on_test_rows():
    best = experiment("best on test rows", 0.9, runs=[run(uar=0.5)])
    chosen = experiment("chosen", 0.7, runs=[run(uar=0.8)])
    said = lead(ReportData({}, [best, chosen], {}))
    assert said.startswith(
        "2 experiments, 2 runs. Chosen on validation among 2 experiments: chosen (validation UAR 0.800). "
        "Its UAR on A (60 rows, 5 speakers): 0.700 (95 % interval "
    )
    assert "best on test rows" not in said and "ighest" not in said


def test_the_lead_names_ties_and_chooses_nothing_where_validation_can_not():
    one, other = experiment("one", 0.9), experiment("other", 0.5)
    assert "one (validation UAR 0.600, as high as other)" in lead(ReportData({}, [one, other], {}))
    other = experiment("other", 0.5, runs=[run(validated_on="B", uar=0.9)])
    assert lead(ReportData({}, [one, other], {})).endswith(
        "UAR on A (60 rows, 5 speakers): 0.500 to 0.900 in 2 experiments, none of which is chosen: they were "
        "validated on different rows."
    )
    assert lead(ReportData({}, [one], {})).startswith(
        "1 experiment, 1 run. UAR on A (60 rows, 5 speakers): 0.900 (95 %"
    )


def test_the_table_says_that_the_highest_is_optimistic():
    two = ReportData({}, [experiment("one"), experiment("other")], {})
    assert "The highest of 2 test scores is optimistic: luck helps to pick it." in results_table(two).note
    assert "optimistic" not in results_table(ReportData({}, [experiment("one")], {})).note


def test_a_mean_over_folds_with_other_classes_is_marked_where_it_stands():
    folds = np.where(np.arange(60) < 40, "both", "sad alone").astype(object)
    folds[40:][np.arange(40, 60) % 2 == 1] = "both"
    data = ReportData({}, [experiment("one", folds=folds)], {})
    table = results_table(data)
    (row,) = table.rows
    assert row[table.columns.index("UAR of runs ± std")].mark == "‡"
    assert "‡: A: folds differ in their classes (sad alone no glad)" in table.note
    for form in (table.markdown(), table.latex()):
        assert "(sad alone no glad)" in form
    assert r"$^{\ddagger}$" in table.latex() and "<sup>‡</sup>" in table.markdown()
    assert table.columns.index("UAR") < table.columns.index("UAR of runs ± std")


def test_a_corpus_with_fewer_classes_has_a_line_for_each_decision():
    data = ReportData({}, [experiment("one", labels=("sad", "glad", "angry"))], {"A": []})
    table = results_table(data)
    assert [row[1] for row in table.rows] == ["A, among all 3", "A, among its 2"]
    columns, plain = table.plain
    lines = [dict(zip(columns, line, strict=True)) for line in plain]
    assert [(line["tested_on"], line["decision"], line["chance"]) for line in lines] == [
        ("A", "all", pytest.approx(1 / 3)),
        ("A", "shared", 0.5),
    ]
    assert lines[0]["ece"] is not None and lines[1]["ece"] is None  # of the decision among all
    assert "guessing gives a UAR of .333 and .500" in table.note and "of the decision among all classes" in table.note
    assert "0.700 among all 3 classes (guessing .333), 0.700 among its 2 (.500)" in lead(data)
    assert "on the classes they share" not in " ".join(protocol_text(data))


@pytest.mark.parametrize(
    ("rule", "shared", "said"),
    [
        ("session", 0, None),
        ("random", 4, "It shares speakers with the training rows (8 of the 10 validation speakers of all runs): "),
        ("random_unstratified", None, "It shares speakers with the training rows: validation scores are higher"),
        ("speakers", 1, "(2 of the 10 validation speakers of all runs)"),
    ],
)
def test_validation_that_shares_speakers_says_so(rule, shared, said):
    runs = [run(seed, shared=shared) for seed in (1, 2)]
    text = " ".join(protocol_text(ReportData({}, [experiment("one", runs=runs, validation=rule)], {})))
    assert ("shares speakers" in text) == (said is not None) and (said or "") in text


def test_intervals_say_of_whom_they_speak():
    one = experiment("one")
    assert "with one seed, a score or a difference may be the luck" in protocol_text(ReportData({}, [one], {}))[-1]
    one.tested["A"].statistics["seeds"] = 2
    assert "what those change shows in the spread over seeds" in protocol_text(ReportData({}, [one], {}))[-1]


def test_epochs_that_tie_are_counted():
    runs = [run(seed, best_epoch_ties=ties) for seed, ties in ((1, 0), (2, 3), (3, 1))]
    text = " ".join(protocol_text(ReportData({}, [experiment("one", runs=runs)], {})))
    assert "In 2 of 3 runs, up to 3 later epochs scored just as high: the first is kept" in text
    text = " ".join(protocol_text(ReportData({}, [experiment("one", runs=[run(best_epoch_ties=1)])], {})))
    assert "In 1 of 1 run, 1 later epoch scored just as high" in text
    assert "just as high" not in " ".join(protocol_text(ReportData({}, [experiment("one")], {})))  # not recorded


def test_difficulty_says_that_it_knows_the_label_and_what_was_rated():
    data = ReportData({}, [experiment("one")], {})
    data.experiments[0].entry["corpora"] = [{"name": "A", "vad_of": "the sentence, not of the voice"}]
    text = " ".join(difficulty_text(data))
    assert "Difficulty is computed with the true label" in text and "within classes" in text
    assert "On A, the ratings are of the sentence, not of the voice." in text
    own = " ".join(difficulty_text(ReportData({}, [experiment("one", difficulty_from_corpus=True)], {})))
    assert "the corpus' own column" in own and "true label" not in own


def test_differences_say_which_p_their_interval_goes_with():
    pair = {"first": "one", "second": "other", "mcnemar": {"p": 0.5}}
    test = {
        "difference": 0.1,
        "ci95": [0.01, 0.2],
        "p": 0.0001,
        "p_holm": 0.0002,
        "test": "swapped speakers",
        "note": "",
    }
    data = ReportData({}, [experiment("one")], {"A": [{**pair, "uar": test, "accuracy": test}]})
    table = comparisons_table(data)
    assert table.columns[5:8] == ["95 % interval (before Holm)", "p (before Holm)", "p (after Holm)"]
    assert [cell.text for cell in table.rows[0][6:8]] == ["< .001", "< .001"]
    assert "not for other trainings: with one seed" in table.note


OWN = {"name": "my_split", "about": "100% theirs", "names_validation": True, "shares_speakers": True}


def own_experiment(known):
    """By a protocol that trained on so many of five tested speakers in each of two runs."""
    one = experiment("one", runs=[run(seed, shared=0) for seed in (1, 2)], evaluation_mode="my_split")
    for each in one.runs:
        each["parts"]["test"] = {**each["parts"]["test"], "speakers_trained_on": known}
    one.entry.update(protocol=OWN, selection={"metric": "uar", "validation": "protocol my_split", "fraction": None})
    return one


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (0, None),
        (2, "tested speakers are trained on too (4 of the 10 tested speakers of all runs): the scores are of known"),
        (None, "it is not known whether tested speakers are trained on"),
    ],
)
def test_a_protocol_of_a_users_own_is_said_in_its_words(known, said):
    one = own_experiment(known)
    data = ReportData({}, [one], {})
    text, table = protocol_text(data), results_table(data)
    assert (
        text[0]
        == "By my_split, a protocol of its user's own: 100% theirs. Trained on A; tested on A. 2 seeds and 1 fold."
    )
    assert "on the validation rows that the protocol my_split names, set aside" in text[1]
    assert "one: my_split, a protocol of its user's own: 100% theirs." in table.note
    assert r"my\_split, a protocol of its user's own: 100\% theirs." in table.latex()
    assert len(caveats(data)) == (said is not None)
    assert all(line.startswith(f"one: {said}") for line in caveats(data))
    assert ("known" in table.note) == (said is not None) and (said or "") in table.markdown()


def test_other_protocols_validate_on_other_rows():
    data = ReportData({}, [own_experiment(0), experiment("two", runs=[run(1), run(2)])], {})
    assert "none of which is chosen: they were validated on different rows" in lead(data)
