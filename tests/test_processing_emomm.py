"""One utterance or several to the model's inputs, as numbers."""

import copy
import json
import pickle

import numpy as np
import pytest
import soundfile
import torch
from tiny_encoders import KINDS
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoProcessor
from transformers import AutoTokenizer

from emomm.configuration_emomm import EmoMMConfig
from emomm.modalities import is_missing
from emomm.processing_emomm import EMPTY_TRANSCRIPT
from emomm.processing_emomm import EmoMMProcessor
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_features import WrongEncoder
from emomm.waveforms import AudioError
from emomm.waveforms import Waveform

DIM = 3
FRAMES = np.arange(6, dtype=np.float32).reshape(2, DIM)
VECTOR = np.array([7, 8, 9], dtype=np.float32)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: tiny_encoder(folder / kind, kind, 16) for kind in KINDS}


@pytest.fixture(scope="module")
def tokenizer(paths):
    return AutoTokenizer.from_pretrained(paths["bert"])


@pytest.fixture
def processor(tokenizer):
    return EmoMMProcessor(tokenizer, feature_dim=DIM, max_length=8)


def ids(tokenizer, text: str, length: int = 8) -> list[int]:
    """The ids of a text by hand: pieces between the special tokens, cut to the length."""
    pieces = tokenizer.tokenize(text)[: length - 2]
    return [tokenizer.cls_token_id, *tokenizer.convert_tokens_to_ids(pieces), tokenizer.sep_token_id]


@pytest.mark.parametrize(
    ("transcript", "missing"),
    [(None, True), ("", True), (" \n", True), ("[EMPTY]", True), (" [EMPTY] ", True), ("empty", False), ("a", False)],
)
def test_what_counts_as_missing_words(transcript, missing):
    assert is_missing(transcript) is missing


@pytest.mark.parametrize("kind", KINDS)
def test_several_utterances(paths, kind):
    tokenizer = AutoTokenizer.from_pretrained(paths[kind])
    processor = EmoMMProcessor(tokenizer, feature_dim=DIM, max_length=8)
    batch = processor(audio_features=[FRAMES, VECTOR], text=["sad", "I am so happy, I said it today!"])
    assert list(batch) == ["audio_features", "audio_mask", "input_ids", "attention_mask"]
    assert batch["audio_features"].tolist() == [FRAMES.tolist(), [VECTOR.tolist(), [0, 0, 0]]]
    assert batch["audio_mask"].tolist() == [[True, True], [True, False]]
    short, long = (ids(tokenizer, text) for text in ("sad", "I am so happy, I said it today!"))
    assert len(long) == 8  # cut
    padding = [tokenizer.pad_token_id] * (8 - len(short))
    assert batch["input_ids"].tolist() == [short + padding, long]
    assert batch["attention_mask"].tolist() == [[1] * len(short) + [0] * len(padding), [1] * 8]


@pytest.mark.parametrize("given", [FRAMES, FRAMES.astype(np.float16), torch.from_numpy(FRAMES)])
def test_a_single_utterance_is_a_batch_of_one(processor, tokenizer, given):
    single = processor(audio_features=given, text="leave me alone")
    listed = processor(audio_features=[given], text=["leave me alone"])
    assert single["audio_features"].dtype == torch.float32
    assert single["audio_features"].tolist() == [FRAMES.tolist()]
    assert single["input_ids"].tolist() == [ids(tokenizer, "leave me alone")]
    assert all(torch.equal(single[name], listed[name]) for name in listed)
    assert single.keys() == listed.keys()


def test_one_vector_needs_no_mask(processor):
    batch = processor(audio_features=VECTOR, text="sad")
    assert batch["audio_features"].tolist() == [VECTOR.tolist()] and "audio_mask" not in batch


