"""A model as ONNX: the same answers as torch's, padded or alone, and without torch in the process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from conftest import ROOT
from test_predicting import corpus
from test_predicting import voice
from tiny_emotion_models import LABELS
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import FEW
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoFeatureExtractor

from emomm import fusions
from emomm.cli.main import main
from emomm.configuration_emomm import EmoMMConfig
from emomm.errors import InputError
from emomm.exporting import export_model
from emomm.fusions import Fusion
from emomm.fusions import FusionOutput
from emomm.fusions import register_fusion
from emomm.inference import onnx_export
from emomm.inference.onnx_export import CLOSE
from emomm.inference.onnx_export import export_onnx
from emomm.inference.onnx_graphs import SpeechGraph
from emomm.inference.onnx_inputs import Voice
from emomm.inference.onnx_inputs import log_mel
from emomm.inference.onnx_inputs import normalized
from emomm.inference.onnx_model import OnnxModel
from emomm.inference.predicting import load_model
from emomm.inference.predicting import predict
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.pipeline_emomm import EmoMMPipeline
from emomm.speech_encoders import SpeechEncoder

SAID = "I am so happy, today!"
SHORT = {"layers": 2, "convolutions": FEW}  # to follow an encoder takes seconds a layer
RECORDED = ("wav2vec2", "wavlm", "whisper", "emotion2vec")


def vectors(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """`model`, of voice and words with cross attention, its encoder, `onnx`, the whole of it, and a recording."""
    folder = tmp_path_factory.mktemp("onnx")
    tiny_speech_encoder(folder / "speech", "wav2vec2", **SHORT)
    tiny_emotion_model(folder / "model", str(folder / "speech"), fusion_type="cross_attention")
    export_onnx(str(folder / "model"), folder / "onnx", speech_encoder=str(folder / "speech"))
    soundfile.write(folder / "one.wav", voice(1.1), 16000, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def torch_pipeline(place) -> EmoMMPipeline:
    model, processor = load_model(str(place / "model"), False)
    return EmoMMPipeline(model=model, processor=processor, device=model.device, speech_encoder=str(place / "speech"))


def same(mine: dict, theirs: dict) -> None:
    """Two results: equal, but for rounding."""
    assert mine.keys() == theirs.keys()
    for key in mine.keys() - {"scores", "score", "words", "moments"}:
        assert mine[key] == theirs[key], key
    of = [{each["label"]: each["score"] for each in result["scores"]} for result in (mine, theirs)]
    assert of[0] == pytest.approx(of[1], abs=CLOSE)
    for key in ("words", "moments"):
        assert [each["start"] for each in mine[key]] == pytest.approx([each["start"] for each in theirs[key]])
        weights = ([each["weight"] for each in result[key]] for result in (mine, theirs))
        assert next(weights) == pytest.approx(next(weights), abs=1e-3)


def test_it_answers_as_the_pipeline(place, torch_pipeline):
    """Recording and words, weights of words and moments included; and features in place of the recording."""
    emotion = OnnxModel(place / "onnx")
    given = {"audio": str(place / "one.wav"), "text": SAID}
    same(emotion(given), torch_pipeline(given))
    given = {"audio_features": vectors(5), "text": "not fine"}
    same(emotion(given), torch_pipeline(given))
    assert emotion(**given, top_k=2)["scores"] == emotion(given)["scores"][:2]
    with pytest.raises(ValueError, match="no voice"):
        emotion(text=SAID)
    with pytest.raises(ValueError, match="has shape"):
        emotion(audio_features=vectors(5)[:, 1:], text=SAID)


def test_padding_changes_no_answer(place):
    """Rows of two lengths side by side are what they are alone, in each of the three graphs."""
    emotion = OnnxModel(place / "onnx")
    rows = [
        {"audio_features": vectors(9), "text": "Leave me alone, it was not fine!"},
        {"audio_features": vectors(2, 1), "text": "sad"},
    ]
    together = emotion(rows)
    for row, of_both in zip(rows, together, strict=True):
        same(of_both, emotion(row))
    short, long = voice(0.5).astype(np.float32), voice(0.9).astype(np.float32)
    alone = [emotion.voice._states([each])[0] for each in (short, long)]
    for mine, theirs in zip(emotion.voice._states([short, long]), alone, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_what_the_folder_says(place):
    described = json.loads((place / "onnx" / "emomm_onnx.json").read_text())
    assert described["source"]["model"] == "model" and len(described["source"]["sha256"]) == 64
    assert described["labels"] == list(LABELS) and described["precision"] == "fp32" and described["part"] == "whole"
    assert [*described["graphs"]] == ["model.onnx", "text_encoder.onnx", "speech_encoder.onnx"]
    assert all(graph["largest_difference"] <= CLOSE for graph in described["graphs"].values())
    batch, length, width = described["graphs"]["model.onnx"]["inputs"]["audio_features"]
    assert isinstance(batch, str) and isinstance(length, str) and width == WIDTH
    files = {path.name for path in (place / "onnx").iterdir()}
    assert described["sha256"].keys() == files - {"emomm_onnx.json"}
    assert {"config.json", "tokenizer.json", "preprocessor_config.json", "feature_statistics.json"} <= files


def test_changed_files_are_refused(place, tmp_path):
    shutil.copytree(place / "onnx", tmp_path / "onnx")
    (tmp_path / "onnx" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not as it was written"):
        OnnxModel(tmp_path / "onnx")
    (tmp_path / "onnx" / "emomm_onnx.json").write_text("[]")
    with pytest.raises(InputError, match="can't be read"):
        OnnxModel(tmp_path / "onnx")


def test_torch_is_not_loaded(place, tmp_path):
    """Through the command line: recordings, and a corpus of features, whose predictions are torch's."""
    data = next(iter(corpus(tmp_path / "data", None).values()))
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import run_emomm
from emomm.cli.main import main
folder = {str(place / "onnx")!r}
assert main(["predict", folder, {str(place / "one.wav")!r}, "--text", {SAID!r}, "--json"]) == 0
assert main(["predict", folder, {data!r}, "--output", "rows.parquet"]) == 0
print([name for name in ("torch", "transformers") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "[]", done.stderr
    assert json.loads(done.stdout[: done.stdout.rindex("]") + 1])[0]["label"] in LABELS
    predict(str(place / "model"), data, tmp_path / "torch.parquet")
    mine, theirs = (pq.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("rows", "torch"))
    np.testing.assert_allclose(mine.pop("probabilities"), theirs.pop("probabilities"), atol=CLOSE)
    assert mine == theirs


def test_the_command_writes_the_head_in_int8(place, tmp_path, capsys):
    """A quarter of the size, answers near those of fp32; words are refused, states of the text encoder taken."""
    folder = tmp_path / "head"
    arguments = ["export", str(place / "model"), "--format", "onnx", "--precision", "int8", "--part", "head"]
    assert main([*arguments, "--output", str(folder)]) == 0
    assert "head in int8" in capsys.readouterr().out
    emotion, whole = OnnxModel(folder), OnnxModel(place / "onnx")
    for words in ({"text": SAID}, {}):
        with pytest.raises(InputError, match="--part whole"):
            emotion(audio_features=vectors(4), **words)
    states, _ = whole._encoded(whole.words.tokenize([SAID]), whole.modalities[1])
    mixed = whole(
        [{"audio_features": vectors(4), "text_features": states[0]}, {"audio_features": vectors(4), "text": SAID}]
    )
    scores = [{each["label"]: each["score"] for each in result["scores"]} for result in mixed]
    assert scores[0] == pytest.approx(scores[1], abs=CLOSE)
    found = emotion(audio_features=vectors(4), text_features=states[0])
    scores = {each["label"]: each["score"] for each in whole(audio_features=vectors(4), text=SAID)["scores"]}
    assert {each["label"]: each["score"] for each in found["scores"]} == pytest.approx(scores, abs=0.05)
    assert main(["predict", str(folder), str(place / "one.wav")]) == 2
    assert "takes audio_features, and no recordings" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [*RECORDED, "hubert"])
def test_graphs_of_speech_encoders_are_their_encoders(kind, tmp_path):
    """As they are followed: padded recordings give what the encoder gives of each alone."""
    encoder = SpeechEncoder.from_pretrained(tiny_speech_encoder(tmp_path / kind, kind), device="cpu")
    graph = SpeechGraph(encoder.model, [3], 3, False)
    waveforms = [voice(0.5).astype(np.float32), voice(0.33).astype(np.float32)]
    inputs = encoder.feature_extractor(
        waveforms,
        sampling_rate=16000,
        padding="max_length" if kind == "whisper" else True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        found = graph(mask=inputs["attention_mask"], **{graph.takes: inputs[graph.takes]})
    for waveform, states, real in zip(waveforms, found["audio_features"], found["audio_mask"], strict=True):
        alone = encoder([waveform])[0]
        assert int(real.sum()) == len(alone)
        np.testing.assert_allclose(states[real].numpy(), alone, atol=2e-5)


@pytest.mark.parametrize("kind", ["wavlm", "whisper", "emotion2vec"])
def test_encoders_of_each_family_are_exported(kind, tmp_path):
    """One that the model holds, in windows, all of its layers: padded or alone as torch has it."""
    encoder = SpeechEncoder.from_pretrained(tiny_speech_encoder(tmp_path / kind, kind, **SHORT), device="cpu")
    config = EmoMMConfig(
        modality="audio",
        audio_dim=WIDTH,
        speech_config=encoder.model.config,
        speech_layers="weighted",
        window_seconds=0.7,
        hidden_dim=0,
        id2label=dict(enumerate(LABELS)),
    )
    model = EmoMMForEmotionClassification(config).eval()
    model.attach_speech_encoder(encoder.model)
    export_model(model, tmp_path / "model", feature_extractor=encoder.feature_extractor)
    loaded, processor = load_model(str(tmp_path / "model"), False)
    writer = onnx_export._Writer(loaded, processor, tmp_path, "fp32")
    with onnx_export._quietly(), torch.no_grad():
        writer.speech(None)
    assert writer.graphs["speech_encoder.onnx"]["largest_difference"] <= CLOSE
    session = onnxruntime.InferenceSession(tmp_path / "speech_encoder.onnx")
    filters = np.load(tmp_path / "mel_filters.npy") if kind == "whisper" else None
    mine = Voice(writer.speech_of, filters, lambda inputs: session.run(["audio_features"], inputs)[0])
    sound = voice(1.1).astype(np.float32)
    theirs = processor.load_speech_encoder().heard([sound])[0]
    assert len(theirs) == 2
    for window, expected in zip(mine.heard([sound])[0], theirs, strict=True):
        np.testing.assert_allclose(window, expected, atol=CLOSE)


def test_recordings_are_made_ready_as_by_transformers(tmp_path):
    waveform = voice(1.3).astype(np.float32)
    whisper = AutoFeatureExtractor.from_pretrained(tiny_speech_encoder(tmp_path / "whisper", "whisper"))
    theirs = whisper([waveform], sampling_rate=16000)["input_features"][0]
    mine = log_mel(waveform, whisper.mel_filters, whisper.n_fft, whisper.hop_length, whisper.n_samples)
    np.testing.assert_allclose(mine, theirs, atol=2e-4)
    wav2vec2 = AutoFeatureExtractor.from_pretrained(tiny_speech_encoder(tmp_path / "wav2vec2", "wav2vec2"))
    theirs = wav2vec2([waveform], sampling_rate=16000)["input_values"][0]
    np.testing.assert_allclose(normalized(waveform), theirs, atol=1e-5)


def test_what_torch_cannot_follow_is_said(tmp_path, capsys, monkeypatch):
    """A fusion of the user's own that looks at values."""
    monkeypatch.setattr(fusions, "_REGISTRY", dict(fusions._REGISTRY))

    @register_fusion("looks_at_values")
    class Looks(Fusion):
        def __init__(self, dims: list[int], hidden_dim: int):
            super().__init__()
            self.output = torch.nn.Linear(sum(dims), hidden_dim)

        def forward(self, states):
            pooled = torch.cat([state.pooled for state in states], dim=-1)
            return FusionOutput(self.output(pooled if pooled.sum() > 0 else -pooled))

    tiny_emotion_model(tmp_path / "model", fusion_type="looks_at_values")
    folder = tmp_path / "onnx"
    assert main(["export", str(tmp_path / "model"), "--format", "onnx", "--output", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "its fusion 'looks_at_values'" in said and "Traceback" not in said
    assert not folder.exists()
    monkeypatch.setattr(onnx_export, "NEEDED", ("no_such_package",))
    assert main(["export", str(tmp_path / "model"), "--format", "onnx"]) == 2
    assert "pip install 'emomm[onnx]'" in capsys.readouterr().err
