"""The numbers of a model card: an experiment's results as the rows of its tables."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from ..corpora.spec import CorpusSpec
from ..evaluation.metrics import SCALARS
from ..evaluation.metrics import emotion_scores
from ..evaluation.metrics import mean_and_std
from ..evaluation.predictions import PooledRows
from ..evaluation.selection import scored_by
from ..evaluation.test_parts import tested_corpus
from ..floors.words import below_line
from ..floors.words import below_mark
from ..floors.words import comparison
from ..floors.words import floors_of
from ..floors.words import in_order
from ..floors.words import short_name
from ..reporting.audit_words import audit_lines
from ..reporting.protocol_words import dropped
from ..reporting.protocol_words import known_recordings
from ..reporting.protocol_words import known_speakers
from ..reporting.protocol_words import named_protocol
from ..reporting.protocol_words import overlap_mark
from ..reporting.protocol_words import overlaps
from ..reporting.protocol_words import unseen_sentences
from ..reporting.score_words import METRIC_NAMES
from ..reporting.score_words import ONE_SEED
from ..reporting.score_words import decisions_note
from ..reporting.score_words import in_words
from ..reporting.score_words import lacking_note
from ..reporting.score_words import score_rows
from ..reporting.search_words import chosen_with_test_rows
from ..reporting.search_words import searched_sentence
from ..settings.settings import Settings
from .compared import Choices

_VALIDATION = {
    "session": "a whole session of the training corpus",
    "speakers": "{:g} of the training speakers",
    "random": "{:g} of the training rows, of the same speakers",
    "random_unstratified": "{:g} of the training rows, of the same speakers, whatever their class",
}
_METHODS = {
    "bootstrap": "from a bootstrap over speakers",
    "jackknife": "for so few speakers by a jackknife over speakers with Student's t",
}
MIXED = "‡"


@dataclass
class CardFacts:
    """What a card is made of.

    Args:
        hub_model_id: `user/name`.
        entry: the experiment in results.json, with its statistics.
        settings: of the experiment.
        specs: of its corpora, by name.
        pooled: predictions by test corpus, from `results.pooled_predictions`.
        model: `metrics.json` of the model that is pushed: the final one, or that of a fold.
        config: its `config.json`.
        environment, job_environment: versions and hardware of that training, and of the job that gave the numbers.
        genders: {corpus: {speaker: gender}}, where known.
        figures: (path in the repository, what it shows).
        pool_size: rows that the curriculum had let in when the model's training ended; None where that is not known.
        license: of the model, where one was given.
        adapter_only: the adapters are pushed in place of the encoders.
        choices: what validation chooses among the experiments of its job, {corpus: choice} (see `selection`).
        gains: what a search for its settings brought, sentences.
    """

    hub_model_id: str
    entry: dict[str, Any]
    settings: Settings
    specs: Mapping[str, CorpusSpec]
    pooled: Mapping[str, PooledRows]
    model: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    job_environment: dict[str, Any]
    genders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    figures: Sequence[tuple[str, str]] = ()
    pool_size: int | None = None
    license: str | None = None
    choices: Choices = field(default_factory=dict)
    adapter_only: bool = False
    gains: Sequence[str] = ()

    @property
    def is_final(self) -> bool:
        """Whether the model was trained once more on all sessions, so that it is none of those that were tested."""
        return not self.model["test"]

    @property
    def tested(self) -> list[str]:
        """The test corpora; of several test parts of one, each: `MSPP:test1`."""
        return list(self.entry["statistics"])

    @property
    def tested_corpora(self) -> list[str]:
        """The corpora that they are of."""
        return list(dict.fromkeys(map(self.corpus_of, self.tested)))

    def corpus_of(self, tested: str) -> str:
        """The corpus of what was tested."""
        return tested_corpus(tested, self.corpora)

    @property
    def corpora(self) -> dict[str, dict[str, Any]]:
        """What results.json says of each corpus."""
        return {corpus["name"]: corpus for corpus in self.entry["corpora"]}


def count(number: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def protocol_of(facts: CardFacts, corpus: str) -> str:
    """How a corpus was tested, in words."""
    named = facts.entry.get("protocol")
    if named:
        return f"own protocol {named['name']}" if named.get("own", True) else f"protocol {named['name']}"
    return "leave one session out" if corpus in facts.settings.training_corpora else "cross-corpus"


def protocol(facts: CardFacts) -> list[str]:
    """How the numbers came about, in words: a line each."""
    settings, lines, named = facts.settings, [], named_protocol(facts.entry)
    trained = in_words(settings.training_corpora)
    if named:
        folds = count(len({run["fold"] for run in facts.entry["runs"]}), "fold")
        lines.append(
            f"By {named}. Trained on rows of {trained}, tested on rows of {in_words(facts.tested)}: {folds}, with "
            f"{count(len(settings.seeds), 'seed')}."
        )
    if settings.evaluation_mode in ("loso", "both"):
        folds = len({run["fold"] for run in facts.entry["runs"]} - {"cross-corpus"})
        lines.append(
            f"Leave one session out: each of the {folds} sessions of {trained} is tested by models that were trained "
            f"on the others, with {count(len(settings.seeds), 'seed')}."
        )
    if settings.evaluation_mode in ("cross_corpus", "both"):
        other = [corpus for corpus in facts.tested if corpus not in settings.training_corpora]
        lines.append(
            f"Cross-corpus: trained on {trained}, tested on all rows of {in_words(other)}, with "
            f"{count(len(settings.seeds), 'seed')}."
        )
    held_out = _VALIDATION[settings.validation].format(settings.validation_fraction)
    if named and facts.entry["protocol"]["names_validation"]:
        held_out = "validation rows that the protocol names"
    known = all(_knows_speakers(said) for said in facts.entry["statistics"].values())
    metric = {"uar": "UAR", "loss": "loss"}.get(settings.metric_for_best_model, settings.metric_for_best_model)
    lines.append(
        f"The epoch is chosen by {metric} on {held_out}; test rows are read once, after training"
        + (", and no tested speaker is trained on." if known and not overlaps(facts.entry) else ".")
    )
    lines += [f"{said[:1].upper()}{said[1:]}."] if (said := dropped(facts.entry)) else []
    lines += [said for _, said in speaker_warnings(facts)]
    lines += [searched_sentence(facts.entry["searched"])] if "searched" in facts.entry else []
    return lines + [f"{line}." for line in facts.entry.get("shared_rows", [])]


def all_rows(facts: CardFacts) -> str:
    """What the final model is trained on."""
    corpora = in_words(facts.settings.training_corpora)
    named = facts.entry.get("protocol")
    return f"all rows of {corpora} that the protocol uses" if named else f"all sessions of {corpora}"


def whose_numbers(facts: CardFacts) -> str:
    """Of which models the numbers are, in words."""
    if facts.is_final and facts.settings.evaluation_mode == "cross_corpus":
        return (
            f"These numbers come from {count(len(facts.entry['runs']), 'run')} with a part of the training corpora "
            "held out for validation. The model here is none of those: it was trained once more, on all rows of "
            f"{in_words(facts.settings.training_corpora)}, and has not been tested itself."
        )
    if facts.is_final:
        return (
            "These numbers come from the folds. The model here is none of those that were tested: it was trained once "
            f"more, on {all_rows(facts)}, and has not been tested itself."
        )
    return (
        f"The model here is one of {count(len(facts.entry['runs']), 'run')}: seed {facts.model['seed']}, fold "
        f"{facts.model['fold']}, the one with the highest {_chosen_by(facts)} on its validation rows. The numbers are "
        "those of all runs."
    )


def _chosen_by(facts: CardFacts) -> str:
    """The validation score that chose the run."""
    return METRIC_NAMES[scored_by(facts.settings.metric_for_best_model)]


def result_rows(facts: CardFacts, corpus: str) -> list[dict[str, Any]]:
    """The lines of a corpus: one, or where it lacks classes one for each decision (see `decisions`)."""
    summary, said = facts.entry["summary"][corpus], facts.entry["statistics"][corpus]
    mixed = MIXED if said.get("folds_lacking_classes") else ""
    found = []
    for row in score_rows(corpus, summary, said):
        recall = row.figures["recall"] if row.decision else said["recall"]
        calibrated = row.decision != "shared"
        found.append(
            {
                "corpus": row.tested_on + overlap_mark(facts.entry),
                "rows": said["rows"],
                "speakers": said["speakers"] if _knows_speakers(said) else "not known",
                **{metric: _with_interval(row.figures[metric]) for metric in SCALARS},
                "spread": mean_and_std(row.figures["uar"]) + mixed,
                "runs": sum(corpus in run["test"] for run in facts.entry["runs"]),
                "ece": _with_interval({"pooled": said["ece"], "ci95": said["ece_ci95"]}) if calibrated else "–",
                "brier": _with_interval({"pooled": said["brier"], "ci95": said["brier_ci95"]}) if calibrated else "–",
                "recalls": [
                    "does not occur" if recall.get(label) is None else _with_interval(recall[label])
                    for label in facts.entry["labels"]
                ],
            }
        )
    return found


def floor_rows(facts: CardFacts) -> list[list[str]]:
    """UAR of the floors in each corpus, the first row their names; [] where there are none. Of two decisions, that
    among all classes."""
    of_corpora = {corpus: floors_of(facts.entry, corpus) for corpus in facts.tested}
    names = in_order(name for floors in of_corpora.values() for name in floors)
    if not names:
        return []
    rows = [["tested on", *(short_name(name) for name in names), "this experiment minus its floor"]]
    for corpus, floors in of_corpora.items():
        found = comparison(facts.entry, corpus)
        difference = "–" if found is None else f"{found['difference']:+.3f}"
        if found is not None and found["ci95"] is not None:
            difference += " [{:+.3f}, {:+.3f}]".format(*found["ci95"])
        cells = [_with_interval(floors[name]["uar"]) if name in floors else "–" for name in names]
        rows.append([corpus, *cells, difference])
    return rows


def floor_warnings(facts: CardFacts) -> list[tuple[str, str]]:
    """Of an experiment that is clearly below its floor."""
    below = [below_line(facts.entry, corpus) for corpus in facts.tested if below_mark(facts.entry, corpus) == "below"]
    return [("A simpler model does better.", f"The experiment is {line}.") for line in below]


def speaker_warnings(facts: CardFacts) -> list[tuple[str, str]]:
    """Of a protocol that trains on tested speakers or recordings, or may."""
    titles = {known_speakers(facts.entry): "Known speakers.", known_recordings(facts.entry): "Known recordings."}
    return [
        (titles.get(said, "Unknown speakers."), f"{said[:1].upper()}{said[1:]}.") for said in overlaps(facts.entry)
    ]


def search_warnings(facts: CardFacts) -> list[tuple[str, str]]:
    """Of settings that were chosen with test rows at hand."""
    chosen = chosen_with_test_rows(facts.entry)
    return [("Settings chosen with test rows.", searched_sentence(facts.entry["searched"]))] if chosen else []


def audit_warnings(facts: CardFacts) -> list[tuple[str, str]]:
    """What the audit before the job has found in its data and split."""
    return [("Found by the audit.", f"{said[:1].upper()}{said[1:]}.") for said in audit_lines(facts.entry)]


def score_notes(facts: CardFacts) -> list[str]:
    """What must be known to read the scores, besides what holds for any: of whom they speak, and what they mix."""
    statistics = facts.entry["statistics"]
    spread = {corpus: facts.entry["summary"][corpus]["uar"]["std_over_seeds"] for corpus in facts.tested}
    notes = [ONE_SEED]
    if None not in spread.values():
        notes = [
            "Intervals are for other speakers, not for other trainings: what those change is in the standard "
            "deviation of the pooled UAR over the seeds, "
            + in_words([f"{std:.3f} ({corpus})" for corpus, std in spread.items()])
            + "."
        ]
    unseen = (unseen_sentences(corpus, statistics[corpus]) for corpus in facts.tested)
    notes += [f"{said[:1].upper()}{said[1:]}." for said in unseen if said]
    notes += [note for corpus in facts.tested if (note := decisions_note(corpus, statistics[corpus]))]
    notes += [f"{MIXED} {note}" for corpus in facts.tested if (note := lacking_note(corpus, statistics[corpus]))]
    return notes


def vad_rows(facts: CardFacts) -> list[list[str]]:
    """Concordance and error of valence, arousal and dominance, of a model that gives them."""
    return [
        [corpus, name, str(found["n"]), _with_interval(found["ccc"]), f"{found['rmse']['pooled']:.3f}"]
        for corpus in facts.tested
        for name, found in facts.entry["statistics"][corpus].get("vad", {}).items()
    ]


def _with_interval(figures: dict[str, Any]) -> str:
    interval = figures["ci95"]
    return f"{figures['pooled']:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _scores(rows: PooledRows, chosen: np.ndarray) -> list[dict[str, Any]]:
    """The scores of some rows, for each seed that tested any of them."""
    found = []
    for predicted in rows.predictions:
        tested = chosen & (predicted >= 0)
        if tested.any():
            found.append(emotion_scores(rows.references[tested], predicted[tested], rows.labels))
    return found


def interval_note(facts: CardFacts) -> str:
    """Where the intervals come from, in words."""
    notes = []
    for corpus in facts.tested:
        said = facts.entry["summary"][corpus]["uar"]
        if said["ci95"] is None:
            notes.append(f"none for {corpus}, where it can't be given")
        elif said["ci_units"] == "speakers":
            notes.append(_METHODS.get(said["ci_method"], said["ci_method"]))
        else:
            notes.append(f"for {corpus} over rows, which ignores that rows of one speaker are alike: it is too narrow")
    return "; ".join(dict.fromkeys(notes))


def _knows_speakers(said: dict[str, Any]) -> bool:
    return not all(name.endswith("/unknown") for name in said["by_speaker"])


def by_speaker(facts: CardFacts) -> list[list[str]]:
    """UAR over speakers, where there are several; nobody is named."""
    table = []
    for corpus in facts.tested:
        said = facts.entry["statistics"][corpus]
        if _knows_speakers(said) and len(said["by_speaker"]) > 1:
            uar = [of_speaker["uar"] for of_speaker in said["by_speaker"].values()]
            table.append([corpus, str(len(uar)), *(f"{x:.3f}" for x in (min(uar), float(np.median(uar)), max(uar)))])
    return table


def by_gender(facts: CardFacts) -> list[list[str]]:
    """UAR and accuracy by gender, where it is known, averaged over the seeds."""
    table = []
    for corpus in facts.tested:
        rows, known = facts.pooled[corpus], facts.genders.get(facts.corpus_of(corpus), {})
        genders = np.array([known.get(speaker, "") for speaker in rows.speakers])
        for gender in sorted(set(genders.tolist()) - {""}):
            chosen = genders == gender
            scores = _scores(rows, chosen)
            figures = [f"{np.mean([each[metric] for each in scores]):.3f}" for metric in ("uar", "accuracy")]
            people = len(np.unique(rows.speakers[chosen]))
            table.append([corpus, gender, str(people), str(int(chosen.sum())), *figures])
    return table


__all__ = [
    "CardFacts",
    "all_rows",
    "audit_warnings",
    "by_gender",
    "by_speaker",
    "count",
    "interval_note",
    "protocol",
    "protocol_of",
    "result_rows",
    "score_notes",
    "search_warnings",
    "speaker_warnings",
    "vad_rows",
    "whose_numbers",
]
