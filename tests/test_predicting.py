"""`emomm predict` on recordings, and a corpus of another encoder refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from safetensors.torch import load_file
from safetensors.torch import save_file
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder

from emomm import predicting
from emomm.cli import main
from emomm.errors import InputError
from emomm.predicting import load_model
from emomm.predicting import predict
from emomm.predicting import predict_recordings
from emomm.predicting import readable
from emomm.speech_encoders import SpeechEncoder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model of voice and words, its encoder, another one, and two recordings."""
    folder = tmp_path_factory.mktemp("predicting")
    for name, seed in (("speech", 0), ("another", 4)):
        tiny_speech_encoder(folder / name, "wav2vec2-layer", seed)
    tiny_emotion_model(folder / "model", str(folder / "speech"), fusion_type="cross_attention")
    for name, seed in (("one", 1), ("two", 2)):
        sound = np.random.default_rng(seed).uniform(-0.5, 0.5, 8000 * seed)
        soundfile.write(folder / f"{name}.wav", sound, 16000, subtype="FLOAT")
    return folder


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


def test_results_as_people_read_them():
    scores = [{"label": "sad", "score": 0.75}, {"label": "neutral", "score": 0.25}]
    words = [{"word": word, "start": 0, "end": 1, "weight": weight} for word, weight in (("so", 0.1), ("“sad!”", 0.9))]
    result = {"label": "sad", "score": 0.75, "scores": scores, "transcript": "so “sad!”", "transcribed": True}
    result |= {"words": words, "moments": [{"start": 0, "end": 0.2, "weight": 1.0}], "weights_by": "attention"}
    vad = {"valence": 1.84, "arousal": 2.0, "dominance": 3.26}
    text = readable([{"recording": "a.wav", **result, "vad": vad, "gates": None, "notes": ["silent"]}])
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
        (["one.wav", "missing.flac", "--speech_encoder", "speech"], ["utterance 1: missing.flac: there is no such"]),
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
    spec = predicting.resolve_specs
    own = {"own": {"labels": ["neutral", "happy", "sad", "anger"], "test_only": True}}
    monkeypatch.setattr(predicting, "resolve_specs", lambda corpora, paths: spec(own, paths))
    for name, made_by in (("right", described["speech"]), ("unknown", None)):
        assert predict(str(place / "model"), "own", tmp_path / "p.parquet", corpus(tmp_path / name, made_by)) == 2
    with pytest.raises(InputError, match=r"own: the features of this model were made by speech .*not by another \("):
        predict(str(place / "model"), "own", tmp_path / "q.parquet", corpus(tmp_path / "wrong", described["another"]))
    assert not (tmp_path / "q.parquet").exists()


def test_broken_models_are_one_message(place, tmp_path, capsys):
    """Weights that are missing would be random ones, and another kind of model gives no emotions."""
    broken = Path(shutil.copytree(place / "model", tmp_path / "broken"))
    (weights,) = [
        path for path in broken.glob("*.safetensors") if any(name.startswith("classifier") for name in load_file(path))
    ]
    spare = {name: value for name, value in load_file(weights).items() if not name.startswith("classifier")}
    save_file(spare, weights, metadata={"format": "pt"})
    (broken / "model.safetensors.index.json").unlink(missing_ok=True)
    (tmp_path / "torn").mkdir()
    for path in (place / "model").iterdir():
        content = b"torn" if path.suffix == ".safetensors" else path.read_bytes()
        (tmp_path / "torn" / path.name).write_bytes(content)
    for model, said in (
        (broken, r"weights|could not be loaded"),
        (tmp_path / "torn", "could not be loaded"),
        (place / "speech", "is no EmoMM model; its configuration says 'wav2vec2'"),
    ):
        with pytest.raises(InputError, match=said):
            load_model(str(model), False)
    assert main(["predict", str(place / "model"), "x" * 300]) == 2
    assert main(["predict", str(place / "model"), str(place / "one.wav"), "--output", "/proc/no/such.json"]) == 2
    assert "can't write /proc/no/such.json" in capsys.readouterr().err