@pytest.mark.parametrize("missing", [None, "", "  ", "[EMPTY]"])
def test_missing_words_are_read_as_the_placeholder(processor, tokenizer, missing):
    batch = processor(audio_features=[VECTOR, VECTOR], text=["sad", missing])
    empty = ids(tokenizer, EMPTY_TRANSCRIPT)
    assert batch["input_ids"][1].tolist()[: len(empty)] == empty
    assert batch["attention_mask"][1].sum() == len(empty)


@pytest.mark.parametrize("missing", [None, "", "  ", "[EMPTY]"])
def test_missing_words_are_masked_for_adaptive(tokenizer, missing):
    processor = EmoMMProcessor(tokenizer, feature_dim=DIM, max_length=8, allow_missing=True)
    batch = processor(audio_features=[VECTOR, FRAMES, None], text=["sad", missing, "happy"])
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1]]
    assert batch["input_ids"][1].tolist() == [tokenizer.pad_token_id] * 3
    assert batch["audio_mask"].tolist() == [[True, False], [True, True], [False, False]]


def test_a_whole_modality_may_be_missing_for_adaptive(tokenizer):
    processor = EmoMMProcessor(tokenizer, feature_dim=DIM, allow_missing=True)
    assert list(processor(audio_features=VECTOR)) == ["audio_features"]
    assert list(processor(text="sad")) == ["input_ids", "attention_mask"]
    assert list(processor(audio_features=[None], text=["sad"])) == ["input_ids", "attention_mask"]
    with pytest.raises(ValueError, match=r"this model \(both\) needs audio_features, text"):
        processor()


@pytest.mark.parametrize(
    ("modality", "given", "message"),
    [
        ("both", {"text": "sad"}, r"this model \(both\) needs audio_features"),
        ("both", {"audio_features": VECTOR}, r"this model \(both\) needs text"),
        ("audio", {"text": "sad"}, r"this model \(audio\) needs audio_features"),
        ("text", {"audio_features": VECTOR}, r"this model \(text\) needs text"),
        (
            "both",
            {"audio_features": VECTOR[:2], "text": "sad"},
            r"utterance 0: .*shape \(2,\).* \(3,\) or \(frames, 3\)",
        ),
        ("both", {"audio_features": [VECTOR, FRAMES.T], "text": ["a", "b"]}, r"utterance 1: .*shape \(3, 2\)"),
        ("both", {"audio_features": FRAMES[None], "text": "sad"}, r"utterance 0: .*shape \(1, 2, 3\)"),
        ("both", {"audio_features": [VECTOR, VECTOR * np.nan], "text": ["a", "b"]}, "utterance 1: .*NaN or infinite"),
        ("both", {"audio_features": VECTOR + np.inf, "text": "sad"}, "utterance 0: .*NaN or infinite"),
        ("both", {"audio_features": [VECTOR], "text": ["a", "b"]}, "'audio_features': 1, 'input_ids': 2"),
        ("both", {"audio_features": [VECTOR, None], "text": ["a", "b"]}, "row 1 of the batch has no voice"),
        ("both", {"audio_features": VECTOR, "text": "a", "return_tensors": "np"}, "return_tensors='np'"),
    ],
)
def test_wrong_input_is_refused(tokenizer, modality, given, message):
    processor = EmoMMProcessor(tokenizer, modality=modality, feature_dim=DIM)
    with pytest.raises(ValueError, match=message):
        processor(**given)


def test_what_the_modality_does_not_use_is_left_out(tokenizer):
    voice = EmoMMProcessor(modality="audio", feature_dim=DIM)
    assert list(voice(audio_features=VECTOR, text="sad")) == ["audio_features"] == voice.model_input_names[:1]
    words = EmoMMProcessor(tokenizer, modality="text")
    assert list(words(audio_features=VECTOR, text="sad")) == ["input_ids", "attention_mask"] == words.model_input_names


