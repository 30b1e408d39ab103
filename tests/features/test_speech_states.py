"""Stored states of speech encoders: what the encoder gives, whatever else is encoded; by content, mapped."""

import numpy as np
import pytest
import torch
from tiny_speech_encoders import KINDS
from tiny_speech_encoders import LAYERS
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder

from emomm.encoder_layers import EncoderLayers
from emomm.errors import InputError
from emomm.features import encoding_progress
from emomm.features import speech_states
from emomm.features.encoder_states import WhichStates
from emomm.features.encoding_progress import EncodingProgress
from emomm.features.sequences import Sequences
from emomm.features.speech_states import SpeechStateStore
from emomm.features.speech_states import Wanted
from emomm.features.speech_states import WantedStates
from emomm.features.speech_states import encoded
from emomm.features.speech_states import samples_of
from emomm.features.voice_encoders import load_speech_encoder
from emomm.features.voice_encoders import speech_fingerprint

LAST = WhichStates.read("last", LAYERS)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A folder for each kind of encoder."""
    return {kind: tiny_speech_encoder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def sounds(lengths=(4000, 6400, 3000), dtype=np.float32, seed=0):
    """Recordings of noise, and the keys of their content."""
    generator = np.random.default_rng(seed)
    values = (generator.normal(size=(sum(lengths), 1)) * 0.1).astype(np.float32)
    if dtype == np.int16:
        values = (values * 32768).astype(np.int16)
    keys = np.arange(16 * len(lengths), dtype=np.uint8).reshape(-1, 16)
    return Sequences.from_arrays(values, np.array(lengths)), keys


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_stored_as_the_encoder_gives_it_alone(encoders, tmp_path, kind):
    recordings, keys = sounds()
    found = SpeechStateStore(encoders[kind], LAST, "float32", tmp_path).states(recordings, keys)
    speech = load_speech_encoder(encoders[kind])
    for row in range(len(recordings)):
        (expected,) = speech.states([samples_of(recordings, row)])
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_above_go_on_from_what_is_stored_below(encoders, tmp_path, kind):
    recordings, keys = sounds((4000,))
    below = SpeechStateStore(encoders[kind], WhichStates.under(1), "float32", tmp_path).states(recordings, keys)
    speech = load_speech_encoder(encoders[kind])
    layers = EncoderLayers.of(speech.model)
    states = torch.from_numpy(below[0].copy())[None]
    with torch.no_grad():
        above = layers.upper(states, torch.ones(states.shape[:2], dtype=torch.bool), 1)
    assert len(above) == LAYERS
    if kind != "whisper":  # whose upper layers see no silence
        (expected,) = speech.states([samples_of(recordings, 0)])
        np.testing.assert_allclose(above[-1][0].numpy(), expected, atol=1e-5)


def test_what_else_is_encoded_changes_no_bit(encoders, tmp_path):
    recordings, keys = sounds()
    alone = SpeechStateStore(encoders["wav2vec2"], LAST, "float32", tmp_path / "alone")
    together = SpeechStateStore(encoders["wav2vec2"], LAST, "float32", tmp_path / "together")
    rows = np.array([1])
    np.testing.assert_array_equal(
        alone.states(recordings.take(rows), keys[rows])[0], together.states(recordings, keys)[1]
    )


def test_a_recording_is_encoded_once_and_the_same_content_shares_it(encoders, tmp_path, monkeypatch):
    recordings, keys = sounds()
    rows, original = [0], speech_states.encoded

    def counted(*args):
        rows[0] += 1
        return original(*args)

    monkeypatch.setattr(speech_states, "encoded", counted)
    store = SpeechStateStore(encoders["wavlm"], LAST, "float16", tmp_path)
    first = store.states(recordings.take(np.array([0, 1, 0])), keys[[0, 1, 0]])
    assert rows == [2] and first.parts[0].dtype == np.float16
    assert (first.part[0], first.start[0]) == (first.part[2], first.start[2])
    again = SpeechStateStore(encoders["wavlm"], LAST, "float16", tmp_path).states(recordings, keys)
    assert rows == [3]
    np.testing.assert_array_equal(again[0], first[0])


@pytest.mark.parametrize("kind", KINDS)
def test_stores_of_one_encoder_are_filled_in_one_run_with_the_bits_of_each_alone(
    encoders, tmp_path, monkeypatch, kind, caplog
):
    recordings, keys = sounds((4000, 16000, 3000))
    name, runs = encoders[kind], []
    wanted = [
        (LAST, 0.6),
        (WhichStates.read("weighted", LAYERS, "mean"), 0.6),
        (WhichStates.under(1), None),
        (WhichStates.under(LAYERS), None),
        (WhichStates.read("mean", LAYERS), 0.6),
    ]

    def stores(folder):
        return [SpeechStateStore(name, which, "float32", tmp_path / folder, seconds) for which, seconds in wanted]

    alone = [store.states(recordings, keys) for store in stores("alone")]
    original = speech_states.encoded
    monkeypatch.setattr(speech_states, "encoded", lambda *args: runs.append(len(args[1])) or original(*args))
    together = WantedStates()
    for number, store in enumerate([*stores("together"), *stores("together")[:1]]):  # one that two ask for
        together.add(Wanted(store, recordings, keys, f"experiment {number}"))
    with caplog.at_level("INFO"):
        found = [store.states(recordings, keys, together) for store in stores("together")]
    assert sorted(runs) == [3000, 4000, 8000, 8000, 16000]  # the long one whole too, for those that cut nothing
    assert "3 recordings are encoded by" in caplog.text and "for 6 experiments: experiment 0, exp" in caplog.text
    for one, other in zip(alone, found, strict=True):
        assert one.parts[0].dtype == other.parts[0].dtype
        for row in range(3):
            np.testing.assert_array_equal(one[row], other[row])


def test_states_of_others_that_half_precision_can_not_hold_end_nothing(encoders, tmp_path, monkeypatch):
    recordings, keys = sounds((4000, 3000))
    original = speech_states.encoded
    huge = WhichStates.under(1)

    def overflowing(speech, samples, kinds):
        return [
            states * (1e8 if which == huge else 1)
            for which, states in zip(kinds, original(speech, samples, kinds), strict=True)
        ]

    monkeypatch.setattr(speech_states, "encoded", overflowing)
    together = WantedStates()
    other = SpeechStateStore(encoders["wavlm"], huge, "float16", tmp_path)
    together.add(Wanted(other, recordings, keys))
    asked = SpeechStateStore(encoders["wavlm"], LAST, "float16", tmp_path)
    assert (asked.states(recordings, keys, together).length > 0).all()
    with pytest.raises(InputError, match="not finite in float16"):
        other.states(recordings, keys, together)


def test_how_long_it_takes_is_said_where_there_is_no_terminal(caplog, monkeypatch):
    monkeypatch.setattr(encoding_progress, "_FIRST_SECONDS", 0.0)
    with caplog.at_level("INFO"), EncodingProgress(3, "whisper-base") as progress:
        for _ in range(3):
            progress.update()
    lines = [record.message for record in caplog.records]
    assert lines == ["3 recordings are encoded by whisper-base", "1 of 3 recordings encoded, about 0 s left"]


def test_rows_without_a_recording_have_no_states(encoders, tmp_path):
    recordings, keys = sounds()
    lacking = Sequences(recordings.parts, recordings.part, recordings.start, recordings.length * [1, 0, 1])
    found = SpeechStateStore(encoders["wavlm"], LAST, "float32", tmp_path).states(lacking, keys)
    assert found.length[1] == 0 and found.length[0] > 0


def test_all_layers_side_by_side_and_their_mean_pooled(encoders, tmp_path):
    recordings, keys = sounds((4000,))
    speech = load_speech_encoder(encoders["hubert"])
    each = [encoded(speech, samples_of(recordings, 0), [WhichStates((layer,))])[0] for layer in range(LAYERS + 1)]
    beside = WhichStates.read("weighted", LAYERS)
    found = SpeechStateStore(encoders["hubert"], beside, "float32", tmp_path).states(recordings, keys)
    assert found.dim == WIDTH * (LAYERS + 1)
    np.testing.assert_array_equal(found[0], np.concatenate(each, axis=1))
    pooled = WhichStates.read("mean", LAYERS, pooled="mean")
    found = SpeechStateStore(encoders["hubert"], pooled, "float16", tmp_path).states(recordings, keys)
    assert found.parts[0].dtype == np.float32 and found.length.tolist() == [1]
    np.testing.assert_allclose(found[0][0], np.mean(each, axis=0).mean(axis=0), atol=1e-6)
    listed = WhichStates.read([2, -1], LAYERS)
    assert listed.layers == (2, LAYERS) and not listed.side_by_side


def test_long_recordings_are_encoded_in_equal_windows(encoders, tmp_path):
    recordings, keys = sounds((16000,))
    store = SpeechStateStore(encoders["wavlm"], LAST, "float32", tmp_path, window_seconds=0.6)
    speech = load_speech_encoder(encoders["wavlm"])
    parts = np.array_split(samples_of(recordings, 0), 2)
    expected = np.concatenate([encoded(speech, part, [LAST])[0] for part in parts])
    np.testing.assert_array_equal(store.states(recordings, keys)[0], expected)


def test_int16_and_float32_are_the_same_sound(encoders):
    (as_int, _), (as_float, _) = sounds(dtype=np.int16), sounds()
    np.testing.assert_allclose(samples_of(as_int, 0), samples_of(as_float, 0), atol=1 / 32768)


def test_states_that_half_precision_can_not_hold_are_refused(encoders, tmp_path, monkeypatch):
    recordings, keys = sounds((4000,))
    monkeypatch.setattr(speech_states, "encoded", lambda *args: [np.full((3, WIDTH), 1e6, np.float32)])
    with pytest.raises(InputError, match="recording of 0.25 s .* not finite in float16; set store_dtype to float32"):
        SpeechStateStore(encoders["wavlm"], LAST, "float16", tmp_path).states(recordings, keys)


def test_an_encoder_that_is_not_there_is_named(encoders, tmp_path):
    with pytest.raises(InputError, match="speech_model_name='nowhere/encoder'"):
        speech_fingerprint("nowhere/encoder")
    with pytest.raises(InputError, match="speech_model_name=.*holds no weights"):
        speech_fingerprint(str(tmp_path))
    with pytest.raises(InputError, match="speech_model_name='package:nowhere/x': the package 'nowhere' is not"):
        load_speech_encoder("package:nowhere/x")
    assert speech_fingerprint(encoders["wavlm"]) != speech_fingerprint(encoders["hubert"])
