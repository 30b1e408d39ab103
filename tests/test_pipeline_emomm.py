"""Recordings through the pipeline: the numbers, the weights, batches, refusals, and a stranger's process."""

import ast
import io
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoModel
from transformers import AutoProcessor
from transformers import AutoTokenizer
from transformers import TextClassificationPipeline
from transformers import pipeline

from emomm import pipeline_emomm
from emomm.answers import merge_tokens
from emomm.answers import shares
from emomm.configuration_emomm import EmoMMConfig
from emomm.corpora.builtin import BUILTIN
from emomm.exporting import export_model
from emomm.features.text_encoders import load_encoder
from emomm.modalities import beginning
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.pipeline_emomm import TASK
from emomm.pipeline_emomm import EmoMMPipeline
from emomm.processing_emomm import EmoMMProcessor
from emomm.sharing.model_card import _recording_code
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_features import WrongEncoder
from emomm.transcribing import _LOOP
from emomm.transcribing import pieces
from emomm.waveforms import AudioError
from emomm.waveforms import Waveform

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
WHISPER, FLACS = SHARED / "models" / "whisper-base", SHARED / "data" / "emodb" / "flac"
LABELS = ["calm", "glad", "angry"]
RATE = 16000
CASES = {
    "cross_attention": {"text_pooling": "mean"},
    "concat": {"fusion_type": "concat", "text_pooling": "mean"},
    "gated": {"fusion_type": "gated", "text_pooling": "cls"},
    "adaptive": {"fusion_type": "adaptive", "text_pooling": "mean", "vad_loss_weight": 0.5},
    "audio": {"modality": "audio", "hidden_dim": 0},
    "words": {"modality": "text", "hidden_dim": 0, "text_pooling": "mean"},
    "words_cls": {"modality": "text", "text_pooling": "cls"},
}


def recording(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


SOUNDS = [recording(seconds, seed) for seed, seconds in enumerate((0.5, 1.3, 0.21, 0.9))]
WORDS = ["I can't be happy today!", "sad", "what a day, was it not?", "leave me alone"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def encoder(place) -> SpeechEncoder:
    return SpeechEncoder.from_pretrained(
        tiny_speech_encoder(place / "speech", "wav2vec2-layer"), frame_rate=10.0, device="cpu"
    )


@pytest.fixture(scope="module")
def folders(place, encoder) -> dict[str, Path]:
    """Every case exported."""
    text = tiny_encoder(place / "bert", "bert", 16)
    tokenizer, exported = AutoTokenizer.from_pretrained(text), {}
    for seed, (name, values) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        config = EmoMMConfig(
            audio_dim=WIDTH,
            text_dim=16,
            text_model_name=text,
            text_config=load_encoder(text).config,
            text_max_length=24,
            fusion_hidden_dim=16,
            num_attention_heads=4,
            id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)},
            speech_encoder=encoder.features.to_dict(),
            **{"hidden_dim": 20} | values,
        )
        model = EmoMMForEmotionClassification(config)
        exported[name] = export_model(model, place / name / "model", tokenizer if config.uses_text else None)
    return exported


@pytest.fixture(scope="module")
def pipes(place, folders) -> dict[str, EmoMMPipeline]:
    """The installed package's pipeline of every case; the encoder comes from its folder."""
    made = {}
    for name, folder in folders.items():
        model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
        made[name] = EmoMMPipeline(
            model=model,
            processor=processor,
            task=TASK,
            device=-1,
            speech_encoder=str(place / "speech"),
            any_sound=True,  # noise is what is heard here
        )
    return made