def test_tokenize_gives_arrays_without_padding(processor, tokenizer):
    rows = processor.tokenize(["sad", None])
    assert [row.dtype for row in rows] == [np.int64] * 2
    assert [row.tolist() for row in rows] == [ids(tokenizer, "sad"), ids(tokenizer, EMPTY_TRANSCRIPT)]
    processor.allow_missing = True
    assert processor.tokenize(["sad", None])[1].tolist() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_processor_comes_back_from_a_folder(tmp_path, paths, kind):
    tokenizer = AutoTokenizer.from_pretrained(paths[kind])
    processor = EmoMMProcessor(tokenizer, feature_dim=DIM, max_length=7, allow_missing=True)
    expected = processor(audio_features=[FRAMES, None], text=["I said it was fine today", "sad"])
    processor.save_pretrained(tmp_path)
    EmoMMConfig().save_pretrained(tmp_path)
    for loaded in (EmoMMProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is EmoMMProcessor
        assert (loaded.modality, loaded.feature_dim, loaded.max_length, loaded.allow_missing) == ("both", DIM, 7, True)
        got = loaded(audio_features=[FRAMES, None], text=["I said it was fine today", "sad"])
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_processor_for_voice_alone_comes_back_without_a_tokenizer(tmp_path):
    folder = tmp_path / "new" / "voice"
    EmoMMProcessor(modality="audio", feature_dim=DIM).save_pretrained(folder)
    EmoMMConfig(modality="audio").save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".py") == [
        "checksums.json", "config.json", "processor_config.json"
    ]  # fmt: skip
    for loaded in (EmoMMProcessor.from_pretrained(folder), AutoProcessor.from_pretrained(folder)):
        assert type(loaded) is EmoMMProcessor and loaded.tokenizer is None
        assert (loaded.modality, loaded.feature_dim) == ("audio", DIM)
        assert loaded(audio_features=FRAMES)["audio_features"].tolist() == [FRAMES.tolist()]


