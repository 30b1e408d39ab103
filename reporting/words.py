"""The words of a report: its lead, what must be known first, how the numbers came about."""

from itertools import combinations

from ..contamination import contamination
from .data import ReportData
from .data import ReportedExperiment
from .findings import BUCKETS
from .findings import ROWS_A_BUCKET
from .findings import difficulty_curve


def lead(data: ReportData) -> str:
    """What it comes to, in a sentence or two."""
    runs = sum(len(each.runs) for each in data.experiments)
    parts = [f"{_number(len(data.experiments), 'experiment')}, {_number(runs, 'run')}."]
    for corpus in data.tested_corpora:
        having = [each for each in data.experiments if corpus in each.tested]
        most = max(each.tested[corpus].statistics["rows"] for each in having)
        having = [each for each in having if each.tested[corpus].statistics["rows"] == most]  # others are under way
        best = max(having, key=lambda each: each.tested[corpus].statistics["uar"]["pooled"])
        found = best.tested[corpus].statistics
        bounds = found["uar"]["ci95"]
        interval = "" if bounds is None else f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})"
        what = f"Highest UAR on {corpus}" if len(having) > 1 else f"UAR on {corpus}"
        rows = f"{found['rows']} rows, {_number(found['speakers'], 'speaker')}"
        parts.append(f"{what} ({rows}): {found['uar']['pooled']:.3f}{interval}, {best.name}.")
    return " ".join(parts)


def caveats(data: ReportData) -> list[str]:
    """What a reader must know first."""
    found = []
    for name, card in data.corpora.items():
        warning = contamination(name, card["extractor"], card.get("speech_encoder"))
        found += [text for text in (card["caveat"], warning) if text]
    for label, job in data.jobs.items():
        for entry in job["experiments"]:
            if not any(run["status"] == "done" for run in entry["runs"]):
                found.append(f"{label}, {entry['name']}: no run is done, so it is not shown.")
    found += [f"{each.name}: no result of {reason}." for each in data.experiments for reason in each.failed]
    for each in data.experiments:
        for tested in each.tested.values():
            untested = int((~tested.rows.complete).sum())
            if untested:
                seeds = _number(untested, "seed has", "seeds have")
                found.append(f"{each.name}, {tested.corpus}: {seeds} not tested every row that others have.")
    return found + _not_compared(data)


def _not_compared(data: ReportData) -> list[str]:
    """Which experiments no paired test can tell apart, since they were not tested on the same rows."""
    found = []
    for corpus in data.tested_corpora:
        names = [each.name for each in data.experiments if corpus in each.tested]
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
    for mode in dict.fromkeys(each.settings.get("evaluation_mode") for each in data.experiments):
        of_mode = [each for each in data.experiments if each.settings.get("evaluation_mode") == mode]
        text.append(_mode_words(mode, of_mode))
    chosen = {
        (each.settings.get("metric_for_best_model"), each.settings.get("validation")) for each in data.experiments
    }
    for metric, validation in sorted(chosen, key=str):
        part = {"session": "a session", "speakers": "a set of speakers", "random": "a random part"}.get(
            str(validation).removesuffix("_unstratified"), validation
        )
        best = "lowest loss" if metric == "loss" else f"highest {str(metric).replace('uar', 'UAR')}"
        text.append(
            f"The weights kept are those of the epoch with the {best} on a validation part, {part} of the training "
            "rows, set aside before training. Test rows are read once, after it."
        )
    text.append(
        "Scores are computed over the rows of all folds together (pooled) for each seed, then averaged over seeds; "
        "mean and standard deviation are over runs (seeds × folds). " + _interval_words(data)
    )
    return text


def _mode_words(mode: str | None, experiments: list[ReportedExperiment]) -> str:
    trained = ", ".join(dict.fromkeys(" + ".join(each.trained_on) for each in experiments))
    seeds = sorted({len({run["seed"] for run in each.runs}) for each in experiments})
    folds = sorted({len({run["fold"] for run in each.runs}) for each in experiments})
    size = f"{_span(seeds, 'seed')} and {_span(folds, 'fold')}"
    if mode == "loso":
        return f"Leave one session out, {trained}: a model tests the one session that it has not seen. {size}."
    tested = ", ".join(dict.fromkeys(corpus for each in experiments for corpus in each.tested))
    return f"Cross-corpus: trained on {trained}; tested on {tested}, in the classes that both know. {size}."


def _span(counts: list[int], what: str) -> str:
    return _number(counts[0], what) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {what}s"


def _interval_words(data: ReportData) -> str:
    used = {
        (t.statistics["uar"]["ci_method"], t.statistics["uar"]["ci_units"])
        for each in data.experiments
        for t in each.tested.values()
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
    return f"95 % intervals come from {'; or from '.join(named)}. {luck}"


def difficulty_text(data: ReportData) -> str:
    """How to read the difficulty plots."""
    text = "Rows are sorted by difficulty and cut into buckets of equal count"
    fewer = {
        (tested.corpus, len(curve.count))
        for each in data.experiments
        for tested in each.tested.values()
        if (curve := difficulty_curve(tested)) is not None and len(curve.count) < BUCKETS
    }
    if fewer:
        text += f": {BUCKETS}, or fewer where they would hold under {ROWS_A_BUCKET} rows ("
        text += ", ".join(f"{corpus} {count}" for corpus, count in sorted(fewer)) + ")"
    return (
        f"{text}. r is Pearson's, between a row's difficulty and the share of seeds that were right; its p takes rows "
        "as independent. Difficulty is averaged over runs where it differs between them."
    )


__all__ = ["caveats", "difficulty_text", "lead", "protocol_text"]