def close(one, other, tolerance: float = 1e-5) -> None:
    """Two results are the same, numbers to the tolerance."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            close(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for each, its in zip(one, other, strict=True):
            close(each, its, tolerance)
    else:
        assert one == (pytest.approx(other, abs=tolerance) if isinstance(one, float) else other)


@pytest.mark.parametrize("name", CASES)
def test_the_scores_are_the_models(pipes, encoder, name):
    found = pipes[name](SOUNDS[0], text=WORDS[0], sampling_rate=RATE)
    model, processor = pipes[name].model, pipes[name].processor
    (features,) = encoder([SOUNDS[0]])
    assert features.shape == (5, WIDTH)  # the mean of five by five frames
    with torch.no_grad():
        outputs = model(**processor(audio_features=features, text=WORDS[0]))
    if name == "adaptive":
        assert found["vad"] == dict(zip(("valence", "arousal", "dominance"), outputs.vad[0].tolist(), strict=True))
    else:
        assert found["vad"] is None
    logits = outputs.logits
    expected = dict(zip(LABELS, logits.softmax(-1)[0].tolist(), strict=True))
    assert {each["label"]: each["score"] for each in found["scores"]} == pytest.approx(expected, abs=1e-6)
    assert [each["score"] for each in found["scores"]] == sorted(expected.values(), reverse=True)
    assert (found["label"], found["score"]) == tuple(found["scores"][0].values())
    assert found["weights_by"] == ("attention" if name == "cross_attention" else "gradient")
    assert found["notes"] == [] and found["transcribed"] is False and found["error"] is None
    assert found["heard"] is (None if name.startswith("words") else True)
    assert (found["gates"] is not None) is (name in ("gated", "adaptive"))
    if found["gates"]:
        assert sum(found["gates"].values()) == pytest.approx(1) and list(found["gates"]) == ["audio", "text"]
    assert found["transcript"] == (None if name == "audio" else WORDS[0])
    words, moments = found["words"], found["moments"]
    if name == "audio":
        assert words == []
    else:
        assert [each["word"] for each in words] == ["I", "can't", "be", "happy", "today!"]
        assert all(WORDS[0][each["start"] : each["end"]] == each["word"] for each in words)
        assert sum(each["weight"] for each in words) == pytest.approx(1)
        assert np.ptp([each["weight"] for each in words]) > 1e-3
    if name.startswith("words"):
        assert moments == []
    else:
        assert [(each["start"], each["end"]) for each in moments] == [(i / 10, (i + 1) / 10) for i in range(5)]
        assert sum(each["weight"] for each in moments) == pytest.approx(1)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("name", CASES)
def test_a_batch_gives_what_single_calls_give(pipes, encoder, name):
    inputs, texts = list(SOUNDS), list(WORDS)
    if name == "adaptive":
        inputs[1], texts[2] = None, None  # no voice; no words
    else:
        texts[2] = ""
    inputs[3] = {"audio_features": encoder([SOUNDS[3]])[0]}
    singles = [pipes[name](given, text=text, sampling_rate=RATE) for given, text in zip(inputs, texts, strict=True)]
    for size in (2, 3, 4):
        close(pipes[name](inputs, text=texts, sampling_rate=RATE, batch_size=size), singles)
    mute = "no words given: read as missing"
    if name.startswith("words"):  # nothing is left to go by
        mute = "there are no words, which are all that this model reads: no label is given"
        assert singles[2]["label"] is None and singles[2]["scores"] == [] and singles[2]["error"] is None
    assert [mute in each["notes"] for each in singles] == [False, False, name != "audio", False]
    assert singles[2]["words"] == [] and (name.startswith("words") or len(singles[2]["moments"]) == 2)
    if name == "adaptive":
        assert singles[1]["moments"] == [] and singles[1]["gates"] == {"audio": 0, "text": 1}


def test_all_the_ways_to_give_a_recording(pipes, encoder, tmp_path, monkeypatch):
    pipe, sound = pipes["cross_attention"], SOUNDS[0]
    soundfile.write(tmp_path / "one.wav", sound, RATE, subtype="FLOAT")
    content = (tmp_path / "one.wav").read_bytes()
    answer = type("Answer", (io.BytesIO,), {"length": 0})  # nothing of what was announced is left
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda self, url, timeout: answer(content))
    (features,) = encoder([sound])
    expected = pipe(sound, text="sad", sampling_rate=RATE)
    for given in (
        tmp_path / "one.wav",
        str(tmp_path / "one.wav"),
        "https://example.org/one.wav",
        content,
        io.BytesIO(content),
        torch.from_numpy(sound),
        Waveform(sound),
        {"array": sound, "sampling_rate": RATE},
        {"raw": sound, "sampling_rate": RATE},
        {"bytes": content, "path": None},
        {"path": str(tmp_path / "one.wav")},
        {"audio": {"array": sound, "sampling_rate": RATE}},
        {"audio": content},
        {"audio_features": features},
    ):
        due = {**expected, "heard": None} if isinstance(given, dict) and "audio_features" in given else expected
        close(pipe(given, text="sad", sampling_rate=RATE), due)
        if isinstance(given, dict):
            close(pipe({**given, "text": "sad"}, sampling_rate=RATE), due)
    close(pipe(audio_features=features, text="sad"), {**expected, "heard": None})
    close(pipe(audio_features=[features], text=["sad"]), [{**expected, "heard": None}])
    close(pipe([content, content], text="sad"), [expected, expected])  # one for all
    close(list(pipe(({"audio": content} for _ in range(2)), text="sad")), [expected, expected])
    close(pipe((content, content), text=("sad", "sad")), [expected, expected])
    streamed = pipe(({"audio": content, "text": "sad"} for _ in range(3)), batch_size=2)
    assert isinstance(streamed, types.GeneratorType)
    close(list(streamed), [expected] * 3)
    assert pipe([]) == []
    resampled = pipe({"array": np.repeat(sound, 2), "sampling_rate": 2 * RATE}, text="sad")
    assert resampled["notes"] == ["brought from 32000 to 16000 Hz"]
    assert len(pipe(content, text="sad", top_k=2)["scores"]) == 2


def test_weights_by_hand(pipes):
    """One linear layer over a mean: a position's share is the product of its state and the class' weights."""
    frames = np.random.default_rng(3).standard_normal((4, WIDTH)).astype(np.float32)
    found = pipes["audio"](audio_features=frames)
    weight = pipes["audio"].model.classifier.weight[LABELS.index(found["label"])].detach().numpy()
    expected = np.abs(frames @ weight)
    got = [each["weight"] for each in found["moments"]]
    np.testing.assert_allclose(got, expected / expected.sum(), atol=1e-6)
    model, tokenizer = pipes["words"].model, pipes["words"].processor.tokenizer
    found = pipes["words"](text="sad, happy")
    inputs = tokenizer("sad, happy", return_tensors="pt")
    with torch.no_grad():
        states = model.text_encoder(**inputs).last_hidden_state[0]
    expected = (states @ model.classifier.weight[LABELS.index(found["label"])]).abs().detach().numpy()
    assert tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]) == ["[CLS]", "sad", ",", "happy", "[SEP]"]
    by_word = np.array([expected[1] + expected[2], expected[3]])
    np.testing.assert_allclose([each["weight"] for each in found["words"]], by_word / by_word.sum(), atol=1e-6)
    assert [each["word"] for each in found["words"]] == ["sad,", "happy"]


def test_attention_weights_are_the_models(pipes, encoder):
    pipe = pipes["cross_attention"]
    (features,) = encoder([SOUNDS[0]])
    found = pipe(audio_features=features, text="sad happy")
    with torch.no_grad():
        to_words, to_frames = pipe.model(**pipe.processor(audio_features=features, text="sad happy")).attentions
    np.testing.assert_allclose([each["weight"] for each in found["moments"]], to_frames.mean(1)[0], atol=1e-6)
    words = to_words.mean(1)[0, 1:3]
    np.testing.assert_allclose([each["weight"] for each in found["words"]], words / words.sum(), atol=1e-6)


def test_no_gradient_is_left_and_inference_mode_is_no_hindrance(pipes):
    for name in ("gated", "words_cls"):
        expected = pipes[name](SOUNDS[0], text="sad", sampling_rate=RATE)
        with torch.inference_mode():
            close(pipes[name](SOUNDS[0], text="sad", sampling_rate=RATE), expected)
        assert all(parameter.grad is None for parameter in pipes[name].model.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_tokens_become_words(place, kind):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(place / f"words-{kind}", kind, 16))
    text = " I can't  be happy, today...no-one! "
    encoded = tokenizer(text, return_offsets_mapping=True)
    spans = merge_tokens(text, encoded.word_ids(0), encoded["offset_mapping"], [1.0] * len(encoded["input_ids"]))
    assert [text[start:end] for start, end, _ in spans] == ["I", "can't", "be", "happy,", "today...no-one!"]
    special = sum(each is None for each in encoded.word_ids(0))
    assert sum(weight for *_, weight in spans) >= len(encoded["input_ids"]) - special - 6  # spaces of their own
    assert len(encoded["input_ids"]) > 9


def test_scripts_without_spaces_keep_their_words():
    text = "今日は!"
    spans = merge_tokens(
        text, [None, 0, 1, 2, 3, None], [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (0, 0)], [9, 1, 2, 3, 4, 9]
    )
    assert spans == [(0, 1, 1.0), (1, 2, 2.0), (2, 4, 7.0)]
    assert shares([1, 3]) == [0.25, 0.75] and shares([0, 0]) == [0, 0] and shares([]) == []


def test_words_that_are_cut_are_noted(pipes):
    long = "happy " * 40
    found = pipes["words"](text=long)
    assert len(found["words"]) == 22  # 24 tokens with the special ones
    assert found["notes"] == [f"cut: the words after character {22 * 6 - 1} were not read"]


def test_a_megabyte_of_words_is_read_as_its_beginning(pipes, monkeypatch):
    pipe, long = pipes["words"], "so happy today " * 70_000
    seen, tokenizer = [], pipe.processor.tokenizer
    encode = type(tokenizer)._encode_plus

    def watched(self, text, *arguments, **options):
        seen.append(len(text) if isinstance(text, str) else max(map(len, text)))
        return encode(self, text, *arguments, **options)

    expected = pipe(text=long[:2000])
    monkeypatch.setattr(type(tokenizer), "_encode_plus", watched)
    found = pipe(text=long)
    assert seen and max(seen) <= 2400  # a hundred characters for each of 24 tokens
    close(found["scores"], expected["scores"])
    close(found["words"], expected["words"])
    assert found["notes"] == expected["notes"] != [] and found["transcript"] == long
    assert beginning("a" * 5000, 24) == "a" * 2400


def test_features_without_a_frame_rate_give_no_moments(pipes, folders):
    found = pipes["audio"](audio_features=np.ones(WIDTH, np.float32))
    assert found["moments"] == [] and found["notes"] == []
    processor = AutoProcessor.from_pretrained(folders["audio"])
    processor.speech_encoder = None
    pipe = EmoMMPipeline(model=pipes["audio"].model, processor=processor, device=-1)
    found = pipe(audio_features=np.ones((3, WIDTH), np.float32))
    assert found["moments"] == [] and found["notes"] == [
        "no weights of moments: the frame rate of the features is not known"
    ]
    with pytest.raises(ValueError, match="does not say what made its voice features"):
        pipe(SOUNDS[0], sampling_rate=RATE)


def test_another_encoder_is_refused_by_name_and_before_anything_runs(pipes, folders, place, monkeypatch):
    other = tiny_speech_encoder(place / "stranger", "wav2vec2-layer", seed=5)  # as wide: no shape would tell
    pipe = EmoMMPipeline(
        model=pipes["audio"].model, processor=AutoProcessor.from_pretrained(folders["audio"]), device=-1
    )
    monkeypatch.setattr(pipe.model, "forward", lambda **_: pytest.fail("the model was run"))
    for encoder_of_call in ({"speech_encoder": other}, {"speech_encoder": other, "transcribe": "none/such"}):
        with pytest.raises(WrongEncoder, match=r"made by speech \(wav2vec2.*not by stranger \(wav2vec2"):
            pipe(SOUNDS, sampling_rate=RATE, **encoder_of_call)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("gated", {"text": "sad"}, "there is no voice, which this model needs"),
        ("adaptive", {"text": ""}, "there are neither voice nor words"),
        ("words", {"inputs": "sad"}, "there are no words, which are all that this model reads: give text="),
        ("gated", {"inputs": "I hate you"}, r"I hate you: there is no such file \(words are given as text=...\)"),
        ("audio", {"inputs": SOUNDS[0] * np.nan}, "NaN"),
        ("audio", {"inputs": b"no audio"}, "no audio that can be read"),
        ("audio", {"inputs": {"array": SOUNDS[0], "sampling_rate": RATE, "label": 1}}, "'label' is not known"),
        ("audio", {"inputs": {"audio": SOUNDS[0], "array": SOUNDS[0]}}, "holds both audio and array"),
        ("gated", {"inputs": {"audio": SOUNDS[0], "text": "a"}, "text": "b"}, "text is given twice"),
        ("gated", {"inputs": SOUNDS[0], "text": 3}, "its text is 3; it must be a string"),
        ("audio", {"audio_features": np.ones(11)}, r"audio_features has shape \(11,\)"),
    ],
)
def test_an_input_that_cannot_be_used_is_refused_alone_and_an_entry_among_others(pipes, encoder, name, given, message):
    pipe, given = pipes[name], {"sampling_rate": RATE, **given}
    with pytest.raises(ValueError, match=message):
        pipe(**given)
    (features,) = encoder([SOUNDS[1]])
    good = {"audio_features": features, **({} if name == "audio" else {"text": "sad"})}
    expected = pipe(good)
    bad = given.pop("inputs", None)
    bad = bad if isinstance(bad, dict) else {"audio": bad}
    if twice := "text" in bad and "text" in given:  # what is given twice can't be said in one dictionary
        bad, message = {**bad, "nonsense": 1}, "'nonsense' is not known"
    bad |= {key: value for key, value in given.items() if not twice or key != "text"}
    for size in (1, 3):
        found = pipe([good, bad, good], batch_size=size)
        close([found[0], found[2]], [expected] * 2)
        assert re.search(message, found[1]["error"]) and found[1].keys() == expected.keys()
        assert (found[1]["label"], found[1]["score"], found[1]["scores"]) == (None, None, [])
    close(list(pipe(iter([bad, good]), batch_size=2))[1], expected)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("gated", {"inputs": SOUNDS[:2], "text": ["sad"]}, "text: 1 given, for 2 utterances"),
        ("gated", {"inputs": SOUNDS[0], "text": ["a", "b"]}, "inputs: one given, for 2 utterances"),
        ("gated", {"inputs": iter(()), "text": ["a"]}, "text: of a generator or data set, give each in a dictionary"),
        ("gated", {}, "nothing is given"),
        ("audio", {"inputs": SOUNDS[0], "top_k": 0}, "top_k is 0"),
    ],
)
def test_wrong_calls_are_refused(pipes, name, given, message):
    with pytest.raises(ValueError, match=message):
        pipes[name](**{"sampling_rate": RATE, **given})
    with pytest.raises(TypeError, match="'topk' is no argument"):
        pipes[name](SOUNDS[0], topk=1)


def test_a_bad_recording_is_an_audio_error(pipes):
    with pytest.raises(AudioError, match="no audio that can be read"):
        pipes["audio"](b"no audio")


def test_a_recording_that_is_too_short_for_the_encoder_is_an_entry(pipes, monkeypatch):
    encoder = pipes["audio"].processor.load_speech_encoder(pipes["audio"]._preprocess_params["speech_encoder"])
    frames_of = encoder.frames_of
    monkeypatch.setattr(encoder, "frames_of", lambda samples: 0 if samples < 8000 else frames_of(samples))
    found = pipes["audio"]([SOUNDS[2], SOUNDS[1]], sampling_rate=RATE, batch_size=2)
    assert found[0]["error"] == "0.210 s are too short for speech" and found[1]["label"] in LABELS


# ---- nothing heard, and lengths -------------------------------------------------------------------------------------

SILENCE = np.zeros(RATE, np.float32)
HUM = (0.05 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)).astype(np.float32)
NOTHING = "nothing was heard: no label is given"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sound", [SILENCE, HUM, SOUNDS[1]], ids=["silence", "hum", "noise"])
def test_nothing_heard_gives_no_label(pipes, monkeypatch, name, sound):
    monkeypatch.setattr(pipeline_emomm, "Transcriber", lambda *_: pytest.fail("words were looked for"))
    pipe = pipes[name]
    why = "silent" if sound is SILENCE else "no speech was found in it"
    found = pipe(sound, sampling_rate=RATE, transcribe="some/asr", any_sound=False)
    assert (found["label"], found["score"], found["scores"], found["error"]) == (None, None, [], None)
    assert found["heard"] is False and found["notes"] == [why, NOTHING] and found["transcript"] is None
    assert found["words"] == found["moments"] == [] and found["vad"] is None
    among = pipe([SOUNDS[0], sound, SOUNDS[0]], text=["sad", "", "sad"], sampling_rate=RATE, batch_size=3)
    close(among[2], pipe(SOUNDS[0], text="sad", sampling_rate=RATE))
    if sound is not SILENCE or name.startswith("words"):
        assert among[1]["label"] in (LABELS if not name.startswith("words") else [None])
    with_words = pipe(sound, text="sad", sampling_rate=RATE, any_sound=False)
    if name == "adaptive":  # what was said decides, as if there were no recording
        assert with_words["notes"] == [why, "nothing was heard: the words alone decide"]
        close(with_words["scores"], pipe(text="sad")["scores"])
    elif name.startswith("words"):
        close(with_words, pipe(text="sad"))
    else:
        assert with_words["label"] is None and with_words["notes"][-1] == NOTHING


def test_short_and_far_too_long_recordings_are_said(pipes, monkeypatch):
    pipe = pipes["audio"]
    short = "very short: 0.21 s tell little"
    assert pipe(SOUNDS[2], sampling_rate=RATE)["notes"] == [short]
    assert pipe(audio_features=np.ones((4, WIDTH), np.float32))["notes"] == ["very short: 0.40 s tell little"]
    long = np.ones((310, WIDTH), np.float32)
    assert pipe(audio_features=long)["notes"] == [
        "long: 31.0 s; models of emotion are trained on single utterances, so cut it"
    ]
    monkeypatch.setattr(pipe.model.config, "training_seconds", [0.8, 2.5, 12.0])
    known = "; those it was trained on have 0.8-12.0 s (98 % of them)"
    assert pipe(SOUNDS[2], sampling_rate=RATE)["notes"] == [short + known]
    assert pipe(audio_features=long)["notes"] == [
        f"far longer than what the model knows: 31.0 s{known}; cut it into utterances"
    ]
    assert pipe(audio_features=long[:230])["notes"] == []


# ---- the tasks that the card declares -------------------------------------------------------------------------------


def test_declared_tasks_have_the_shape_of_transformers(pipes, folders, place, caplog):
    """By name from a folder, as a stranger's `pipeline` does it, and the processor's own pipelines of transformers."""
    heard = pipeline(
        "audio-classification",
        model=str(folders["cross_attention"]),
        trust_remote_code=True,
        speech_encoder=str(place / "speech"),
        any_sound=True,
        device=-1,
    )
    assert type(heard).__module__.startswith("transformers_modules.")
    sound = {"array": SOUNDS[0], "sampling_rate": RATE}
    expected = pipes["cross_attention"](sound)["scores"]
    close(heard(sound), expected)
    close(heard([sound, sound], top_k=1), [expected[:1]] * 2)
    close(list(heard(iter([sound]))), [expected])
    assert heard([sound, SILENCE], sampling_rate=RATE)[1] == []
    assert "no label: silent; nothing was heard" in caplog.text
    read = pipeline("text-classification", model=str(folders["words"]), trust_remote_code=True, device=-1)
    of_words = pipes["words"](text="so sad")["scores"]
    close(read("so sad"), of_words[:1])
    close(read(["so sad", "so sad"]), of_words[:1] * 2)
    close(read("so sad", top_k=None), of_words)
    close(read(["so sad", ""], top_k=2), [of_words[:2], []])
    assert read(["so sad", ""])[1] == {"label": None, "score": None}
    model, tokenizer = pipes["words"].model, AutoTokenizer.from_pretrained(folders["words"])
    plain = TextClassificationPipeline(model=model, tokenizer=tokenizer, device=-1)
    close(plain("so sad", top_k=None), of_words, 1e-5)  # and no token types, which the model doesn't take


def test_missing_words_are_transcribed(pipes, monkeypatch):
    heard = []

    class Fake:
        def __init__(self, name, device, trust_remote_code):
            assert (name, trust_remote_code) == ("some/asr", False)

        def __call__(self, waveform):
            heard.append(len(waveform.samples))
            return "happy today" if len(heard) < 3 else ""

    monkeypatch.setattr(pipeline_emomm, "Transcriber", Fake)
    pipe = pipes["cross_attention"]
    sounds = [SOUNDS[0], SOUNDS[1], np.zeros(RATE, np.float32), SOUNDS[3], SOUNDS[2]]
    texts = ["sad", None, None, "[EMPTY]", None]
    found = pipe(sounds, text=texts, sampling_rate=RATE, transcribe="some/asr", batch_size=5)
    assert heard == [len(sounds[i]) for i in (1, 3, 4)]  # not where words are given, nor in silence
    assert [each["transcript"] for each in found] == ["sad", "happy today", None, "happy today", None]
    assert [each["transcribed"] for each in found] == [False, True, False, True, False]
    missing = "no words given: read as missing"
    assert found[2]["notes"] == ["silent", "nothing was heard: no label is given"]
    assert found[4]["notes"] == ["very short: 0.21 s tell little", "no words were heard", missing]
    close(found[1] | {"transcribed": False}, pipe(sounds[1], text="happy today", sampling_rate=RATE))
    heard.clear()
    assert pipes["words"](SOUNDS[0], sampling_rate=RATE, transcribe="some/asr")["transcript"] == "happy today"
    pipes["audio"](SOUNDS[0], sampling_rate=RATE, transcribe="some/asr")
    assert len(heard) == 1  # a model for voice alone asks for no words


def test_long_recordings_are_cut_in_pauses():
    sound = recording(70, 0)
    quiet = int(27.35 * RATE)
    sound[quiet - 800 : quiet + 800] = 0
    found = pieces(sound)
    assert abs(len(found[0]) - quiet) < RATE // 10 and all(len(piece) <= 30 * RATE for piece in found)
    assert np.array_equal(np.concatenate(found), sound) and len(pieces(SOUNDS[0])) == 1


def test_the_task_is_known_where_the_package_is_imported(pipes, folders):
    made = pipeline(TASK, model=pipes["audio"].model, processor=pipes["audio"].processor, device=-1)
    assert type(made) is EmoMMPipeline
    expected = made(SOUNDS[0], sampling_rate=RATE)
    assert expected["label"] in LABELS
    named = pipeline(TASK, model=str(folders["audio"]), pipeline_class=EmoMMPipeline, device=-1)
    assert type(named) is EmoMMPipeline and type(named.model) is EmoMMForEmotionClassification
    named.processor = made.processor  # which has its encoder
    close(named(SOUNDS[0], sampling_rate=RATE), expected)


CHILD = """
import json
import socket
import sys

