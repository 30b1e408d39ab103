"""Speech encoders of every kind: a recording gives alone what it gives in a batch; layers, pooling, frame rates; what
is the same encoder and what another; frames averaged as by hand."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import CONVOLUTIONS
from tiny_speech_encoders import KINDS
from tiny_speech_encoders import LAYERS
from tiny_speech_encoders import SIZE
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoModel
from transformers import Wav2Vec2Config
from transformers import Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2Model

from emomm.corpora.builtin import BUILTIN
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_encoders import batches_by_length
from emomm.speech_encoders import weights_digest
from emomm.speech_features import SpeechFeatures
from emomm.speech_features import WrongEncoder
from emomm.speech_features import average_frames

WHISPER = Path(__file__).resolve().parent.parent.parent / "shared" / "models" / "whisper-base"

RATE = 16000
LENGTHS = (16000, 4801, 9123, 4801, 12345, 1700)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """kind -> the folder of a tiny encoder, written once."""
    root = tmp_path_factory.mktemp("encoders")
    return {kind: tiny_speech_encoder(root / kind, kind) for kind in KINDS}


def recordings(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def hidden_states(folder, waveform):
    """All hidden states of one recording, by transformers alone."""
    encoder = SpeechEncoder.from_pretrained(folder)
    padding = "max_length" if encoder.features.model_type == "whisper" else True
    inputs = encoder.feature_extractor([waveform], sampling_rate=RATE, padding=padding, return_tensors="pt")
    with torch.no_grad():
        return torch.stack(encoder.model(**inputs, output_hidden_states=True).hidden_states)[:, 0].numpy()


# ---- features


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_each_gives_alone(folders, kind):
    encoder = SpeechEncoder.from_pretrained(folders[kind])
    together = encoder(recordings())
    for waveform, found in zip(recordings(), together, strict=True):
        assert found.dtype == np.float32 and found.shape == (encoder.frames_of(len(waveform)), WIDTH)
        np.testing.assert_allclose(found, encoder([waveform])[0], atol=1e-5)
    np.testing.assert_allclose(encoder(recordings(), batch_seconds=0.01)[2], together[2], atol=1e-5)
    np.testing.assert_allclose(together[1], encoder(recordings())[1], atol=0)
    assert np.abs(together[1] - together[3]).max() > 1e-3  # of equal length, yet others


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_the_encoder(folders, kind):
    """As many as `frames_of` says, for many lengths; their values are transformers' own. A frame that is padding in
    part, as Whisper's last and the odd one of w2v-BERT, counts as their feature extractors' masks have it."""
    encoder = SpeechEncoder.from_pretrained(folders[kind])
    for waveform in recordings((1600, 1919, 1920, 1921, 2000, 2080, 2239, 2240, 2241, 8000)):
        states = hidden_states(folders[kind], waveform)[-1]
        frames = encoder.frames_of(len(waveform))
        due = {"whisper": -(-len(waveform) // 320)}.get(kind, len(states))
        if kind == "w2v-bert":
            due = int(encoder.feature_extractor([waveform], sampling_rate=RATE)["attention_mask"][0].sum())
        assert frames == due
        np.testing.assert_allclose(encoder([waveform])[0], states[:frames], atol=1e-6)


@pytest.mark.parametrize("kind", ["wavlm", "whisper", "w2v-bert"])
def test_layers_and_their_mean(folders, kind):
    waveform = recordings()[2]
    states = hidden_states(folders[kind], waveform)
    for layers in ([0], [1], [-2], [LAYERS], [1, 3], [0, 1, 2, 3], [-1]):
        found = SpeechEncoder.from_pretrained(folders[kind], layers)([waveform])[0]
        np.testing.assert_allclose(found, states[layers].mean(axis=0)[: len(found)], atol=1e-6, err_msg=str(layers))
    assert np.abs(states[1] - states[2]).max() > 1e-2


def test_pooling_and_frame_rate(folders):
    frames = SpeechEncoder.from_pretrained(folders["wavlm"])(recordings())
    utterances = SpeechEncoder.from_pretrained(folders["wavlm"], pooling="utterance")
    slow = SpeechEncoder.from_pretrained(folders["wavlm"], frame_rate=10)
    assert (utterances.features.frame_rate, slow.features.frame_rate) == (0.0, 10.0)
    for each, vector, averaged in zip(frames, utterances(recordings()), slow(recordings()), strict=True):
        np.testing.assert_allclose(vector, each.mean(axis=0), atol=1e-6)
        expected = [each[i : i + 5].mean(axis=0) for i in range(0, len(each), 5)]
        np.testing.assert_allclose(averaged, expected, atol=1e-6)


def test_whisper_takes_long_recordings_in_windows(folders):
    encoder = SpeechEncoder.from_pretrained(folders["whisper"])
    long = recordings([31 * RATE + 100])[0]
    found = encoder([long])[0]
    assert len(found) == 1500 + 51
    np.testing.assert_allclose(found[:1500], encoder([long[: 30 * RATE]])[0], atol=1e-5)
    np.testing.assert_allclose(found[1500:], encoder([long[30 * RATE :]])[0], atol=1e-5)


def test_too_short_for_a_frame(folders):
    encoder = SpeechEncoder.from_pretrained(folders["wavlm"])
    shortest = next(n for n in range(1, 2000) if encoder.frames_of(n) == 1)
    assert encoder([np.ones(shortest, np.float32)])[0].shape == (1, WIDTH)
    with pytest.raises(ValueError, match=f"a recording of {shortest - 1} samples is too short for wavlm"):
        encoder([np.ones(shortest - 1, np.float32)])
    assert encoder([]) == []


# ---- batches


def test_batches_by_length():
    lengths = [5, 1, 9, 5, 3, 9, 100]
    assert list(batches_by_length(lengths, 18)) == [[6], [2, 5], [0, 3, 4], [1]]
    assert list(batches_by_length(lengths, 18, equal_only=True)) == [[6], [2, 5], [0, 3], [4], [1]]
    window = 30 * RATE
    batches = batches_by_length([1, window, window + 1, 2], 2 * window, windowed=True)
    assert list(batches) == [[2], [0, 1], [3]]
    assert list(batches_by_length([], 1)) == []


def test_only_equal_lengths_where_padding_would_change_what_is_heard(folders):
    kept = {kind: SpeechEncoder.from_pretrained(folder).equal_lengths_only for kind, folder in folders.items()}
    assert {kind for kind, equal in kept.items() if equal} == {"wav2vec2"}
    encoder = SpeechEncoder.from_pretrained(folders["wav2vec2"])
    assert list(encoder.batches([3, 5, 3])) == [[1], [0, 2]]
    assert list(SpeechEncoder.from_pretrained(folders["wavlm"]).batches([3, 5, 3])) == [[1, 0, 2]]


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [4]}, r"layers \[4\]: wavlm has the layers 0-3"),
        ({"layers": [1, -5]}, r"layers \[1, -5\]"),
        ({"layers": []}, r"layers \[\]"),
        ({"pooling": "max"}, "pooling is 'max'; it can be frames, utterance"),
        ({"frame_rate": 51}, "frame_rate is 51; wavlm gives 50 frames a second"),
        ({"frame_rate": 0}, "frame_rate is 0"),
    ],
)
def test_wrong_settings(folders, options, message):
    with pytest.raises(ValueError, match=message):
        SpeechEncoder.from_pretrained(folders["wavlm"], **options)
    SpeechEncoder.from_pretrained(folders["wavlm"], [-4, 3], frame_rate=50)


def test_no_speech_encoder(tmp_path, folders):
    for name in (tmp_path / "nothing", tiny_encoder(tmp_path / "words", hidden=16)):
        with pytest.raises(ValueError, match="can't be loaded"):
            SpeechEncoder.from_pretrained(str(name))
    model = AutoModel.from_pretrained(folders["wavlm"])
    with pytest.raises(ValueError, match="telephone takes 8000 Hz; EmoMM reads 16000 Hz"):
        SpeechEncoder(model, Wav2Vec2FeatureExtractor(sampling_rate=8000), "telephone")


# ---- which encoder it is


def test_the_digest_tells_weights_apart_not_their_precision(tmp_path, folders):
    encoder = SpeechEncoder.from_pretrained(folders["wavlm"])
    AutoModel.from_pretrained(folders["wavlm"], dtype=torch.float16).save_pretrained(tmp_path / "half")
    encoder.feature_extractor.save_pretrained(tmp_path / "half")
    half = SpeechEncoder.from_pretrained(str(tmp_path / "half"))
    other = SpeechEncoder.from_pretrained(tiny_speech_encoder(tmp_path / "other", seed=1))
    assert half.features.weights == encoder.features.weights != other.features.weights
    assert len(encoder.features.weights) == 64
    changed = encoder.model.state_dict()
    changed["encoder.layers.1.layer_norm.weight"][3] += 0.01
    assert weights_digest(encoder.model) != half.features.weights
    encoder.features.refuse_other(half.features)
    with pytest.raises(WrongEncoder, match="made by wavlm .*, not by other"):
        encoder.features.refuse_other(other.features)


def test_of_whisper_only_the_encoder_counts(folders):
    encoder = SpeechEncoder.from_pretrained(folders["whisper"])
    assert not any("decoder" in name for name in encoder.model.state_dict())
    assert encoder.features == SpeechFeatures(
        "whisper", "whisper", WIDTH, LAYERS, weights=encoder.features.weights, frame_rate=50.0
    )


def test_for_features(folders, tmp_path):
    """The encoder of a description: with its layers, pooling and rate; another one is refused."""
    made = SpeechEncoder.from_pretrained(folders["hubert"], [1, 2], frame_rate=10)
    again = SpeechEncoder.for_features(made.features, folders["hubert"])
    assert again.features == made.features
    np.testing.assert_array_equal(again(recordings())[0], made(recordings())[0])
    whole = SpeechEncoder.from_pretrained(folders["hubert"], pooling="utterance")
    assert SpeechEncoder.for_features(whole.features, folders["hubert"]).features == whole.features
    with pytest.raises(WrongEncoder, match="made by hubert"):
        SpeechEncoder.for_features(made.features, folders["wavlm"])
    with pytest.raises(WrongEncoder, match="made by hubert"):
        SpeechEncoder.for_features(made.features, tiny_speech_encoder(tmp_path / "hubert", "hubert", seed=1))


BASE = {"model_type": "whisper", "width": 512, "num_layers": 6}


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        # Weights decide where both are known, whatever the names.
        ({"encoder": "a/b", "weights": "11"}, {"encoder": "c", "weights": "11"}, True),
        ({"encoder": "a/b", "weights": "11"}, {"encoder": "a/b", "weights": "22"}, False),
        # Else the names, with or without the owner's for a folder.
        ({"encoder": "a/b"}, {"encoder": "a/b", "weights": "11"}, True),
        ({"encoder": "a/b"}, {"encoder": "x/B"}, True),
        ({"encoder": "a/b"}, {"encoder": "a/c"}, False),
        # A copy in a folder: the architecture.
        ({"encoder": "a/b"}, {"encoder": "copy"}, True),
        ({"encoder": "a/b"}, {"encoder": "copy", "width": 768}, False),
        ({"encoder": "a/b"}, {"encoder": "copy", "num_layers": 12}, False),
        ({"encoder": "a/b"}, {"encoder": "a/b", "model_type": "wavlm"}, False),
    ],
)
def test_what_is_another_encoder(mine, theirs, same):
    mine, theirs = SpeechFeatures.from_dict({**BASE, **mine}), SpeechFeatures.from_dict({**BASE, **theirs})
    if same:
        return mine.refuse_other(theirs)
    with pytest.raises(WrongEncoder, match="the features of this model were made by a/b"):
        mine.refuse_other(theirs)


def test_descriptions_are_kept_and_checked():
    features = SpeechFeatures(**BASE, encoder="a/b", layers=(5, 6), revision="f00", weights="0123456789abcdef")
    assert SpeechFeatures.from_dict(features.to_dict()) == features
    assert features.in_words() == "a/b (revision f00, weights sha256 0123456789ab), mean of layers 5, 6, 50 Hz"
    for given, message in (
        ({**BASE}, "encoder is missing"),
        ({**BASE, "encoder": "a", "hop": 1}, "hop is none of them"),
        ({**BASE, "encoder": "a", "width": "1"}, "width is '1', of the wrong type"),
        ({**BASE, "encoder": "a", "pooling": "max"}, "pooling is 'max'"),
        ({**BASE, "encoder": "a", "width": 0}, "width is 0, out of range"),
        ({**BASE, "encoder": "a", "frame_rate": -5.0}, "frame_rate is -5.0, out of range"),
        ({**BASE, "encoder": "a", "layers": [7]}, r"layers is \[7\], out of range"),
    ):
        with pytest.raises(ValueError, match=message):
            SpeechFeatures.from_dict(given)


def test_other_states_of_the_same_encoder_are_others():
    one = SpeechFeatures(**BASE, encoder="a/b", frame_rate=5.0)
    one.refuse_other_states(SpeechFeatures(**BASE, encoder="a/b", frame_rate=5.0, layers=(6,)))  # -1 is the sixth
    for changed in ({"layers": (3,)}, {"frame_rate": 50.0}, {"pooling": "utterance", "frame_rate": 0.0}):
        other = SpeechFeatures(**{**BASE, "encoder": "a/b", "frame_rate": 5.0, **changed})
        one.refuse_other(other)
        with pytest.raises(WrongEncoder, match="the features of this model are a/b, last hidden states, 5 Hz; these"):
            one.refuse_other_states(other)


# ---- loading


def test_a_checkpoint_that_lacks_weights_is_refused(folders, tmp_path):
    """transformers makes random ones in their place: other features at each load."""
    folder = Path(shutil.copytree(folders["wavlm"], tmp_path / "torn"))
    weights = load_file(folder / "model.safetensors")
    spare = {name: value for name, value in weights.items() if "layers.1." not in name}
    save_file(spare, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks \d+ of its weights, such as encoder.layers.1.attention"):
        SpeechEncoder.from_pretrained(str(folder))
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="can't be loaded"):
        SpeechEncoder.from_pretrained(str(folder))


def test_what_only_training_uses_may_be_missing(folders, tmp_path):
    folder = Path(shutil.copytree(folders["hubert"], tmp_path / "hubert"))
    weights = load_file(folder / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    digests = {SpeechEncoder.from_pretrained(str(folder)).features.weights for _ in range(2)}
    assert len(digests) == 1


def test_foreign_code_is_refused_without_a_question(tmp_path, monkeypatch):
    """transformers asks on stdin where it is not told; what comes there may be sound."""
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd", "AutoModel": "odd.OddModel"}})
    )
    (tmp_path / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with pytest.raises(ValueError, match="can't be loaded"):
        SpeechEncoder.from_pretrained(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_the_last_layer_is_one_thing(tmp_path):
    """Encoders that normalise after their last layer give its states from before that among the hidden ones."""
    config = Wav2Vec2Config(**SIZE, **CONVOLUTIONS, feat_extract_norm="layer", do_stable_layer_norm=True)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    model = Wav2Vec2Model(config)
    found = [
        SpeechEncoder(model, extractor, "a/b", layers)(recordings())[0] for layers in ((-1,), (LAYERS,), (-1, -1))
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


# ---- averaging


@pytest.mark.parametrize("target", [0.5, 1, 3, 5, 7.5, 12.3, 25, 33, 49.9])
def test_average_frames_as_by_hand(target):
    rng = np.random.default_rng(0)
    for count in (1, 2, 9, 10, 11, 100, 137):
        frames = rng.normal(size=(count, 3)).astype(np.float32)
        groups: dict[int, list[np.ndarray]] = {}
        for i, frame in enumerate(frames):
            groups.setdefault(int(i * target / 50 + 1e-9), []).append(frame)
        expected = [np.mean(group, axis=0) for _, group in sorted(groups.items())]
        np.testing.assert_allclose(average_frames(frames, 50.0, target), expected, atol=1e-6)
    assert average_frames(frames, 50.0, 50.0) is frames


def test_the_sample_corpora_know_their_encoder_by_its_weights():
    """Not by the name of a folder, nor by its architecture: a fine-tuned Whisper base has the same."""
    for corpus in ("emodb", "emodb_emobank"):
        made_by = SpeechFeatures.from_dict(BUILTIN[corpus].speech_encoder)
        assert re.fullmatch(r"[0-9a-f]{64}", made_by.weights)
        copy = replace(made_by, encoder="copy")
        made_by.refuse_other(copy)
        with pytest.raises(WrongEncoder, match="openai/whisper-base .*not by whisper-base .*weights 000000000000"):
            made_by.refuse_other(replace(made_by, encoder="whisper-base", weights="0" * 64))


@pytest.mark.skipif(not (WHISPER / "config.json").exists(), reason="no copy of Whisper-base beside the checkout")
def test_the_weights_of_the_sample_corpora_are_whisper_bases():
    made_by = SpeechFeatures.from_dict(BUILTIN["emodb"].speech_encoder)
    assert SpeechEncoder.for_features(made_by, str(WHISPER), device="cpu").features.weights == made_by.weights