def test_a_processor_for_voice_alone_is_pushed_when_asked(tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(
        EmoMMProcessor, "push_to_hub", lambda self, repo_id, **options: pushed.append((repo_id, options))
    )
    processor = EmoMMProcessor(modality="audio", feature_dim=DIM)
    processor.save_pretrained(tmp_path / "voice", push_to_hub=True, private=True)
    processor.save_pretrained(tmp_path / "voice", push_to_hub=True, repo_id="me/voice")
    assert pushed == [("voice", {"private": True}), ("me/voice", {})]


# ---- recordings -----------------------------------------------------------------------------------------------------

SOUNDS = [np.random.default_rng(i).uniform(-0.5, 0.5, size).astype(np.float32) for i, size in enumerate((8000, 16000))]


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> SpeechEncoder:
    return SpeechEncoder.from_pretrained(speech_folder(tmp_path_factory.getbasetemp()), frame_rate=10.0, device="cpu")


def speech_folder(base) -> str:
    folder = base / "speech-of-processor"
    return str(folder) if folder.exists() else tiny_speech_encoder(folder, "wav2vec2-layer")


@pytest.fixture
def hearing(tokenizer, speech, tmp_path_factory) -> EmoMMProcessor:
    """A processor that knows its encoder, which it loads from its folder."""
    processor = EmoMMProcessor(tokenizer, feature_dim=WIDTH, speech_encoder=speech.features.to_dict())
    processor.load_speech_encoder(speech_folder(tmp_path_factory.getbasetemp()), "cpu")
    return processor


def test_recordings_become_the_features_of_their_encoder(hearing, speech, tmp_path):
    features = speech(SOUNDS)
    expected = hearing(audio_features=features, text=["sad", "happy"])
    soundfile.write(tmp_path / "one.wav", SOUNDS[0], 16000, subtype="FLOAT")
    content = (tmp_path / "one.wav").read_bytes()
    whole = Waveform(SOUNDS[1])
    for one in (tmp_path / "one.wav", content, {"array": SOUNDS[0], "sampling_rate": 16000}, SOUNDS[0]):
        batch = hearing(audio=[one, whole], text=["sad", "happy"], sampling_rate=16000)
        assert list(batch) == list(expected)
        assert all(torch.allclose(batch[name], expected[name], atol=1e-5) for name in expected)
    single = hearing(audio=content, text="sad")
    assert torch.allclose(single["audio_features"], expected["audio_features"][:1, :5], atol=1e-5)
    mixed = hearing(audio=[None, whole], audio_features=[features[0], None], text=["sad", "happy"])
    assert torch.allclose(mixed["audio_features"], expected["audio_features"], atol=1e-5)
    hearing.allow_missing = True
    batch = hearing(audio=[None, whole], text=["sad", None])
    assert batch["audio_mask"].any(dim=1).tolist() == [False, True]


def test_recordings_that_cannot_be_used_are_refused(hearing, tokenizer):
    with pytest.raises(ValueError, match="utterance 1: both a recording and features"):
        hearing(audio=[None, SOUNDS[0]], audio_features=[np.ones(WIDTH)] * 2, text=["a", "b"], sampling_rate=16000)
    with pytest.raises(ValueError, match="1 recordings are given, and the features of 2 utterances"):
        hearing(audio=[SOUNDS[0]], audio_features=[None, None], text=["a", "b"], sampling_rate=16000)
    with pytest.raises(AudioError, match="needs its sampling rate"):
        hearing(audio=SOUNDS[0], text="a")
    with pytest.raises(ValueError, match="does not say what made its voice features.*give audio_features.*speech_enc"):
        EmoMMProcessor(tokenizer, feature_dim=WIDTH)(audio=SOUNDS[0], text="a", sampling_rate=16000)
    words = EmoMMProcessor(tokenizer, modality="text")(audio=SOUNDS[0], text="a")
    assert list(words) == ["input_ids", "attention_mask"]


def test_the_encoder_is_described_in_the_folder_and_never_saved(hearing, speech, tmp_path):
    hearing.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["speech_encoder"] == speech.features.to_dict()
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix != ".py") < 50_000
    loaded = EmoMMProcessor.from_pretrained(tmp_path)
    assert loaded.speech_features == speech.features
    for other in (loaded, copy.deepcopy(hearing), pickle.loads(pickle.dumps(hearing))):
        assert other._loaded == {} and other.speech_features == speech.features
    assert hearing._loaded["encoder"] is hearing.load_speech_encoder()
    assert EmoMMProcessor(modality="audio").speech_features is None


def test_an_encoder_is_loaded_once_and_checked(hearing, speech, tmp_path, tmp_path_factory, monkeypatch):
    folder = speech_folder(tmp_path_factory.getbasetemp())
    loaded = hearing.load_speech_encoder(folder)
    assert loaded is hearing.load_speech_encoder() and loaded.features == speech.features
    other = tiny_speech_encoder(tmp_path / "another", "wav2vec2-layer", seed=3)
    with pytest.raises(WrongEncoder, match=r"made by speech-of-processor .*, not by another \(wav2vec2"):
        hearing.load_speech_encoder(other)
    assert hearing.load_speech_encoder() is loaded  # the right one is kept
    asked = []
    monkeypatch.setattr(SpeechEncoder, "for_features", lambda *given: asked.append(given) or speech)
    fresh = copy.deepcopy(hearing)
    assert fresh.load_speech_encoder(device="cpu", trust_remote_code=True) is speech
    assert asked == [(speech.features, None, "cpu", True)]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"encoder": "x"}, "model_type, num_layers, width is missing|is missing"),
        ({"encoder": "x", "model_type": "wav2vec2", "width": 9, "num_layers": 2}, "9 wide, and feature_dim is 16"),
    ],
)
def test_a_wrong_description_is_refused(described, message):
    with pytest.raises(ValueError, match=message):
        EmoMMProcessor(modality="audio", feature_dim=WIDTH, speech_encoder=described)