# torch and transformers alone, no network, and nothing that reads recordings.
absent = ("emomm", "accelerate", "datasets", "evaluate", "pyarrow", "scipy", "sklearn", "wandb", "soundfile", "soxr")
sys.modules.update(dict.fromkeys(absent))


def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")


socket.socket.__init__ = socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

import numpy as np
from transformers import pipeline

told = json.load(open(sys.argv[1]))
inputs, said = np.load(told["inputs"]), {}
for name, folder in told["folders"].items():
    pipe = pipeline("multimodal-emotion-recognition", model=folder, trust_remote_code=True)
    for part in (pipe, pipe.model, pipe.processor):
        assert type(part).__module__.startswith("transformers_modules."), type(part)
    said[name] = {"features": pipe(audio_features=inputs["features"], text="sad")}
    pipe.save_pretrained(f"saved/{name}")
    again = pipeline("multimodal-emotion-recognition", model=f"saved/{name}", trust_remote_code=True)
    said[name]["saved"] = again(audio_features=inputs["features"], text="sad")
    said[name]["array"] = pipe(inputs["sound"], text="sad", sampling_rate=16000, speech_encoder=told["encoder"])
    if name != "words":
        try:
            pipe(told["wav"], text="sad")
        except ValueError as error:
            said[name]["refused"] = str(error)
        for library in ("soundfile", "soxr"):
            del sys.modules[library]
        import soundfile
        waveforms = sys.modules[type(pipe).__module__.replace("pipeline_emomm", "waveforms")]
        waveforms.soundfile = soundfile
        said[name]["wav"] = pipe([told["wav"]] * 2, text=["sad", "sad"], batch_size=2)[1]
        try:
            pipe(told["wav"], text="sad", speech_encoder=told["other"])
        except ValueError as error:
            said[name]["other"] = f"{type(error).__name__}: {error}"
