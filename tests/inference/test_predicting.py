"""`emomm predict` on recordings, and a corpus of another encoder refused by name."""

import contextlib
import json
import os
import pickle
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoModel

from emomm.checksums import ChangedFiles
from emomm.cli.main import main
from emomm.errors import InputError
from emomm.inference import corpus_rows
from emomm.inference import predicting
from emomm.inference.predicting import load_model
from emomm.inference.predicting import predict
from emomm.inference.predicting import predict_recordings
from emomm.inference.shown_results import readable
from emomm.interruption import Interrupted
from emomm.interruption import interruptible
from emomm.processing_emomm import EmoMMProcessor
from emomm.speech_encoders import SpeechEncoder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model of voice and words, its encoder, another one, and two recordings."""
    folder = tmp_path_factory.mktemp("predicting")
    for name, seed in (("speech", 0), ("another", 4)):
        tiny_speech_encoder(folder / name, "wav2vec2-layer", seed)
    tiny_emotion_model(folder / "model", str(folder / "speech"), fusion_type="cross_attention")
    for name, seed in (("one", 1), ("two", 2)):
        soundfile.write(folder / f"{name}.wav", voice(0.6 * seed), 16000, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    (folder / "bad.wav").write_bytes(b"no sound")
    return folder


def voice(seconds: float) -> np.ndarray:
    """A voice-like tone that comes and goes, in a quiet room."""
    time = np.arange(round(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 15)) * (0.6 + 0.4 * np.sin(19 * time))
    return np.random.default_rng(0).normal(0, 1e-3, len(time)) + 0.2 * tone


def corpus(folder: Path, described: dict | None) -> dict[str, str]:
    rng = np.random.default_rng(0)
    rows = {
        "utterance_id": ["a", "b"],
        "speaker": ["x", "y"],
        "label": ["sad", "happy"],
        "transcript": ["sad", "happy"],
        "audio_features": [rng.standard_normal((3, WIDTH)).astype(np.float32).tolist() for _ in range(2)],
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(rows), folder / "train.parquet")
    if described is not None:
        (folder / "speech_encoder.json").write_text(json.dumps(described))
    return {"own": str(folder)}


def test_recordings_by_the_command(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(["predict", "model", "one.wav", "--text", "I am so sad", "--speech-encoder", "speech", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    (expected,) = predict_recordings("model", ["one.wav"], ["I am so sad"], speech_encoder="speech")
    assert result == expected and result["recording"] == "one.wav" and result["transcript"] == "I am so sad"
    assert main(["predict", "model", "one.wav", "--text", "I am so sad", "--speech_encoder", "speech"]) == 0
    assert capsys.readouterr().out == readable([expected]) + "\n"
    both = ["one.wav", "two.wav", "--text", "I am so sad", "--text", "happy", "--batch_size", "2"]
    assert main(["predict", "model", *both, "--speech_encoder", "speech", "--output", "out/said.json"]) == 0
    assert capsys.readouterr().out == "2 recordings predicted: out/said.json\n"
    first, second = json.loads((place / "out" / "said.json").read_text())
    assert second["recording"] == "two.wav" and second["transcript"] == "happy"
    assert first["score"] == pytest.approx(expected["score"], abs=1e-5)


def test_the_hub_is_asked_whether_it_answers_before_speech_models_are_taken_from_it(place, monkeypatch):
    """Their loaders wait for each file and try again: minutes of silence where it never answers."""
    asked = []
    monkeypatch.setattr(predicting, "reach_hub", asked.append)
    given = str(place / "model"), [str(place / "one.wav")], ["so sad"]
    with pytest.raises(InputError, match="'nobody/nothing' can't be loaded"):
        predict_recordings(*given, transcribe="nobody/asr", speech_encoder="nobody/nothing")
    assert asked == ["nobody/nothing", "nobody/asr"]
    asked.clear()
    assert predict_recordings(*given, speech_encoder=str(place / "speech"))[0]["error"] is None
    assert asked == []
    named = predicting.load_model(given[0], False)[1].speech_encoder["encoder"]
    with pytest.raises(InputError, match=f"{named!r} can't be loaded"):
        predict_recordings(*given)
    assert asked == [named]


def test_a_decoder_that_takes_a_signal_for_damage(monkeypatch):
    """The command ends, and nothing is written as if the recording were bad."""

    class Pipeline:
        def __init__(self, **_):
            pass

        def __call__(self, rows, batch_size):
            for row in rows:
                with contextlib.suppress(KeyboardInterrupt):
                    if row["audio"] == "one.wav":
                        signal.raise_signal(signal.SIGTERM)
                yield {"error": "it is damaged" if row["audio"] == "one.wav" else None}

    monkeypatch.setattr(predicting, "load_model", lambda *_: (SimpleNamespace(device="cpu"), None))
    monkeypatch.setattr(predicting, "reach_speech_models", lambda *_: None)
    monkeypatch.setattr(predicting, "EmoMMPipeline", Pipeline)
    written = []
    with pytest.raises(Interrupted), interruptible():
        written.append(predict_recordings("model", ["one.wav", "two.wav"]))
    assert not written


def test_one_bad_recording_of_several_and_a_silent_one(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    inputs = ["one.wav", "bad.wav", "missing.flac", "silent.wav", "two.wav"]
    texts = [word for text in "abcde" for word in ("--text", text)]
    assert main(["predict", "model", *inputs, *texts, "--speech_encoder", "speech", "--output", "some.json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "3 recordings predicted: some.json\n"
    assert "not predicted: bad.wav is no audio that can be read" in printed.err
    assert printed.err.endswith("\nnot predicted: missing.flac: there is no such file\n")
    results = json.loads((place / "some.json").read_text())
    assert [each["recording"] for each in results] == inputs
    assert [each["label"] is None for each in results] == [False, True, True, True, False]
    assert [each["error"] is None for each in results] == [True, False, False, True, True]
    (alone,) = predict_recordings("model", ["two.wav"], ["e"], speech_encoder="speech")
    assert results[4]["score"] == pytest.approx(alone["score"], abs=1e-5)
    lines = readable(results[1:4]).splitlines()
    assert lines[0] == "bad.wav: not predicted" and lines[1].startswith("  error: bad.wav is no audio")
    assert lines[2] == "missing.flac: not predicted"
    assert lines[4:] == [
        "silent.wav: no label", "  words: d", "  note: silent", "  note: nothing was heard: no label is given"
    ]  # fmt: skip
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write("noise.wav", noise, 16000)
    for option, labelled in (([], False), (["--no_vad"], True)):
        assert main(["predict", "model", "noise.wav", "--speech_encoder", "speech", "--json", *option]) == 0
        assert (json.loads(capsys.readouterr().out)[0]["label"] is not None) is labelled


def test_what_a_killed_process_left_is_cleared_away(place, monkeypatch, capsys):
    """A file that was being written is none that is read, and the next to write there takes it away."""
    monkeypatch.chdir(place)
    left, running = (Path(f".left.json.{process}.temporary") for process in (2**30, os.getppid()))
    for path in (left, running):
        path.write_text("[{")
    assert main(["predict", "model", "one.wav", "--speech_encoder", "speech", "--output", "left.json"]) == 0
    assert len(json.loads(Path("left.json").read_text())) == 1
    assert [path.name for path in place.glob(".left*")] == [running.name]
    assert main(["predict", "model", "one.wav", "--speech_encoder", "speech", "--output", str(place / "model")]) == 2
    assert "it is a folder" in capsys.readouterr().err and (place / "model" / "config.json").exists()


def test_results_as_people_read_them():
    scores = [{"label": "sad", "score": 0.75}, {"label": "neutral", "score": 0.25}]
    words = [{"word": word, "start": 0, "end": 1, "weight": weight} for word, weight in (("so", 0.1), ("“sad!”", 0.9))]
    result = {"label": "sad", "score": 0.75, "scores": scores, "transcript": "so “sad!”", "transcribed": True}
    result |= {"words": words, "moments": [{"start": 0, "end": 0.2, "weight": 1.0}], "weights_by": "attention"}
    vad = {"valence": 1.84, "arousal": 2.0, "dominance": 3.26}
    text = readable([{"recording": "a.wav", **result, "vad": vad, "gates": None, "notes": ["silent"], "error": None}])
    assert text.splitlines() == [
        "a.wav: sad (75.0%)",
        "  sad      75.0%  ##############################",
        "  neutral  25.0%  ##########",
        "  valence 1.8, arousal 2.0, dominance 3.3 (of 1 to 5)",
        "  heard: so “sad!”",
        "  words that counted (attention): sad 90%, so 10%",
        "  moments that counted (attention): 0.0-0.2 s 100%",
        "  note: silent",
    ]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["one.wav", "--speech_encoder", "another"], ["made by speech (wav2vec2", "not by another (wav2vec2"]),
        (
            ["bad.wav", "missing.flac", "--speech_encoder", "speech"],
            ["bad.wav is no audio", "; missing.flac: there is"],
        ),
        (["one.wav", "--text", "a", "--text", "b"], ["--text is given 2 times for 1 recordings"]),
        (["one.wav", "emodb"], ["one.wav is a recording, and 'emodb' is no recording"]),
        (["one.wav", "--corpus", "emodb=."], ["one.wav is a recording", "--corpus goes with a corpus"]),
        (["emodb", "--text", "a", "--output", "o"], ["--text goes with recordings", "'emodb' is none"]),
        (["emodb", "--json"], ["--json goes with recordings"]),
        (["emodb", "other", "--output", "o"], ["unrecognized arguments: other"]),
        (["emodb"], ["--output FILE is missing"]),
    ],
)
def test_wrong_use_is_one_message(place, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(place)
    assert main(["predict", "model", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ")
    for part in parts:
        assert part in printed.err


def test_a_corpus_of_another_encoder_is_refused_by_name(place, tmp_path, monkeypatch):
    described = {
        name: SpeechEncoder.from_pretrained(str(place / name), frame_rate=10.0, device="cpu").features.to_dict()
        for name in ("speech", "another")
    }
    spec = corpus_rows.resolve_specs
    own = {"own": {"labels": ["neutral", "happy", "sad", "anger"], "test_only": True}}
    monkeypatch.setattr(corpus_rows, "resolve_specs", lambda corpora, paths: spec(own, paths))
    for name, made_by in (("right", described["speech"]), ("unknown", None)):
        assert predict(str(place / "model"), "own", tmp_path / "p.parquet", corpus(tmp_path / name, made_by)) == 2
    with pytest.raises(InputError, match=r"own: the features of this model were made by speech .*not by another \("):
        predict(str(place / "model"), "own", tmp_path / "q.parquet", corpus(tmp_path / "wrong", described["another"]))
    assert not (tmp_path / "q.parquet").exists()


def changed(place: Path, name: str, without_checksums: bool = False) -> Path:
    """A copy of the model's folder to break."""
    folder = Path(shutil.copytree(place / "model", place / name))
    if without_checksums:
        (folder / "checksums.json").unlink()
    return folder


