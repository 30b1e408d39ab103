"""Leaks that are planted are found, and nothing in clean data; what a corpus gives away by itself."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from emomm.audit.audited import AuditedFold
from emomm.audit.audited import AuditedRows
from emomm.audit.auditing import audit
from emomm.features.sequences import Sequences

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from audit_alarms import PLANTED  # noqa: E402
from audit_alarms import audited  # noqa: E402
from audit_alarms import clean  # noqa: E402


@pytest.fixture(scope="module")
def corpora():
    return [clean(seed, 400, 32) for seed in range(3)]


def test_nothing_is_found_in_clean_corpora(corpora):
    assert [each.text for corpus in corpora for each in audited(corpus).problems] == []


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(corpora, name):
    plant, check = PLANTED[name]
    for seed, corpus in enumerate(corpora):
        found = audited(plant(corpus, np.random.default_rng(seed)))
        assert check in [each.check for each in found.problems]
        # A recording that is there again has its words again, and its voice under the other's name.
        copied = {"recordings", "sentences", "renamed speakers"} if "a " in name and "class" not in name else set()
        assert {each.check for each in found.problems} <= {check} | copied


def test_the_numbers_of_the_planted(corpora):
    plant, _ = PLANTED["a renamed speaker"]
    found = {each.check: each for each in audited(plant(corpora[0], np.random.default_rng(0))).problems}
    assert found["renamed speakers"].numbers == {"times": 40, "pairs": 1}
    assert "synthetic/1 and synthetic/somebody" in found["renamed speakers"].text
    assert found["recordings"].numbers == {"rows": 80, "tested": 440}
    plant, _ = PLANTED["a duplicate at 40 dB SNR"]
    found = {each.check: each for each in audited(plant(corpora[0], np.random.default_rng(0))).problems}
    assert (
        found["near-duplicates"].numbers == {"rows": 2, "tested": 401} and "'again'" in found["near-duplicates"].text
    )


def rows(count: int = 24, **changes) -> AuditedRows:
    """Four speakers, two classes, all else unknown."""
    whole = AuditedRows(
        np.full(count, "mine"),
        np.arange(count) // 4 % 2,
        ("calm", "loud"),
        np.array([f"mine/{i % 4}" for i in range(count)]),
        np.full(count, "unknown"),
        np.zeros(count, bool),
        np.array([f"u{i}" for i in range(count)]),
        np.full(count, -1),
        np.full(count, -1),
        np.full((count, 3), np.nan),
    )
    return dataclasses.replace(whole, **changes)


def fold(train, test, validation=(), name="1") -> AuditedFold:
    parts = {"training": train, "validation": validation, "test": test}
    return AuditedFold(name, {part: np.array(chosen, np.int64) for part, chosen in parts.items()})


def problems(whole: AuditedRows, *folds: AuditedFold) -> dict:
    return {each.check: each for each in audit("mine", whole, folds).problems}


def test_each_pair_of_parts_is_counted():
    sentences = np.arange(24)
    sentences[20] = sentences[0]
    whole = rows(sentences=sentences)
    found = audit("mine", whole, [fold(range(12), range(16, 24), range(12, 16))])
    (train_validation, train_test, validation_test) = found.pairs
    assert train_validation["parts"] == ["training", "validation"] and train_test["rows"] == 8
    assert train_test["speakers"] == ["mine/0", "mine/1", "mine/2", "mine/3"] and train_test["of_speakers"] == 4
    assert (train_test["sentences"], validation_test["sentences"]) == (1, 0)
    assert found.parts[0]["classes"] == {"calm": 8, "loud": 4}
    (told,) = [each for each in found.problems if each.check == "speakers"]
    assert told.text.startswith("4 of 4 tested speakers have training or validation rows: mine/0, mine/1, mine/2")


def test_names_that_are_written_alike_on_two_sides():
    names = np.array(["mine/Ses 01"] * 12 + ["mine/ses_1"] * 12)
    found = problems(rows(speakers=names), fold(range(12), range(12, 24)))
    assert "'mine/Ses 01' trains, 'mine/ses_1' is tested" in found["speaker names"].text
    assert "speakers" not in found
    ids = np.array([f"a/{i}.wav" for i in range(12)] + [f"A\\{i}.WAV" for i in range(10)] + ["x", "y"])
    found = problems(rows(utterance_ids=ids), fold(range(12), range(12, 24)))
    assert found["utterance ids"].numbers == {"rows": 10, "tested": 12}


def test_unknown_speakers_are_a_problem_on_two_sides():
    unknown = np.zeros(24, bool)
    unknown[20:] = True
    assert "speakers" not in problems(
        rows(unknown_speaker=unknown, speakers=np.array([f"mine/{i}" for i in range(24)])),
        fold(range(12), range(12, 24)),
    )
    unknown[:2] = True
    found = problems(
        rows(unknown_speaker=unknown, speakers=np.array([f"mine/{i}" for i in range(24)])),
        fold(range(12), range(12, 24)),
    )
    assert found["speakers"].numbers == {"tested": 4, "other": 2}


def test_sentences_are_a_problem_where_they_tell_or_are_read():
    said = np.arange(24) % 2
    told = rows(240, sentences=np.arange(240) // 4 % 2)
    found = problems(told, fold(range(120), range(120, 240)))
    assert found["sentences"].numbers["majority_accuracy"] == 1 and found["sentences"].numbers["rows"] == 120
    assert "sentences" not in problems(rows(sentences=said), fold(range(12), range(12, 24)))
    assert "sentences" in problems(rows(sentences=said, reads_words=True), fold(range(12), range(12, 24)))


def test_labels_that_the_session_or_corpus_tells():
    sessions = np.array([f"s{i // 4 % 2}" for i in range(240)])
    (found,) = [each for each in audit("mine", rows(240, sessions=sessions), []).problems]
    assert found.check == "shortcuts" and "the session alone tells labels: UAR 1.000" in found.text
    corpora = np.array([f"c{i // 4 % 2}" for i in range(240)])
    texts = [each.text for each in audit("mine", rows(240, corpora=corpora), []).problems]
    assert any("the corpus alone tells labels" in text for text in texts)


def test_speakers_with_one_class_and_few_rows():
    labels = np.arange(24) % 2
    found = problems(rows(labels=labels))
    assert found["one class"].numbers == {"speakers": 4, "of": 4}
    few = problems(rows(), fold(range(4), range(12, 24)))
    assert "4 of calm in training of 1; 0 of loud in training of 1" in few["class counts"].text


def test_ratings_and_what_is_missing():
    vad = np.full((24, 3), 3.0)
    vad[3, 0], vad[4, 1], vad[5] = 0.5, 5.5, np.nan
    found = audit("mine", rows(vad=vad), [])
    (told,) = [each for each in found.problems if each.check == "ratings"]
    assert told.numbers == {"valence": 1, "arousal": 1, "dominance": 0} and "'u3' of mine" in told.text
    (missing,) = [each for each in found.findings if each.check == "missing values"]
    assert missing.numbers == {"valence": 1, "arousal": 1, "dominance": 1} and not missing.problem


def test_silent_clipped_and_noisy_recordings():
    rng = np.random.default_rng(0)
    sounds = [(rng.normal(size=1600 + 16 * i) * 3000).astype(np.int16) for i in range(24)]
    sounds[1][:] = rng.integers(-20, 20, len(sounds[1]))
    sounds[2] = np.clip(sounds[2].astype(np.int32) * 30, -32768, 32767).astype(np.int16)
    sounds[3] = np.clip(sounds[3].astype(np.int32) * 30, -32768, 32767).astype(np.int16)
    noise = rng.normal(size=len(sounds[0])) * 3000 / 100
    sounds[23] = (sounds[0] + noise).astype(np.int16)
    audio = Sequences.from_arrays(np.concatenate(sounds)[:, None], [len(each) for each in sounds])
    found = problems(rows(audio=audio, recorded=True), fold(range(12), range(12, 24)))
    assert found["silence"].numbers == {"rows": 1, "of": 24} and "'u1' of mine" in found["silence"].text
    assert found["clipping"].numbers["rows"] == 2
    assert found["near-duplicates"].numbers == {"rows": 1, "tested": 12}
    assert "'u23' of mine, and 'u0' of mine" in found["near-duplicates"].text


def test_a_recording_under_two_labels():
    recordings = np.arange(24)
    recordings[4] = recordings[0]
    found = problems(rows(recordings=recordings))
    assert "(calm and loud), as 'u0' of mine and 'u4' of mine" in found["two labels"].text


def test_brief_reads_no_features(corpora):
    class Unread:
        length = np.ones(24, np.int64)

    assert audit("mine", rows(audio=Unread()), [], brief=True).rows == 24