json.dump(said, open(sys.argv[2], "w"))
"""


def test_a_stranger_gets_the_same(pipes, folders, encoder, place, tmp_path):
    """A process without the package; features need neither soundfile nor soxr, and neither does an array."""
    (features,) = encoder([SOUNDS[0]])
    np.savez(tmp_path / "inputs.npz", features=features, sound=SOUNDS[0])
    soundfile.write(tmp_path / "one.wav", SOUNDS[0], RATE, subtype="FLOAT")
    told = {"inputs": "inputs.npz", "wav": "one.wav", "encoder": str(place / "speech")}
    told["other"] = tiny_speech_encoder(place / "other", "wav2vec2-layer", seed=5)
    told["folders"] = {name: str(folders[name]) for name in ("words", "cross_attention")}
    pipes["cross_attention"].save_pretrained(tmp_path / "by the package")
    told["folders"]["by the package"] = str(tmp_path / "by the package")
    (tmp_path / "told.json").write_text(json.dumps(told))
    (tmp_path / "child.py").write_text(CHILD)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_", "TRANSFORMERS_"))}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    child = subprocess.run(
        [sys.executable, "-I", "child.py", "told.json", "said.json"],
        cwd=tmp_path,
        env=kept | offline | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-4000:]
    said = json.loads((tmp_path / "said.json").read_text())
    for name in told["folders"]:
        pipe = pipes["words" if name == "words" else "cross_attention"]
        expected = pipe(SOUNDS[0], text="sad", sampling_rate=RATE)
        for given in {"features", "saved", "array", "wav"} & said[name].keys():
            heard = None if given in ("features", "saved") else expected["heard"]
            close(said[name][given], {**expected, "heard": heard})
    assert "wav" in said["cross_attention"]
    assert "can't be read without soundfile: pip install soundfile soxr" in said["cross_attention"]["refused"]
    assert said["cross_attention"]["other"].startswith("WrongEncoder: the features of this model were made by speech ")


def test_the_code_of_the_card_runs(folders, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    soundfile.write("recording.wav", SOUNDS[0], RATE)
    load = EmoMMProcessor.load_speech_encoder  # by the folder: the encoder's name is no id on the Hub
    monkeypatch.setattr(
        EmoMMProcessor, "load_speech_encoder", lambda self, *_: load(self, str(place / "speech"), "cpu")
    )
    for name, modality in (("audio", "audio"), ("concat", "both")):
        config = json.loads((folders[name] / "config.json").read_text())
        facts = types.SimpleNamespace(
            settings=types.SimpleNamespace(modality=modality), config=config, hub_model_id=str(folders[name])
        )
        code = _recording_code(facts)
        assert ("text=" in code) is (modality == "both")
        exec(compile(code, "card", "exec"), {})
        assert ast.literal_eval(capsys.readouterr().out.strip().splitlines()[-1])["label"] in LABELS
    config["speech_encoder"] = None
    assert _recording_code(facts) == ""


@pytest.mark.skipif(not (WHISPER / "config.json").exists(), reason="no copy of Whisper-base beside the checkout")
def test_a_real_recording_through_whisper(place, folders, tmp_path):
    """The frames of the sample corpora, and German words."""
    text = str(place / "bert")
    torch.manual_seed(0)
    config = EmoMMConfig(
        audio_dim=512,
        text_dim=16,
        text_model_name=text,
        text_config=load_encoder(text).config,
        fusion_hidden_dim=16,
        num_attention_heads=4,
        hidden_dim=8,
        speech_encoder=BUILTIN["emodb"].speech_encoder,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    tokenizer = AutoTokenizer.from_pretrained(text)
    folder = export_model(EmoMMForEmotionClassification(config), tmp_path / "model", tokenizer)
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    pipe = EmoMMPipeline(model=model, processor=processor, device=-1, speech_encoder=str(WHISPER))
    flac = FLACS / "03a01Wa.flac"
    with np.load(FLACS.parent / "whisper_base_5hz.npz") as stored:
        names = [Path(str(name)).stem for name in stored["files"]]
        shipped = stored["frames"][names.index(flac.stem)].astype(np.float32)
    (utterance,) = pipe.preprocess([{"audio": flac, "text": "sad"}], speech_encoder=str(WHISPER))["utterances"]
    cosine = (utterance.features * shipped).sum(1) / np.linalg.norm(utterance.features, axis=1)
    assert utterance.features.shape == (10, 512)
    assert (cosine / np.linalg.norm(shipped, axis=1)).min() > 0.999
    found = pipe(flac, transcribe=str(WHISPER))
    assert found["transcribed"] and found["transcript"].startswith("Der Lappen liegt auf dem Ei")
    assert "<|" not in found["transcript"]
    assert [each["start"] for each in found["moments"]] == [i / 5 for i in range(10)]
    close(found["scores"], pipe(audio_features=shipped, text=found["transcript"])["scores"], 2e-3)
    with pytest.raises(WrongEncoder, match=r"made by openai/whisper-base .*not by speech \(wav2vec2"):
        pipe(flac, text="sad", speech_encoder=str(place / "speech"))


def test_a_rate_beside_an_array_in_a_dictionary(pipes):
    pipe, sound = pipes["cross_attention"], SOUNDS[0]
    same = pipe({"audio": sound}, text="sad", sampling_rate=RATE)
    assert pipe({"array": sound}, text="sad", sampling_rate=RATE)["scores"] == same["scores"]


def test_iterators_and_data_sets_come_one_by_one(pipes):
    pipe = pipes["cross_attention"]
    rows = [{"array": sound, "sampling_rate": RATE, "text": "sad"} for sound in SOUNDS[:2]]
    due = [each["label"] for each in pipe(rows)]
    assert [each["label"] for each in pipe(map(dict, rows))] == due
    plain = [{**row, "array": row["array"].tolist()} for row in rows]
    assert [each["label"] for each in pipe(datasets.Dataset.from_list(plain))] == due


@pytest.mark.parametrize(
    "words", ["Noooooo, stop it!", "1000000 dollars", "Well...... I see", "ha ha ha ha", "no no no no no"]
)
def test_ordinary_words_are_no_loop(words):
    assert not _LOOP.search(words)


@pytest.mark.parametrize("words", ["I am so sorry. " * 6, "you " * 12, "a" * 30, "Vielen Dank. " * 5])
def test_loops_are_found(words):
    assert _LOOP.search(words)


@pytest.fixture(scope="module")
def held(place, encoder) -> dict[str, EmoMMPipeline]:
    """Models that hold their speech encoder, of voice and words, and of voice alone; by which layers they use."""
    text, speech, made = place / "bert", str(place / "speech"), {}
    tiny_encoder(text, "bert", 16)
    for name, values in {
        "both": {"modality": "both", "fusion_type": "gated", "text_layers": "weighted", "speech_layers": [1, -1]},
        "voice": {"modality": "audio", "speech_layers": "weighted"},
    }.items():
        torch.manual_seed(4)
        loaded = AutoModel.from_pretrained(speech)
        config = EmoMMConfig(
            audio_dim=WIDTH,
            speech_config=loaded.config,
            speech_model_name=speech,
            text_dim=16,
            text_model_name=str(text),
            text_config=load_encoder(str(text)).config,
            text_max_length=24,
            fusion_hidden_dim=16,
            num_attention_heads=4,
            hidden_dim=20,
            id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)},
            **values,
        )
        model = EmoMMForEmotionClassification(config)
        model.attach_speech_encoder(loaded)
        tokenizer = AutoTokenizer.from_pretrained(text) if name == "both" else None
        folder = export_model(model, place / f"held-{name}" / "model", tokenizer, None, encoder.feature_extractor)
        model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
        made[name] = EmoMMPipeline(model=model, processor=processor, task=TASK, device=-1, any_sound=True)
    return made


@pytest.mark.parametrize("name", ["both", "voice"])
def test_a_model_that_holds_its_encoder_is_given_recordings(held, name):
    """Its scores are those of `input_values`; a batch gives what single calls give; words and moments have weights."""
    pipe = held[name]
    words = WORDS if name == "both" else [None] * 4
    found = pipe(SOUNDS, text=words, sampling_rate=RATE, batch_size=3)
    batch = pipe.processor(audio=SOUNDS, text=words if name == "both" else None, sampling_rate=RATE)
    assert "input_values" in batch
    with torch.no_grad():
        expected = pipe.model(**batch).logits.softmax(dim=-1)
    for row, (result, sound, text) in enumerate(zip(found, SOUNDS, words, strict=True)):
        scores = {each["label"]: each["score"] for each in result["scores"]}
        assert [scores[label] for label in LABELS] == pytest.approx(expected[row].tolist(), abs=1e-5)
        close(result, pipe(sound, text=text, sampling_rate=RATE), 2e-5)
        assert len(result["moments"]) == pipe.processor.load_speech_encoder().frames_of(len(sound))
        for key in ("moments", "words") if name == "both" else ("moments",):
            assert sum(each["weight"] for each in result[key]) == pytest.approx(1)
            assert len({round(each["weight"], 6) for each in result[key]}) > 1 or len(result[key]) == 1


def test_no_other_encoder_stands_for_the_one_that_is_held(held, place):
    with pytest.raises(WrongEncoder, match="holds its speech encoder, which no other can stand for"):
        held["voice"](SOUNDS[0], sampling_rate=RATE, speech_encoder=str(place / "speech"))
    processor = EmoMMProcessor.from_pretrained(place / "held-voice" / "model")
    with pytest.raises(ValueError, match="use_held_encoder"):
        processor.load_speech_encoder()
    with pytest.raises(ValueError, match="both recordings and audio_features are given"):
        processor(audio=SOUNDS[0], audio_features=np.zeros((1, WIDTH)), sampling_rate=RATE)