def test_a_folder_that_is_not_what_was_written_is_refused(place):
    """By predict and live, before anything is loaded; and by whoever loads model or processor."""
    for name, said in (
        ("tokenizer.json", "tokenizer.json is missing"),
        ("model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors has changed"),
        ("config.json", "config.json has changed"),
        ("processor_config.json", "processor_config.json has changed"),
        ("model.safetensors", "model.safetensors was added"),
    ):
        folder = changed(place, f"changed-{name}")
        path = folder / name
        if name == "tokenizer.json":
            path.unlink()
        elif name == "config.json":
            config = json.loads(path.read_text())
            config["id2label"] = {"0": "sad", "1": "happy", "2": "neutral", "3": "anger"}
            path.write_text(json.dumps(config))
        elif name.endswith("-00002.safetensors"):
            content = bytearray(path.read_bytes())
            content[-5] ^= 1  # one bit of a weight
            path.write_bytes(content)
        else:
            path.write_bytes(path.read_bytes() + b" " if path.exists() else b"")
        with pytest.raises(InputError, match=rf"{said}\. Fetch.* again; or, .* delete checksums.json"):
            load_model(str(folder), False)
        loaded = EmoMMProcessor if name in ("tokenizer.json", "processor_config.json") else AutoModel
        with pytest.raises(ChangedFiles, match=said):
            loaded.from_pretrained(folder)


