"""The words of a report: its lead, what must be known first, how the numbers came about."""

from itertools import combinations
from typing import Any

from ..corpora.contamination import contamination_of
from ..evaluation.learning_checks import experiment_line
from ..evaluation.selection import Candidate
from ..evaluation.selection import choose
from ..floors.words import below_line
from ..floors.words import below_mark
from .audit_words import audit_lines
from .findings import BUCKETS
from .findings import ROWS_A_BUCKET
from .findings import difficulty_curve
from .protocol_words import dropped
from .protocol_words import named_protocol
from .protocol_words import overlaps
from .report_data import ReportData
from .report_data import ReportedExperiment
from .score_words import METRIC_NAMES
from .score_words import ONE_SEED
from .score_words import in_words
from .score_words import ties_note
from .score_words import without_zero
from .search_words import chosen_with_test_rows
from .search_words import searched_sentence


def lead(data: ReportData) -> str:
    """What it comes to, in a sentence or two: of several experiments, the one that validation chooses."""
    runs = sum(len(experiment.runs) for experiment in data.experiments)
    parts = [f"{_number(len(data.experiments), 'experiment')}, {_number(runs, 'run')}."]
    for corpus in data.tested_corpora:
        having = [experiment for experiment in data.experiments if corpus in experiment.tested]
        most = max(experiment.tested[corpus].statistics["rows"] for experiment in having)
        having = [
            experiment for experiment in having if experiment.tested[corpus].statistics["rows"] == most
        ]  # others are under way
        rows = f"{most} rows, {_number(having[0].tested[corpus].statistics['speakers'], 'speaker')}"
        parts.append(_lead_of(corpus, rows, having))
    return " ".join(parts)


def _lead_of(corpus: str, rows: str, having: list[ReportedExperiment]) -> str:
    having = [each for each in having if not {"twin_of", "searched"} & each.entry.keys()] or having
    if len(having) == 1:
        return f"UAR on {corpus} ({rows}): {_uar(having[0], corpus)}, {having[0].name}."
    choice = choose([_candidate(experiment, corpus) for experiment in having])
    if choice.experiment is None:
        scores = [experiment.tested[corpus].statistics["uar"]["pooled"] for experiment in having]
        return (
            f"UAR on {corpus} ({rows}): {min(scores):.3f} to {max(scores):.3f} in {len(having)} experiments, none of "
            "which is chosen: they were validated on different rows."
        )
    (chosen,) = (experiment for experiment in having if experiment.name == choice.experiment)
    tied = f", as high as {in_words(choice.tied[1:])}" if len(choice.tied) > 1 else ""
    score = f"validation {METRIC_NAMES[choice.metric]} {choice.score:.3f}{tied}"
    return (
        f"Chosen on validation among {len(having)} experiments: {chosen.name} ({score}). Its UAR on {corpus} "
        f"({rows}): {_uar(chosen, corpus)}."
    )


def _candidate(each: ReportedExperiment, corpus: str) -> Candidate:
    runs = [run for run in each.runs if corpus in run["test"]]
    return Candidate(each.name, runs, each.settings.get("metric_for_best_model", "uar"), _validation(each))


def _validation(each: ReportedExperiment) -> str | None:
    """Which rows chose the epochs: the setting, or `protocol NAME` where a user's own names them."""
    return each.entry.get("selection", {}).get("validation", each.settings.get("validation"))


def _uar(each: ReportedExperiment, corpus: str) -> str:
    """`0.884 (95 % interval 0.815 to 0.930)`, or that of both decisions."""
    found = each.tested[corpus].statistics
    both = found["decisions"]
    if both:
        every, shared = both["all"], both["shared"]
        return (
            f"{every['uar']['pooled']:.3f} among all {len(every['classes'])} classes (guessing "
            f"{without_zero(every['chance'])}), {shared['uar']['pooled']:.3f} among its {len(shared['classes'])} "
            f"({without_zero(shared['chance'])})"
        )
    bounds = found["uar"]["ci95"]
    interval = "" if bounds is None else f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})"
    return f"{found['uar']['pooled']:.3f}{interval}"


