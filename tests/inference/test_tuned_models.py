"""Models of a job that read recordings, at work: a recording, and a corpus, get the numbers that the fold was tested
with."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from made_recordings import RATE
from made_recordings import encoders
from made_recordings import recorded_recipe
from made_recordings import recordings

from emomm.cli.main import main
from emomm.demo import page
from emomm.demo.timeline import frames_of
from emomm.errors import InputError
from emomm.experiments import job
from emomm.inference.live import LiveRecognizer
from emomm.inference.predicting import load_model
from emomm.inference.predicting import predict
from emomm.inference.predicting import predict_recordings
from emomm.pipeline_emomm import EmoMMPipeline
from emomm.settings.recipe import load_recipe
from emomm.utterances import Utterance
from emomm.utterances import of_utterances
from emomm.utterances import rows_of

EXPERIMENTS = {
    "weighted": {"speech_layers": "weighted", "modality": "audio"},
    "joined": {"modality": "audio", "max_eval_seconds": 0.15},
    "averaged": {"modality": "audio", "max_eval_seconds": 0.15, "speech_tuning": "full"},
    "both": {
        "speech_tuning": "lora",
        "text_tuning": "lora",
        "fusion_type": "adaptive",
        "max_eval_seconds": 0.15,
        "vad_loss_weight": 0.5,
    },
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> SimpleNamespace:
    """A finished job of two folds for each experiment; its recordings as files."""
    folder = tmp_path_factory.mktemp("tuned")
    table = recordings(16)
    experiments = [{"name": name, **fields} for name, fields in EXPERIMENTS.items()]
    fields = {**encoders(folder), "num_epochs": 1, "store_dtype": "float32", "validation_fraction": 0.5}
    recipe = recorded_recipe(folder, "made", table, experiments=experiments, **fields)
    assert not job.run(load_recipe(recipe)).failed
    rows = {row["utterance_id"]: row for row in table.to_pylist()}
    for name, row in rows.items():
        (folder / f"{name}.wav").write_bytes(row["audio"]["bytes"])
    return SimpleNamespace(folder=folder, rows=rows, corpus=str(folder / "made.parquet"))


def run_of(place, name) -> Path:
    return place.folder / "made" / name / "seed-1" / "session-1"


def saved_rows(place, name) -> tuple[list[dict], np.ndarray]:
    """The test rows of a fold, and their probabilities."""
    saved = pq.read_table(run_of(place, name) / "predictions.parquet").to_pylist()
    found = np.array([row["probabilities"] for row in saved])
    assert np.ptp(found, axis=0).max() > 0.01  # rows differ
    return saved, found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_recordings_get_the_numbers_of_the_evaluation(place, name):
    saved, expected = saved_rows(place, name)
    model = str(run_of(place, name) / "model")
    files = [str(place.folder / f"{row['utterance_id']}.wav") for row in saved]
    texts = [place.rows[row["utterance_id"]]["transcript"] for row in saved]
    results = predict_recordings(model, files, texts, batch_size=3, any_sound=True)
    labels = list(load_model(model, False)[0].config.id2label.values())
    scores = [{each["label"]: each["score"] for each in result["scores"]} for result in results]
    found = np.array([[of_row[label] for label in labels] for of_row in scores])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    longest = max(results, key=lambda result: result["moments"][-1]["end"])
    assert ("heard in 3 windows" in " ".join(longest["notes"])) == (name in ("averaged", "both"))
    assert sum(moment["weight"] for moment in longest["moments"]) == pytest.approx(1)
    assert all(moment["weight"] > 0 for moment in longest["moments"])
    if name == "both":
        ratings = np.array([list(result["vad"].values()) for result in results])
        columns = ["predicted_valence", "predicted_arousal", "predicted_dominance"]
        np.testing.assert_allclose(ratings, [[row[column] for column in columns] for row in saved], atol=1e-4)
        assert longest["words"] and longest["gates"].keys() == {"audio", "text"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_corpus_of_recordings_gets_the_same(place, name, capsys):
    saved, expected = saved_rows(place, name)
    output = place.folder / f"{name}.parquet"
    model = str(run_of(place, name) / "model")
    assert main(["predict", model, place.corpus, "--output", str(output), "--batch_size", "5"]) == 0
    assert capsys.readouterr().out == f"16 rows predicted: {output}\n"
    found = {row["utterance_id"]: row["probabilities"] for row in pq.read_table(output).to_pylist()}
    np.testing.assert_allclose([found[row["utterance_id"]] for row in saved], expected, atol=1e-5)


def test_what_is_too_short_for_a_frame_is_said(place):
    model = str(run_of(place, "both") / "model")
    soundfile.write(place.folder / "short.wav", np.full(1500, 0.1), RATE)
    files = [str(place.folder / name) for name in ("row-0.wav", "short.wav")]
    fine, short = predict_recordings(model, files, ["sad", "sad"], any_sound=True)
    assert fine["error"] is None and "short.wav" in short["error"] and "0.1 s" in short["error"]
    table = recordings(4)
    audio = table["audio"].to_pylist()
    sound = place.folder / "blip.wav"
    soundfile.write(sound, np.full(200, 0.1), RATE)
    audio[2]["bytes"] = sound.read_bytes()
    path = place.folder / "blips.parquet"
    pq.write_table(table.set_column(table.column_names.index("audio"), "audio", pa.array(audio)), path)
    with pytest.raises(InputError, match="row-2"):
        predict(model, str(path), place.folder / "out.parquet")


def test_its_own_encoder_is_the_only_one(place, capsys):
    """The one that it was tuned from would pass for the same by its description, and hear something else."""
    model, base = str(run_of(place, "averaged") / "model"), str(place.folder / "speech-wavlm")
    assert main(["predict", model, str(place.folder / "row-0.wav"), "--no_vad", "--speech_encoder", base]) == 2
    assert "this model holds its speech encoder, which no other can stand for" in capsys.readouterr().err
    assert main(["live", model, str(place.folder / "row-0.wav"), "--speech_encoder", base]) == 2
    assert "this model holds its speech encoder" in capsys.readouterr().err


def test_features_of_a_corpus_are_refused(place):
    """They were not made by the tuned encoder."""
    model = str(run_of(place, "averaged") / "model")
    with pytest.raises(
        InputError, match="no column of recordings.* holds its speech encoder: it takes the recordings"
    ):
        predict(model, "emodb_emobank", place.folder / "none.parquet")


def test_live_hears_a_window_as_a_recording(place):
    model, processor = load_model(str(run_of(place, "averaged") / "model"), False)
    model.config.window_seconds = 1.0
    processor.use_held_encoder(model)
    sound = np.concatenate([soundfile.read(place.folder / f"row-{row}.wav", dtype="float32")[0] for row in range(6)])
    sound = sound[: RATE // 2]
    (result,) = LiveRecognizer(model, processor, vad=None, window=1, hop=0.5, exact=True).feed(sound)
    pipe = EmoMMPipeline(model=model, processor=processor, device=-1, any_sound=True)
    expected = {each["label"]: each["score"] for each in pipe(sound, sampling_rate=RATE)["scores"]}
    assert result.scores == pytest.approx(expected, abs=1e-5)
    model.config.window_seconds = 0.8
    assert LiveRecognizer(model, processor, window=3, hop=0.5).window == 0.8
    assert LiveRecognizer(model, processor, window=3, hop=1).window == 1
    assert LiveRecognizer(model, processor, window=0.6, hop=0.5).window == 0.6
    encoder = processor.load_speech_encoder()
    encoder.samples_per_frame, encoder._mel = 320, True
    encoder.frames_of = lambda samples: 0
    with pytest.raises(ValueError, match="makes no frame of 0.1 s"):
        LiveRecognizer(model, processor, encoder)


def test_the_demo_asks_with_the_recording_what_is_heard_in_windows(place, monkeypatch):
    model, processor = load_model(str(run_of(place, "averaged") / "model"), False)
    pipe = EmoMMPipeline(model=model, processor=processor, device=-1, any_sound=True)
    models = page.Models(page.Options("user/model"), pipe)
    sound = {"array": soundfile.read(place.folder / "row-1.wav", dtype="float32")[0], "sampling_rate": RATE}
    (_, result), *_ = page.recognise(models, sound, None).columns
    expected = [each["score"] for each in pipe(sound)["scores"]]
    assert [each["score"] for each in result["scores"]] == pytest.approx(expected, abs=1e-6)
    features, whole = frames_of(pipe, processor.load_speech_encoder(), sound["array"])
    assert whole is None and len(features) > 2
    model.config.window_seconds = None
    processor.use_held_encoder(model)
    features, whole = frames_of(pipe, processor.load_speech_encoder(), sound["array"])
    assert whole is features
    beside = page.Models(page.Options("user/model"), pipe, voice=pipe)
    asked = []
    monkeypatch.setattr(EmoMMPipeline, "__call__", lambda self, row, **_: asked.append(sorted(row)))
    waveform = SimpleNamespace(samples=sound["array"], sampling_rate=RATE)
    page._voice_only(beside, waveform, features)
    assert asked == [["audio"]]  # each by its own encoder


def test_windows_of_an_utterance_are_one_answer():
    short, long = Utterance(features=np.zeros((2, 3))), Utterance()
    long.waveform = SimpleNamespace(seconds=2.0)
    long.hear([np.zeros((3, 3)), np.ones((1, 3))])
    assert long.features.shape == (4, 3) and long.notes == ["heard in 2 windows of 1.0 s, whose scores are averaged"]
    assert [len(window) for _, window in rows_of([short, long])] == [2, 3, 1]
    given = {
        "logits": np.array([[1.0, 2.0], [0.0, 4.0], [2.0, 0.0]]),
        "audio": np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 5.0], [6.0, 0.0, 0.0]]),
        "vad": None,
    }
    found = of_utterances(given, [short, long])
    assert found["logits"].tolist() == [[1.0, 2.0], [1.0, 2.0]] and found["vad"] is None
    assert found["audio"][1].tolist() == [3.0, 4.0, 5.0, 6.0]
    alone = of_utterances({"logits": given["logits"][:1], "audio": given["audio"][:1]}, [short])
    assert alone["audio"].shape == (1, 3)