def test_a_file_that_was_changed_on_purpose_is_taken_without_its_line(place):
    folder = changed(place, "renamed")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): f"class {i}" for i in range(4)}
    config["label2id"] = {f"class {i}": i for i in range(4)}
    (folder / "config.json").write_text(json.dumps(config))
    noted = json.loads((folder / "checksums.json").read_text())
    assert "delete this file, or its line here" in noted["about"]
    del noted["sha256"]["config.json"]
    (folder / "checksums.json").write_text(json.dumps(noted))
    assert load_model(str(folder), False)[0].config.id2label[0] == "class 0"
    (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes() + b"\n")
    with pytest.raises(InputError, match="tokenizer.json has changed"):
        load_model(str(folder), False)
    (folder / "checksums.json").write_text("torn")
    with pytest.raises(InputError, match="checksums.json can't be read"):
        load_model(str(folder), False)
    (folder / "checksums.json").unlink()  # as in every export from before
    load_model(str(folder), False)


def test_line_ends_that_git_changes_and_what_is_saved_anew_are_no_change(place):
    folder = changed(place, "saved")
    for name in ("config.json", "tokenizer.json", "modeling_emomm.py"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    model, processor = load_model(str(folder), False)
    with torch.no_grad():
        model.classifier.bias += 1
    model.save_pretrained(folder)  # one file of weights in place of two, and an index less
    processor.max_length = 12
    processor.save_pretrained(str(folder))
    again, its = load_model(str(folder), True)  # its code is looked at as well
    assert torch.equal(again.classifier.bias, model.classifier.bias) and its.max_length == 12
    assert not list(folder.glob("model-*"))


def test_files_are_read_once_a_process(place, monkeypatch):
    load_model(str(place / "model"), False)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr("hashlib.sha256", lambda *_: pytest.fail("read again"))
    load_model(str(place / "model"), False)


def test_broken_models_are_one_message(place, tmp_path, capsys):
    """Weights that are missing would be random ones, and another kind of model gives no emotions."""
    broken = changed(place, "broken", without_checksums=True)
    (weights,) = [
        path for path in broken.glob("*.safetensors") if any(name.startswith("classifier") for name in load_file(path))
    ]
    spare = {name: value for name, value in load_file(weights).items() if not name.startswith("classifier")}
    save_file(spare, weights, metadata={"format": "pt"})
    torn = changed(place, "torn", without_checksums=True)
    for path in torn.glob("*.safetensors"):
        path.write_bytes(b"torn")
    wordless = changed(place, "wordless", without_checksums=True)
    (wordless / "tokenizer.json").unlink()
    settings = {"dropout": 2.0, "audio_dim": "wide", "fusion_type": "none", "id2label": ["a"]}
    for name, value in settings.items():
        path = changed(place, name, without_checksums=True) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    fewer = changed(place, "fewer", without_checksums=True)
    config = json.loads((fewer / "config.json").read_text())
    config |= {"id2label": {"0": "sad", "1": "anger"}, "label2id": {"sad": 0, "anger": 1}}
    (fewer / "config.json").write_text(json.dumps(config))
    (tmp_path / "empty").mkdir()
    for model, said in (
        (fewer, "its weights have other shapes than its config.json says"),
        (broken, "lacks 2 of its weights, such as classifier.bias"),
        (torn, "could not be loaded"),
        (wordless, "the tokenizer knows no words, only its 5 special tokens"),
        (place / "dropout", "config.json: dropout=2.0 is out of range; it must be at least 0 and below 1"),
        (place / "audio_dim", r"config.json: Field 'audio_dim' expected int, got str \(value: 'wide'\)"),
        (place / "fusion_type", "could not be loaded: fusion_type='none' is not known"),
        (place / "id2label", "could not be loaded: AttributeError"),
        (place / "speech", "is no EmoMM model; its configuration says 'wav2vec2'"),
        (tmp_path / "empty", "is a folder without config.json"),
        (tmp_path / "none", r"is no folder, and can't be an id on the Hub \(user/name\)"),
    ):
        with pytest.raises(InputError, match=said):
            load_model(str(model), False)
    assert main(["predict", str(place / "dropout"), str(place / "one.wav")]) == 2
    assert "\nerror: model " in f"\n{capsys.readouterr().err}"
    assert main(["predict", str(place / "model"), "x" * 300]) == 2
    assert main(["predict", str(place / "model"), str(place / "one.wav"), "--output", "/proc/no/such.json"]) == 2
    assert "can't write /proc/no/such.json" in capsys.readouterr().err


def test_weights_as_a_pickle_are_loaded_safely_or_not_at_all(place, tmp_path):
    folder = changed(place, "pickle", without_checksums=True)
    weights = {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    loaded, _ = load_model(str(folder), False)
    assert torch.equal(loaded.classifier.weight, weights["classifier.weight"])

    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(InputError, match="could not be loaded: UnpicklingError"):
        load_model(str(folder), False)
    assert not (tmp_path / "harm").exists()
