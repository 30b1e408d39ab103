"""What a person sees when a job ends."""

from typing import Any

from ..evaluation.learning_checks import experiment_line
from ..evaluation.metrics import mean_and_std
from ..floors.words import NOTE
from ..floors.words import below_line
from ..floors.words import below_mark
from ..floors.words import floor_lines
from ..floors.words import own_floor
from .encoder_words import encoder_lines
from .protocol_words import OVERLAP
from .protocol_words import dropped
from .protocol_words import named_protocol
from .protocol_words import overlap_mark
from .protocol_words import overlaps
from .protocol_words import unseen_sentences
from .score_words import ONE_SEED
from .score_words import choice_note
from .score_words import decisions_note
from .score_words import lacking_note
from .score_words import p_in_words
from .score_words import score_rows
from .search_words import searched_sentence

_HEADER = ["experiment", "tested on", "runs", "UAR [95 %]", "floor", "accuracy", "F1 macro", "F1 weighted"]
_HEADER += ["UAR of runs"]
_MIXED = "*"
_WARNED = "!"


def results_table(results: dict[str, Any]) -> str:
    """The table at the end of a job, a line for each experiment and test corpus.

    Scores are pooled over folds; the last column is the mean UAR ± standard deviation over runs. An experiment some of
    whose runs learned nothing has a !, one below its floor says so beside it, and `results_notes` has a line for each.
    """
    rows = [_HEADER]
    for experiment in results["experiments"]:
        name = experiment["name"] + (f" {_WARNED}" if experiment_line(experiment["runs"]) else "")
        runs = [run for run in experiment["runs"] if run["status"] == "done"]
        if not runs:
            rows.append([name, "-", "0", *6 * ["-"]])
        for corpus, summary in experiment["summary"].items():
            tested = sum(corpus in run["test"] for run in runs)
            statistics = experiment.get("statistics", {}).get(corpus, {})
            mixed = _MIXED if statistics.get("folds_lacking_classes") else ""
            for tested_on, figures, decision in score_rows(corpus, summary, statistics):
                interval = figures["uar"]["ci95"]
                bounds = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
                scores = [f"{figures[metric]['pooled']:.3f}" for metric in ("accuracy", "f1_macro", "f1_weighted")]
                uar = f"{figures['uar']['pooled']:.3f}{bounds}"
                spread = mean_and_std(figures["uar"]) + mixed
                floor = _floor_cell(experiment, corpus, decision)
                tested_on += overlap_mark(experiment)
                rows.append([name, tested_on, str(tested), uar, floor, *scores, spread])
    if all(row[4] == "-" for row in rows[1:]):
        rows = [[*row[:4], *row[5:]] for row in rows]
    return format_table(rows)


def _floor_cell(experiment: dict[str, Any], corpus: str, decision: str) -> str:
    """`0.859`, `0.859 below`. The comparison is of the decision among all classes, so its mark stands there."""
    floor = own_floor(experiment, corpus, decision)
    mark = "" if decision == "shared" else below_mark(experiment, corpus)
    return "-" if floor is None else f"{floor:.3f} {mark}".rstrip()


def results_notes(results: dict[str, Any]) -> list[str]:
    """What must be known to read the table, a line each."""
    notes = ["Scores are pooled over folds and averaged over seeds; the last column is mean ± std over runs."]
    said = [
        (corpus, statistics)
        for experiment in results["experiments"]
        for corpus, statistics in experiment.get("statistics", {}).items()
    ]
    told = ((experiment["name"], experiment_line(experiment["runs"])) for experiment in results["experiments"])
    notes += [f"{_WARNED} {name}: {line}" for name, line in told if line]
    for experiment in results["experiments"]:
        marked = f"{OVERLAP} " if overlap_mark(experiment) else ""
        notes += [f"{marked}{experiment['name']}: {line}." for line in overlaps(experiment)]
        lines_of = *encoder_lines(experiment), named_protocol(experiment), dropped(experiment)
        notes += [f"{experiment['name']}: {line}." for line in lines_of if line]
        if "searched" in experiment:
            notes.append(f"{experiment['name']}: {searched_sentence(experiment['searched'])}")
        for corpus, statistics in experiment.get("statistics", {}).items():
            unseen = unseen_sentences(corpus, statistics)
            notes += [f"{experiment['name']}: {unseen}."] if unseen else []
    lines = [line for corpus in _tested_corpora(results) for line in floor_lines(results["experiments"], corpus)]
    notes += [NOTE, *lines] if lines else []
    for experiment in results["experiments"]:
        below = (below_line(experiment, corpus) for corpus in experiment["summary"])
        notes += [f"{experiment['name']} is {line}." for line in below if line]
    notes += [f"{_MIXED} {note}" for corpus, statistics in said if (note := lacking_note(corpus, statistics))]
    notes += [note for corpus, statistics in said if (note := decisions_note(corpus, statistics))]
    notes += [choice_note(corpus, choice) for corpus, choice in results.get("chosen_on_validation", {}).items()]
    if any(statistics["seeds"] < 2 for _, statistics in said):
        notes.append(ONE_SEED)
    return list(dict.fromkeys(notes))


def _tested_corpora(results: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(corpus for experiment in results["experiments"] for corpus in experiment["summary"]))


def comparison_lines(results: dict[str, Any], most: int = 10) -> list[str]:
    """The paired tests of UAR as lines for a terminal; none where there are more than `most` pairs of a corpus."""
    lines = []
    for corpus, pairs in results.get("comparisons", {}).items():
        for pair in pairs if len(pairs) <= most else []:
            test = pair["uar"]
            interval = "" if test["ci95"] is None else " [{:+.3f}, {:+.3f}]".format(*test["ci95"])
            note = f", {test['note']}" if test["note"] else ""
            which = f"UAR{_among_all(results, corpus)}"
            corrected = f"; {p_in_words(test['p_holm'])} after Holm's correction" if len(pairs) > 1 else ""
            lines.append(
                f"{corpus}: {pair['first']} - {pair['second']}: {which} {test['difference']:+.3f}{interval}, "
                f"{p_in_words(test['p'])} ({test['test']}{note}){corrected}"
            )
    return lines


def _among_all(results: dict[str, Any], corpus: str) -> str:
    """` among all 4` where a corpus lacks classes: the decision that is compared."""
    for experiment in results.get("experiments", []):
        both = experiment.get("statistics", {}).get(corpus, {}).get("decisions")
        if both:
            return f" among all {len(both['all']['classes'])}"
    return ""


def format_table(rows: list[list[str]]) -> str:
    """Rows of text, the first one the header, in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


__all__ = ["comparison_lines", "format_table", "results_notes", "results_table"]
