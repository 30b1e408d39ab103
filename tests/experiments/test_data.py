"""The corpora of an experiment side by side: label spaces, offsets, difficulty, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.evaluation.folds import Fold
from emomm.evaluation.folds import Part
from emomm.experiments.data import ExperimentData
from emomm.settings.settings import PROTOTYPES
from emomm.settings.settings import Settings

CLASSES = ["neutral", "happy", "sad", "anger"]


def corpus(name="one", classes=None, **generator):
    """A generated corpus of 40 rows, 4 speakers and 2 sessions."""
    sizes = {"rows": 40, "speakers": 4, "sessions": 2, "audio_dim": 6, "frames": [1, 3], "words": [1, 3]}
    return load_corpus(CorpusSpec(name, generator={**sizes, "classes": classes or CLASSES, **generator}))


# What needs each row's difficulty.
EASY = {"use_curriculum_learning": True, "use_difficulty_scaling": True}


def data(train=None, test=(), **settings):
    return ExperimentData(Settings(**{"train_dataset": "one", **EASY, **settings}), train or [corpus()], list(test))


def refusal(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        data(*args, **kwargs)
    return str(caught.value)


def test_rows_lie_one_corpus_after_the_other():
    one, two = corpus(seed=1), corpus("two", rows=30, seed=2)
    joined = data([one], [two])
    assert joined.rows((Part("two", np.array([0, 29])), Part("one", np.array([3])))).tolist() == [40, 69, 3]
    assert joined.corpus_names.tolist() == ["one"] * 40 + ["two"] * 30
    assert joined.utterance_ids[[3, 40]].tolist() == [one.utterance_ids[3], two.utterance_ids[0]]
    assert joined.speakers[[0, 40]].tolist() == ["one/1", "two/1"]
    np.testing.assert_array_equal(joined.vad, np.concatenate([one.vad, two.vad]))
    np.testing.assert_array_equal(joined.vectors("audio")[40], two.audio[0])
    assert joined.transcripts() == one.transcripts + two.transcripts
    assert np.isnan(joined.own_difficulty).all() and len(joined.own_curriculum_order) == 70
    first, second = joined.tables([one, two])
    assert (first.name, len(first), second.name, len(second)) == ("one", 40, "two", 30)


def test_how_long_the_training_recordings_are():
    """From the frames, where their rate is known; of the rows that are asked for, and have a voice."""
    made_by = {"encoder": "some/encoder", "model_type": "wavlm", "width": 6, "num_layers": 2, "frame_rate": 2.0}
    one = corpus(frames=[1, 9])
    lengths = one.audio.length.copy()
    lengths[0] = 0
    one = replace(one, audio=replace(one.audio, length=lengths))
    assert data([one]).recording_seconds(np.arange(40)) is None
    told = replace(one, spec=replace(one.spec, speech_encoder=made_by))
    seconds = data([told]).recording_seconds(np.arange(20))
    assert seconds == pytest.approx(np.percentile(lengths[1:20] / 2, [1, 50, 99]), abs=1e-3)
    whole = replace(told, spec=replace(one.spec, speech_encoder={**made_by, "pooling": "utterance", "frame_rate": 0}))
    assert data([whole]).recording_seconds(np.arange(20)) is None
    vectors = replace(told, audio=replace(one.audio, length=np.minimum(lengths, 1)))
    assert data([vectors]).recording_seconds(np.arange(20)) is None


def test_labels_are_the_training_corpora_whatever_their_order():
    one, two = corpus(seed=1), corpus("two", ["sad", "neutral", "anger", "happy"], seed=2)
    joined = data([one, two])
    names = [one.labels[i] for i in one.label_ids] + [two.labels[i] for i in two.label_ids]
    assert [joined.labels[i] for i in joined.label_ids] == names
    table = joined.tables([two])[0]
    assert table.label_names == tuple(CLASSES)
    assert [CLASSES[i] for i in table.labels] == names[40:]


def test_features_of_another_encoder_are_refused_by_name():
    """Of the same width: nothing else would tell, and the numbers would mean nothing."""
    made_by = {"encoder": "user/one", "model_type": "hubert", "width": 6, "num_layers": 2}
    one, two = corpus(seed=1), corpus("two", seed=2)
    described = replace(one, spec=replace(one.spec, speech_encoder=made_by))
    other = replace(two, spec=replace(two.spec, speech_encoder={**made_by, "encoder": "user/two"}))
    told = refusal([described], [other])
    assert "voice features of one were made by user/one" in told and "those of two by user/two" in told
    same = replace(two, spec=replace(two.spec, speech_encoder=made_by))
    assert len(data([described], [same]).utterance_ids) == 80
    assert len(data([described], [two]).utterance_ids) == 80  # what is not known is not refused


def test_rows_of_classes_that_are_not_trained_on_are_left_out():
    other = corpus("two", ["sad", "fear", "anger"], seed=2)
    joined = data([corpus()], [other])
    kept = [i for i in range(40) if other.labels[other.label_ids[i]] != "fear"]
    assert 0 < len(kept) < 40
    assert joined.notes == [f"two: {40 - len(kept)} rows of classes not trained on are left out"]
    assert joined.utterance_ids[40:].tolist() == other.utterance_ids[kept].tolist()
    assert [joined.labels[i] for i in joined.label_ids[40:]] == [other.labels[other.label_ids[i]] for i in kept]
    np.testing.assert_array_equal(joined.vectors("audio")[40], other.audio[kept[0]])
    message = refusal([corpus()], [corpus("two", ["fear", "disgust"])])
    assert message == "two: no row is left of the classes neutral, happy, sad, anger"


def test_corpora_trained_on_together_need_the_same_classes():
    message = refusal([corpus(), corpus("two", ["neutral", "happy", "sad"])])
    assert "two has the classes neutral, happy, sad, one has neutral, happy, sad, anger" in message
    assert "label_map" in message


def test_difficulty_is_the_distance_from_the_named_prototypes():
    joined = data()
    everywhere, of_training, unrated = joined.difficulty(np.arange(10, 20))
    centres = np.array([PROTOTYPES[name] for name in CLASSES])[joined.label_ids]
    np.testing.assert_allclose(everywhere, np.linalg.norm(joined.vad - centres, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(of_training, everywhere[10:20])
    assert unrated == 0


def test_fitted_prototypes_are_the_means_of_the_training_rows_alone():
    joined, train = data(expected_vad="fit"), np.arange(0, 40, 2)
    means = np.stack([joined.vad[train][joined.label_ids[train] == k].mean(axis=0) for k in range(4)])
    everywhere, of_training, _ = joined.difficulty(train)
    np.testing.assert_allclose(everywhere, np.linalg.norm(joined.vad - means[joined.label_ids], axis=1), rtol=1e-5)
    joined.vad[1::2] = 5.0  # the other rows
    np.testing.assert_array_equal(joined.difficulty(train)[1], of_training)


def test_unrated_training_rows_get_the_median_of_their_class():
    joined, train = data([corpus(missing_vad=0.2)]), np.arange(30)
    everywhere, of_training, unrated = joined.difficulty(train)
    missing = np.isnan(joined.vad[train]).any(axis=1)
    assert unrated == missing.sum() > 0
    np.testing.assert_array_equal(np.isnan(everywhere[train]), missing)  # reported as unrated
    for row in np.flatnonzero(missing):
        same = (joined.label_ids[train] == joined.label_ids[row]) & ~missing
        assert of_training[row] == pytest.approx(np.median(everywhere[train][same]))


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, True),
        ({"use_difficulty_scaling": False}, True),
        ({"use_difficulty_scaling": False, "curriculum_type": "inverse_difficulty"}, True),
        ({"use_difficulty_scaling": False, "curriculum_type": "random_matched"}, True),
        ({"use_difficulty_scaling": False, "curriculum_type": "random"}, False),
        ({"use_difficulty_scaling": False, "curriculum_type": "random_nested"}, False),
        ({"use_difficulty_scaling": False, "use_curriculum_learning": False}, False),
        ({"use_curriculum_learning": False}, True),
    ],
)
def test_when_difficulty_is_needed(settings, needed):
    unrated = corpus(missing_vad=1.0)
    if needed:
        message = refusal([unrated], **settings)
        assert "one has no rated valence, arousal and dominance" in message and "class_balance" in message
    else:
        joined = data([unrated], **settings)
        assert not joined.needs_difficulty
        assert joined.difficulty(np.arange(40)) == (None, None, 0)
    assert data(**settings).needs_difficulty == needed


def test_prototypes_of_classes_that_are_not_named():
    emotions = ["neutral", "awe"]
    assert "expected_vad lacks the classes awe" in refusal([corpus(classes=emotions)])
    plain = {"use_difficulty_scaling": False, "use_curriculum_learning": False}
    assert data([corpus(classes=emotions)], **plain).difficulty(np.arange(40)) == (None, None, 0)


def test_words_that_are_missing():
    joined = data([corpus(missing_text=0.4)])
    gone = np.array([text == "[EMPTY]" for text in joined.transcripts()])
    assert 0 < gone.sum() < 40
    assert joined.texts(may_be_missing=False) == joined.transcripts()
    assert [text is None for text in joined.texts(may_be_missing=True)] == gone.tolist()


def test_voices_that_are_missing():
    gaps = corpus(missing_audio=0.4)
    row = int(np.argmin(gaps.audio.length))
    assert f"one row {str(gaps.utterance_ids[row])!r} has no voice" in refusal([gaps], modality="audio")
    joined = data([gaps])
    with pytest.raises(InputError, match=rf"\({(gaps.audio.length == 0).sum()} such rows\).*adaptive"):
        joined.check_complete()
    data().check_complete()
    assert "has no voice features; set modality to text" in refusal([corpus(missing_audio=1.0)])
    assert data([corpus(missing_audio=1.0)], modality="text").labels == CLASSES


def test_features_of_one_width():
    wide = corpus("two", audio_dim=9)
    assert "the voice features of two are 9 wide, one says 6" in refusal([corpus()], [wide])
    assert "the voice features of one are 6 wide, audio_dim says 768" in refusal(audio_dim=768)
    data([corpus()], [wide], modality="text")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"num_classes": 3}, ["num_classes is 3", "one has 4 classes: neutral, happy, sad, anger"]),
        ({"class_weights": {"neutral": 1.0}}, ["class_weights", "neutral, happy, sad, anger", "got ['neutral']"]),
        ({"class_order": ["sad", "joy"]}, ["class_order", "each class once", "'joy'"]),
        ({"curriculum_type": "preset_order"}, ["preset_order", "one has no complete curriculum_order"]),
        ({"difficulty_from_corpus": True}, ["one has no difficulty column"]),
    ],
)
def test_settings_that_do_not_fit_the_corpora(settings, parts):
    message = refusal(name="mine", **settings)
    assert message.startswith("experiment 'mine': ")
    assert all(part in message for part in parts), message


# ---- ratings that a fold's training rows lack -----------------------------------------------------------------------


def rated_in_session_1():
    one = corpus()
    return replace(one, vad=np.where(one.sessions[:, None] == "1", one.vad, np.float32(np.nan)))


WEIGHTS = {"use_curriculum_learning": False}
POOLS = {"use_difficulty_scaling": False}


@pytest.mark.parametrize("settings", [{}, WEIGHTS, POOLS, {"expected_vad": "fit"}])
def test_ratings_in_the_tested_session_alone(settings):
    joined = data([rated_in_session_1()], name="mine", **settings)
    train = np.flatnonzero(joined.sessions != "1")
    with pytest.raises(InputError) as caught:
        joined.check_ratings(train, "session-1")
    told = str(caught.value)
    assert told.startswith("experiment 'mine', fold session-1: none of its ") and "of session 1)" in told
    assert "use_curriculum_learning and use_difficulty_scaling to false" in told
    joined.check_ratings(np.flatnonzero(joined.sessions == "1"), "session-2")  # rated: nothing is wrong


def test_ratings_to_learn_in_the_tested_session_alone():
    joined = data([rated_in_session_1()], vad_loss_weight=0.5, **WEIGHTS, **POOLS)
    with pytest.raises(InputError, match="none of its .* to learn from .*of session 1.*: set vad_loss_weight to 0"):
        joined.check_ratings(np.flatnonzero(joined.sessions != "1"), "session-1")


def test_classes_without_a_rating_to_fit_are_named():
    one = corpus()
    sad = one.labels.index("sad")
    unrated = replace(one, vad=np.where(one.label_ids[:, None] == sad, np.float32(np.nan), one.vad))
    with pytest.raises(InputError, match="fold f: no training row of the class sad has valence"):
        data([unrated], expected_vad="fit").check_ratings(np.arange(40), "f")


def test_negative_difficulties_weigh_nothing():
    one = corpus()
    hard = np.linspace(0, 1, 40, dtype=np.float32)
    hard[7] = -0.25
    negative = replace(one, difficulty=hard)
    joined = data([negative], difficulty_from_corpus=True)
    with pytest.raises(
        InputError, match=rf"row '{one.utterance_ids[7]}' of one has the difficulty -0.25, .*at least 0"
    ):
        joined.check_ratings(np.arange(40), "f")
    joined.check_ratings(np.arange(8, 40), "f")
    data([negative], difficulty_from_corpus=True, **POOLS).check_ratings(np.arange(40), "f")  # an order is one
    nothing = replace(one, difficulty=np.where(np.arange(40) < 20, hard, np.float32(np.nan)))
    with pytest.raises(InputError, match="fold f: none of its 20 training rows has a difficulty"):
        data([nothing], difficulty_from_corpus=True).check_ratings(np.arange(20, 40), "f")


TESTED = {"one": (35, 40), "copy": (0, 40)}


# ---- notes ----------------------------------------------------------------------------------------------------------


def test_names_that_look_alike_are_told():
    one = corpus()
    people = np.char.replace(one.speakers.astype("<U9"), "one/4", "one/01")
    joined = data([replace(one, speakers=people, sessions=np.char.replace(one.sessions.astype("<U9"), "2", "S 1"))])
    assert joined.notes == ["speakers of names that are written alike count as different ones: 'one/01' and 'one/1'"]
    assert data().notes == []


def test_what_test_rows_share_is_told_by_tested_corpus():
    """The same recordings under other speaker names, and words on both sides."""
    one = replace(corpus(seed=1), transcripts=[f"sentence {i}" for i in range(40)])
    copy = replace(
        one,
        spec=replace(one.spec, name="copy"),
        speakers=np.char.replace(one.speakers, "one/", "copy/"),
        transcripts=["Sentence 0!", "sentence, 39", *["[EMPTY]"] * 38],
    )
    trained = Fold("f", (Part("one", np.arange(30)),), (Part("one", np.arange(30, 35)),), (), "")
    folds = [replace(trained, test=(Part(name, np.arange(*rows)),)) for name, rows in TESTED.items()]
    joined = data([one], [copy])
    joined.note_shared(folds)
    assert joined.shared_rows == [
        "one: of 5 test rows none shares their recording (the same features) and none shares their words with a "
        "training or validation row",
        "copy: of 40 test rows 35 (87.5%) share their recording (the same features) and 1 (2.5%) share their words "
        "with a training or validation row",
    ]
    assert joined.notes == joined.shared_rows[1:]
    heard = data([one], [copy], modality="audio")
    heard.note_shared(folds)
    assert not any("words" in line for line in heard.shared_rows)  # a model that reads none doesn't know them