def caveats(data: ReportData) -> list[str]:
    """What a reader must know first."""
    found = [
        f"{experiment.name}: {line}"
        for experiment in data.experiments
        if (line := experiment_line(experiment.entry["runs"]))
    ]
    found += [f"{experiment.name}: {line}." for experiment in data.experiments for line in overlaps(experiment.entry)]
    found += [
        f"{experiment.name}: {line}." for experiment in data.experiments for line in audit_lines(experiment.entry)
    ]
    found += [
        f"{experiment.name}: {searched_sentence(experiment.entry['searched'])}"
        for experiment in data.experiments
        if chosen_with_test_rows(experiment.entry)
    ]
    for experiment in data.experiments:  # those of which it is clear; the others are marked in the table
        below = (corpus for corpus in experiment.tested if below_mark(experiment.entry, corpus) == "below")
        found += [f"{experiment.name} is {below_line(experiment.entry, corpus)}." for corpus in below]
    for card in data.corpora.values():
        found += [text for text in (card["caveat"], contamination_of(card)) if text]
    recorded = [experiment.entry for experiment in data.experiments if experiment.entry.get("speech_encoder")]
    warnings = [contamination_of(card, each["speech_encoder"]) for each in recorded for card in each["corpora"]]
    found += [warning for warning in dict.fromkeys(warnings) if warning]
    for label, job in data.jobs.items():
        for entry in job["experiments"]:
            if not any(run["status"] == "done" for run in entry["runs"]):
                why = experiment_line(entry["runs"])
                found.append(
                    f"{label}, {entry['name']}: no run is done, so it is not shown{f': {why}' if why else '.'}"
                )
    found += [
        f"{experiment.name}: no result of {reason}." for experiment in data.experiments for reason in experiment.failed
    ]
    for experiment in data.experiments:
        for tested in experiment.tested.values():
            untested = int((~tested.rows.complete).sum())
            if untested:
                seeds = _number(untested, "seed has", "seeds have")
                found.append(f"{experiment.name}, {tested.corpus}: {seeds} not tested every row that others have.")
    return found + _not_compared(data)


def _not_compared(data: ReportData) -> list[str]:
    """Which experiments no paired test can tell apart, since they were not tested on the same rows."""
    found = []
    for corpus in data.tested_corpora:
        names = [experiment.name for experiment in data.experiments if corpus in experiment.tested]
        compared = {frozenset((pair["first"], pair["second"])) for pair in data.comparisons.get(corpus, [])}
        apart = [pair for pair in combinations(names, 2) if frozenset(pair) not in compared]
        if apart:
            shown = "; ".join(f"{first} and {second}" for first, second in apart[:5])
            more = f"; and {len(apart) - 5} more pairs" if len(apart) > 5 else ""
            found.append(f"Not compared on {corpus}, having been tested on different rows or classes: {shown}{more}.")
    return found


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def protocol_text(data: ReportData) -> list[str]:
    """How the numbers came about."""
    text = []
    modes: dict[tuple, list[ReportedExperiment]] = {}
    for experiment in data.experiments:
        modes.setdefault((experiment.settings.get("evaluation_mode"), named_protocol(experiment.entry)), []).append(
            experiment
        )
    text += [_mode_words(mode, of_mode) for (mode, _), of_mode in modes.items()]
    text += [f"{each.name}: {line}." for each in data.experiments if (line := dropped(each.entry))]
    text += _selection_text(data)
    text.append(
        "Scores are computed over the rows of all folds together (pooled) for each seed, then averaged over seeds; "
        "mean and standard deviation are over runs (seeds × folds). " + _interval_words(data)
    )
    return text


def _selection_text(data: ReportData) -> list[str]:
    """How the epochs were chosen, on which rows, and what that leaves out of account."""
    text, how = [], {}
    for experiment in data.experiments:
        key = experiment.settings.get("metric_for_best_model"), _validation(experiment)
        how.setdefault(key, []).extend(experiment.runs)
    for (metric, validation), runs in sorted(how.items(), key=lambda item: str(item[0])):
        name = str(validation).removeprefix("protocol ")
        part = {"session": "a session", "speakers": "a set of speakers", "random": "a random part"}.get(
            str(validation).removesuffix("_unstratified"), validation
        )
        rows = f"a validation part, {part} of the training rows"
        if name != str(validation):
            rows = f"the validation rows that the protocol {name} names"
        best = "lowest loss" if metric == "loss" else f"highest {METRIC_NAMES.get(metric, metric)}"
        text.append(
            f"The weights kept are those of the epoch with the {best} on {rows}, set aside before training."
            f"{_shared_speakers(validation, runs)}{ties_note(runs)} Test rows are read once, after training."
        )
    return text


