"""The generator: its ceilings against the exact Bayes classifier, and what must be at chance."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.corpora.synthetic import CUE_WORDS
from emomm.corpora.synthetic import FILLER_WORDS
from emomm.corpora.synthetic import Generator
from emomm.corpora.synthetic import audio_bayes_accuracy
from emomm.corpora.synthetic import ceilings
from emomm.corpora.synthetic import generate
from emomm.corpora.synthetic import joint_bayes_accuracy
from emomm.corpora.synthetic import separation
from emomm.corpora.tones import PATTERNS
from emomm.errors import InputError


def load(**settings):
    return load_corpus(CorpusSpec(name="made", generator=settings))


def mean_frames(corpus):
    """(n, dim) mean over the frames; 0 where the voice is missing."""
    means = np.zeros((len(corpus), corpus.audio_dim))
    pooled = corpus.audio.pooled("mean")
    means[corpus.audio.length > 0] = [pooled[i][0] for i in np.flatnonzero(corpus.audio.length)]
    return means


def cues(corpus):
    """(n,) class of the cue word; -1 where there are no words."""
    found = [[CUE_WORDS.index(word) for word in text.split() if word in CUE_WORDS] for text in corpus.transcripts]
    assert all(len(row) == 1 for row, text in zip(found, corpus.transcripts, strict=True) if text != "[EMPTY]")
    return np.array([row[0] if row else -1 for row in found])


def bayes(corpus, generator):
    """Accuracy of the exact Bayes classifier from voice, words and both, knowing how the rows were drawn."""
    classes = len(generator.classes)
    d, p = separation(generator.audio_accuracy, classes), generator.text_accuracy
    voice = d * mean_frames(corpus)[:, :classes]
    shown = cues(corpus)
    bonus = np.log(p * (classes - 1) / (1 - p))
    words = bonus * (shown[:, None] == np.arange(classes))
    scores = {"audio": voice, "text": words, "both": voice + words}
    return {key: (score.argmax(axis=1) == corpus.label_ids).mean() for key, score in scores.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"classes": ["yes", "no"], "audio_accuracy": 0.9, "text_accuracy": 0.6, "frames": [1, 1]},
        {"classes": [f"c{i}" for i in range(7)], "audio_accuracy": 0.4, "text_accuracy": 0.85, "speaker_shift": 3.0},
    ],
)
def test_the_bayes_classifier_reaches_the_ceilings_and_no_more(settings):
    rows = 20000
    generator = Generator.from_dict("made", {"rows": rows, "audio_dim": 16, "seed": 5, **settings})
    corpus = load(rows=rows, audio_dim=16, seed=5, **settings)
    limits, reached = ceilings(generator), bayes(corpus, generator)
    assert limits["audio"] == pytest.approx(generator.audio_accuracy, abs=1e-9)
    assert limits["text"] == generator.text_accuracy
    assert limits["both"] > max(limits["audio"], limits["text"])
    for key, limit in limits.items():
        assert abs(reached[key] - limit) < 3 * np.sqrt(limit * (1 - limit) / rows), key


def test_known_values_of_the_integrals():
    # Two classes: x_y - x_other ~ N(d, 2), so the accuracy is Phi(d / sqrt 2); at d = 0 it is chance.
    assert audio_bayes_accuracy(np.sqrt(2), 2) == pytest.approx(0.8413447460685429, abs=1e-9)
    assert audio_bayes_accuracy(0.0, 4) == pytest.approx(0.25, abs=1e-9)
    # A word at chance adds nothing.
    assert joint_bayes_accuracy(1.5, 0.25, 4) == pytest.approx(audio_bayes_accuracy(1.5, 4), abs=1e-9)


def test_ceilings_count_rows_without_a_modality():
    rows = 20000
    settings = {"rows": rows, "audio_dim": 8, "missing_audio": 0.3, "missing_text": 0.2, "seed": 0}
    corpus = load(**settings)
    generator = Generator.from_dict("made", settings)
    assert (corpus.audio.length == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert np.mean([text == "[EMPTY]" for text in corpus.transcripts]) == pytest.approx(0.2, abs=0.01)
    assert not ((corpus.audio.length == 0) & np.array([text == "[EMPTY]" for text in corpus.transcripts])).any()
    limits, reached = ceilings(generator), bayes(corpus, generator)
    for key, limit in limits.items():  # ties of rows without what is looked at go to class 0: right for one in four
        assert abs(reached[key] - limit) < 3 * np.sqrt(limit * (1 - limit) / rows), key


def test_interaction_needs_both():
    spec = BUILTIN["synthetic_interaction"]
    rows = 20000
    settings = {**spec.generator, "rows": rows, "audio_dim": 8}
    corpus = load(**settings)
    voiced, shown = mean_frames(corpus)[:, :4].argmax(axis=1), cues(corpus)
    both = ((voiced + shown) % 4 == corpus.label_ids).mean()
    assert ceilings(Generator.from_dict("made", settings)) == {"audio": 0.25, "text": 0.25, "both": 0.99}
    assert abs(both - 0.99) < 3 * np.sqrt(0.99 * 0.01 / rows)
    for alone in (voiced, shown):  # the best guess from one side is any fixed table: every cell is at chance
        cells = np.zeros((4, 4))
        np.add.at(cells, (alone, corpus.label_ids), 1)
        shares = cells / cells.sum(axis=1, keepdims=True)
        assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / (rows / 4))


def test_builtin_corpora_have_the_promised_shape():
    corpus = load_corpus(BUILTIN["synthetic"])
    card = corpus.card()
    assert (len(corpus), card["speakers"], len(card["sessions"])) == (2000, 10, 5)
    assert corpus.labels == ["neutral", "happy", "sad", "anger"] and corpus.audio_dim == 64
    assert set(corpus.audio.length) == set(range(3, 9))
    assert {len(text.split()) for text in corpus.transcripts} == set(range(4, 11))
    assert set(np.unique(corpus.sessions)) == {"1", "2", "3", "4", "5"}
    for speaker in np.unique(corpus.speakers):  # a speaker belongs to one session
        assert len(np.unique(corpus.sessions[corpus.speakers == speaker])) == 1
    assert not np.isnan(corpus.vad).any() and corpus.vad.min() >= 1 and corpus.vad.max() <= 5
    happy = corpus.vad[corpus.label_ids == 1].mean(axis=0)
    assert happy == pytest.approx([4.0, 3.8, 3.8], abs=0.1)
    assert load_corpus(BUILTIN["synthetic"]).fingerprint == corpus.fingerprint
    assert load(seed=1).fingerprint != corpus.fingerprint


def test_frames_have_the_mean_of_their_class_and_speakers_shift_other_dimensions_only():
    corpus = load(rows=5000, audio_dim=12, speakers=5, speaker_shift=2.0, frames=[2, 6])
    means = mean_frames(corpus)
    d = separation(0.75, 4)
    for label in range(4):
        assert means[corpus.label_ids == label][:, :4].mean(axis=0) == pytest.approx(d * np.eye(4)[label], abs=0.12)
    for frames in (2, 6):  # as noisy a mean with two frames as with six
        rows = (corpus.audio.length == frames) & (corpus.label_ids == 0)
        assert means[rows][:, 1:4].std() == pytest.approx(1.0, abs=0.08)
    speakers = np.stack([means[corpus.speakers == speaker].mean(axis=0) for speaker in np.unique(corpus.speakers)])
    spread = np.ptp(speakers, axis=0)
    assert spread[:4].max() < 0.35 and np.median(spread[4:]) > 2


def test_missing_ratings_are_missing():
    corpus = load(rows=4000, audio_dim=4, missing_vad=0.25, vad_noise=0.0)
    unrated = np.isnan(corpus.vad)
    assert (unrated.all(axis=1) == unrated.any(axis=1)).all()
    assert unrated.mean() == pytest.approx(0.25, abs=0.025)
    sad = corpus.vad[(corpus.label_ids == 2) & ~unrated[:, 0]]
    assert (sad == np.array([1.8, 2.2, 2.0], np.float32)).all()


def test_words_are_told_apart():
    assert len(set(CUE_WORDS)) == 20 and len(set(FILLER_WORDS)) == len(FILLER_WORDS)
    assert not set(CUE_WORDS) & set(FILLER_WORDS)


def test_raw_table_is_the_same_from_the_same_seed_and_big_ones_are_quick():
    first, second = generate(Generator(rows=300)), generate(Generator(rows=300))
    assert first.equals(second) and isinstance(first, pa.Table)
    assert generate(Generator(rows=100_000, audio_dim=8)).num_rows == 100_000


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"row": 10}, "did you mean 'rows'"),
        ({"kind": "joint"}, "independent, interaction, tones"),
        ({"kind": "tones", "classes": list("abcdef")}, "2 to 5 class names where kind is 'tones'"),
        ({"rows": 0}, "rows is 0"),
        ({"rows": 10.0}, "rows is 10.0"),
        ({"classes": ["one"]}, "2 to 20"),
        ({"classes": "abc"}, "list of class names"),
        ({"frames": [5, 2]}, r"frames is \(5, 2\)"),
        ({"words": 3}, "words is 3"),
        ({"audio_accuracy": 0.25}, r"above chance \(0.250\)"),
        ({"audio_accuracy": 1.0}, "below 1"),
        ({"text_accuracy": 0.1}, "text_accuracy is 0.1"),
        ({"kind": "interaction"}, "text_accuracy is 0.7; it must be 1"),
        ({"missing_text": 1.5}, "from 0 to 1"),
        ({"missing_text": 0.6, "missing_audio": 0.5}, "at most 1 - missing_audio, 0.5"),
        ({"missing_vad": True}, "missing_vad is True"),
        ({"vad_noise": float("nan")}, "vad_noise is nan"),
        ({"sessions": 20}, "at most the number of speakers, 10"),
        ({"audio_dim": 3}, "audio_dim is 3; it must be at least 4"),
        ({"audio_dim": 4, "speaker_shift": 1.0}, "at least 5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_settings_are_refused(settings, told):
    with pytest.raises(InputError, match=told) as caught:
        CorpusSpec(name="made", generator=settings)
    assert "made" in str(caught.value)


def order_of_tones(wav):
    """The pattern of a recording, by its spectrum: "L" and "H" of four quarters of what is loud."""
    samples, rate = soundfile.read(io.BytesIO(wav))
    frames = np.lib.stride_tricks.sliding_window_view(samples, 320)[::80] * np.hanning(320)
    spectrum = np.abs(np.fft.rfft(frames)) ** 2  # 50 Hz apart
    low, high = spectrum[:, 6:11].sum(axis=1), spectrum[:, 27:38].sum(axis=1)  # of 300-500 and 1350-1850 Hz
    heard = np.flatnonzero(np.maximum(low, high) > 0.2 * np.maximum(low, high).max())
    parts = np.array_split((high > low)[heard[0] : heard[-1] + 1], 4)
    return rate, "".join("LH"[round(part.mean())] for part in parts)


def test_tones_and_words_reach_their_ceilings_by_what_they_say():
    rows, settings = 1200, {**BUILTIN["synthetic_tones"].generator, "missing_audio": 0.1, "missing_text": 0.05}
    generator = Generator.from_dict("made", {**settings, "rows": rows})
    table = generate(generator)
    label = np.array([generator.classes.index(name) for name in table["label"].to_pylist()])
    heard = [None if row is None else order_of_tones(row["bytes"]) for row in table["audio"].to_pylist()]
    assert {rate for rate, _ in filter(None, heard)} == {16000}
    voice = np.array([PATTERNS.index(found[1]) if found else -1 for found in heard])
    texts = [(text or "").split() for text in table["transcript"].to_pylist()]
    words = np.array([next((CUE_WORDS.index(word) for word in text if word in CUE_WORDS), -1) for text in texts])
    assert (voice == -1).mean() == pytest.approx(0.1, abs=0.02)
    said = {"audio": np.where(voice < 4, voice, -1), "text": words}
    said["both"] = np.where(said["audio"] >= 0, said["audio"], words)
    for key, found in said.items():
        assert (found == label)[found >= 0].all()  # what is said is right
        limit = ceilings(generator)[key]
        reached = (found == label).mean() + (found < 0).mean() / 4
        assert abs(reached - limit) < 3 * np.sqrt(limit * (1 - limit) / rows), key
    limits = ceilings(Generator.from_dict("made", BUILTIN["synthetic_tones"].generator))
    assert limits == pytest.approx({"audio": 0.85, "text": 0.7, "both": 0.94})


def test_order_alone_tells_the_class_of_tones():
    assert len(PATTERNS) == len(set(PATTERNS)) == 6 and all(sorted(pattern) == [*"HHLL"] for pattern in PATTERNS)
    first, again = (generate(Generator(kind="tones", rows=40)) for _ in range(2))
    assert first.equals(again) and not first.equals(generate(Generator(kind="tones", rows=40, seed=1)))
