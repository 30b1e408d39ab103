"""What `emomm audit` finds of leaks that were planted, and how often it cries wolf.

    python benchmarks/audit_alarms.py [--json] [--seeds 50] [--rows 1000]

For each seed a clean synthetic corpus, left session by session: each problem that is found there is a false alarm.
Then the same corpus with one leak of each kind planted: found is the check that must see it.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from measuring import Benchmark
from measuring import parser

from emomm.audit.audited import Audit
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.corpus import Corpus
from emomm.corpora.loading import load_corpus
from emomm.evaluation.folds import plan_folds
from emomm.experiments.auditing import audit_experiment
from emomm.experiments.data import ExperimentData
from emomm.features.sequences import Sequences
from emomm.settings.settings import Settings

SHARE = 0.2  # of rows whose transcript is another's


def clean(seed: int, rows: int = 1000, audio_dim: int = 64) -> Corpus:
    """A synthetic corpus in which nothing leaks."""
    generator = {"rows": rows, "seed": seed, "audio_dim": audio_dim}
    return load_corpus(resolve_specs({"synthetic": {"generator": generator}}, {})["synthetic"])


def renamed_speaker(corpus: Corpus, rng: np.random.Generator) -> Corpus:
    """The recordings of a speaker are there again, in another session and under another name."""
    names, sessions = np.unique(corpus.speakers), np.unique(corpus.sessions)
    theirs = np.flatnonzero(corpus.speakers == names[0])
    joined = corpus.select(np.concatenate([np.arange(len(corpus)), theirs]))
    ids, speakers, places = (
        getattr(joined, name).astype(object) for name in ("utterance_ids", "speakers", "sessions")
    )
    ids[len(corpus) :] = [f"again-{name}" for name in corpus.utterance_ids[theirs]]
    speakers[len(corpus) :] = f"{corpus.name}/somebody"
    places[len(corpus) :] = sessions[sessions != corpus.sessions[theirs[0]]][0]
    return dataclasses.replace(joined, utterance_ids=ids, speakers=speakers, sessions=places)


def repeated_transcripts(corpus: Corpus, rng: np.random.Generator) -> Corpus:
    """Some rows say what a row of another speaker says."""
    said = list(corpus.transcripts)
    for row in rng.choice(len(corpus), int(SHARE * len(corpus)), replace=False):
        said[row] = corpus.transcripts[rng.choice(np.flatnonzero(corpus.sessions != corpus.sessions[row]))]
    return dataclasses.replace(corpus, transcripts=said)


def told_by_duration(corpus: Corpus, rng: np.random.Generator) -> Corpus:
    """The rows of a class are cut to half their length."""
    lengths = corpus.audio.length.copy()
    lengths[corpus.label_ids == 0] = np.maximum(lengths[corpus.label_ids == 0] // 2, 1)
    audio = Sequences(corpus.audio.parts, corpus.audio.part, corpus.audio.start, lengths)
    return dataclasses.replace(corpus, audio=audio)


def noisy_duplicate(corpus: Corpus, rng: np.random.Generator) -> Corpus:
    """One row is there again in another session, under noise of 40 dB SNR, and by the name of one who speaks there."""
    row = int(rng.integers(len(corpus)))
    other = int(rng.choice(np.flatnonzero(corpus.sessions != corpus.sessions[row])))
    signal = corpus.audio[row].astype(np.float32)
    noise = rng.standard_normal(signal.shape) * np.sqrt(np.mean(signal**2)) * 10 ** (-40 / 20)
    joined = corpus.select(np.append(np.arange(len(corpus)), row))
    ids, speakers, places = (
        getattr(joined, name).astype(object) for name in ("utterance_ids", "speakers", "sessions")
    )
    ids[-1], speakers[-1], places[-1] = "again", corpus.speakers[other], corpus.sessions[other]
    copy = Sequences.from_arrays((signal + noise).astype(np.float32), [len(signal)])
    audio = Sequences.concatenate([corpus.audio, copy])
    return dataclasses.replace(joined, utterance_ids=ids, speakers=speakers, sessions=places, audio=audio)


PLANTED: dict[str, tuple[Callable[[Corpus, np.random.Generator], Corpus], str]] = {
    "a renamed speaker": (renamed_speaker, "renamed speakers"),
    "repeated transcripts": (repeated_transcripts, "sentences"),
    "a class told by duration": (told_by_duration, "shortcuts"),
    "a duplicate at 40 dB SNR": (noisy_duplicate, "near-duplicates"),
}
"""What is planted -> how, and the check that must find it."""


def audited(corpus: Corpus) -> Audit:
    """The audit of a corpus left session by session."""
    settings = Settings(name="audited", train_dataset="synthetic", modality="both")
    data = ExperimentData(settings, [corpus], [])
    folds = plan_folds(data.tables([corpus]), [], "loso", "random", 0.2, 1)
    return audit_experiment(data, {1: folds}, "audited")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=50)
    options.add_argument("--rows", type=int, default=1000)
    given = options.parse_args()
    alarms: list[str] = []
    found = dict.fromkeys(PLANTED, 0)
    with Benchmark(__file__, given) as figures:
        for seed in range(given.seeds):
            corpus, rng = clean(seed, given.rows), np.random.default_rng(seed)
            alarms += [f"seed {seed}: {each.text}" for each in audited(corpus).problems]
            for name, (plant, check) in PLANTED.items():
                found[name] += any(each.check == check for each in audited(plant(corpus, rng)).problems)
        for name, count in found.items():
            figures.add(name, **{"found in": count, "of corpora": given.seeds})
        figures.add("false alarms", **{"found in": len(alarms), "of corpora": given.seeds})
        for alarm in alarms:
            figures.note(alarm)


if __name__ == "__main__":
    main()