def _shared_speakers(validation: str | None, runs: list[dict[str, Any]]) -> str:
    """What must be said of a validation part whose speakers are trained on."""
    parts = [run["parts"]["validation"] for run in runs]
    shared = [part.get("speakers_trained_on") for part in parts]
    if not str(validation).startswith("random") and not any(shared):
        return ""
    said = " It shares speakers with the training rows"
    counts = [(count, part["speaker_count"]) for count, part in zip(shared, parts, strict=True) if count is not None]
    if counts:
        said += f" ({sum(c for c, _ in counts)} of the {sum(n for _, n in counts)} validation speakers of all runs)"
    known = any(run["parts"]["test"].get("speakers_trained_on", 0) != 0 for run in runs)
    tested = "" if known else ", such as the tested ones"
    return f"{said}: validation scores are higher than on speakers that were not trained on{tested}."


def _mode_words(mode: str | None, experiments: list[ReportedExperiment]) -> str:
    trained = ", ".join(dict.fromkeys(" + ".join(experiment.trained_on) for experiment in experiments))
    seeds = sorted({len({run["seed"] for run in experiment.runs}) for experiment in experiments})
    folds = sorted({len({run["fold"] for run in experiment.runs}) for experiment in experiments})
    size = f"{_span(seeds, 'seed')} and {_span(folds, 'fold')}"
    if mode == "loso":
        return f"Leave one session out, {trained}: a model tests the one session that it has not seen. {size}."
    tested = ", ".join(dict.fromkeys(corpus for experiment in experiments for corpus in experiment.tested))
    named = named_protocol(experiments[0].entry)
    if named:
        return f"By {named}. Trained on {trained}; tested on {tested}. {size}."
    both = "Leave one session out, and cross-corpus" if mode == "both" else "Cross-corpus"
    return (
        f"{both}: trained on {trained}; tested on {tested}, whose rows of classes that were not trained are left out. "
        f"{size}."
    )


def _span(counts: list[int], what: str) -> str:
    return _number(counts[0], what) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {what}s"


def _interval_words(data: ReportData) -> str:
    used = {
        (t.statistics["uar"]["ci_method"], t.statistics["uar"]["ci_units"])
        for experiment in data.experiments
        for t in experiment.tested.values()
    }
    words = {
        ("bootstrap", "speakers"): "a bootstrap over speakers (2000 resamples)",
        ("jackknife", "speakers"): "leaving out a speaker at a time (jackknife, Student's t)",
        ("exact", "speakers"): "for scores of 0 or 1, Clopper and Pearson's with as many trials as speakers",
        ("jackknife", "rows"): "leaving out a row at a time, since there are fewer than five speakers: such intervals "
        "ignore that rows of one speaker are alike, and are too narrow",
    }
    named = [words.get(each, " over ".join(each)) for each in sorted(used)]
    luck = "They are for other speakers, not for other trainings: what those change shows in the spread over seeds."
    if any(t.statistics["seeds"] < 2 for experiment in data.experiments for t in experiment.tested.values()):
        luck = ONE_SEED
    return f"95 % intervals come from {'; or from '.join(named)}. {luck}"


def difficulty_text(data: ReportData) -> list[str]:
    """What difficulty is, and how to read its plots."""
    text = "Rows are sorted by difficulty and cut into buckets of equal count"
    fewer = {
        (tested.corpus, len(curve.count))
        for experiment in data.experiments
        for tested in experiment.tested.values()
        if (curve := difficulty_curve(tested)) is not None and len(curve.count) < BUCKETS
    }
    if fewer:
        text += f": {BUCKETS}, or fewer where they would hold under {ROWS_A_BUCKET} rows ("
        text += ", ".join(f"{corpus} {count}" for corpus, count in sorted(fewer)) + ")"
    found = [
        f"{text}. r is Pearson's, between a row's difficulty and the share of seeds that were right; within classes, "
        "of their differences from the class' means. p takes rows as independent. Difficulty is averaged over runs "
        "where it differs between them."
    ]
    return [_difficulty_meaning(data), *found]


def _difficulty_meaning(data: ReportData) -> str:
    """What difficulty is computed from: the true label above all."""
    of_corpus = {experiment.settings.get("difficulty_from_corpus", False) for experiment in data.experiments}
    said = []
    if False in of_corpus:
        said.append(
            "Difficulty is computed with the true label: how far a row's rated valence, arousal and dominance lie "
            "from what is expected of its class. So it is not known before the label is, and classes differ in it."
        )
        said += [
            f"On {name}, the ratings are of {card['vad_of']}."
            for name, card in data.corpora.items()
            if card.get("vad_of")
        ]
    if True in of_corpus:
        said.append("Where difficulty_from_corpus is set, difficulty is the corpus' own column.")
    return " ".join(said)


__all__ = ["caveats", "difficulty_text", "lead", "protocol_text"]
