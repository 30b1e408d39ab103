"""The demo: its numbers against the model's, its HTML, and the page in a browser."""

import importlib.util
import os
import shutil
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from test_live import talk
from tiny_emotion_models import LABELS
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import tiny_speech_encoder
from transformers import pipeline

from emomm.demo import markup as demo_html
from emomm.demo import page as demo
from emomm.demo import timeline
from emomm.demo.page import Options
from emomm.demo.timeline import emotion_over_time
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.processing_emomm import EmoMMProcessor
from emomm.waveforms import read_waveform

REAL = ROOT.parent / "shared" / "data" / "emodb" / "flac" / "03a01Wa.flac"
WORDS = "i am so <script>alert(1)</script> angry ${1+1} {{value}}"
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed: pip install emomm[demo]"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def speech(folder):
    return tiny_speech_encoder(folder / "speech", "wav2vec2-layer")


@pytest.fixture(scope="module")
def adaptive(folder, speech):
    return tiny_emotion_model(folder / "adaptive", speech)


@pytest.fixture(scope="module")
def cross(folder, speech):
    return tiny_emotion_model(folder / "cross", speech, fusion_type="cross_attention")


@pytest.fixture(scope="module")
def voice(folder, speech):
    return tiny_emotion_model(folder / "voice", speech, modality="audio")


@pytest.fixture(scope="module")
def words(folder):
    return tiny_emotion_model(folder / "words", modality="text")


@pytest.fixture(scope="module")
def recording(folder):
    """A real one where there is one, else one like it."""
    path = folder / "recording.flac"
    if REAL.is_file():
        shutil.copy(REAL, path)
    else:
        soundfile.write(path, talk((2, True)), 16000)
    return str(path)


def asked(model, speech, **given):
    """What the pipeline itself says."""
    pipe = pipeline("multimodal-emotion-recognition", model=model, trust_remote_code=True)
    return pipe(given, **({"speech_encoder": speech} if "audio" in given else {}))


def scores(result):
    return {each["label"]: each["score"] for each in result["scores"]}


# ---- emotion over time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["adaptive", "cross"])
def test_each_point_is_what_the_model_says_of_its_window(request, fusion):
    name = request.getfixturevalue(fusion)
    model, processor = EmoMMForEmotionClassification.from_pretrained(name), EmoMMProcessor.from_pretrained(name)
    model.eval()
    frames = np.random.default_rng(1).standard_normal((420, 16)).astype(np.float32)  # 42 s, in two batches
    found = emotion_over_time(model, processor, frames, 10.0, "i am so happy")
    assert found.labels == LABELS and found.seconds == 42.0
    assert found.times.tolist() == [i / 2 for i in range(85)]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.probabilities.std(axis=0).max() > 1e-3  # it changes over the recording
    for point, first, last in ((0, 0, 15), (6, 15, 45), (70, 335, 365), (84, 405, 420)):
        inputs = processor(audio_features=frames[first:last], text="i am so happy")
        with torch.no_grad():
            alone = model(**inputs).logits.softmax(dim=-1)[0].numpy()
        np.testing.assert_allclose(found.probabilities[point], alone, atol=1e-6)


def test_windows_at_the_ends_and_of_short_and_long_recordings():
    times, bounds = timeline.windows(10, 5.0)  # 2 s
    assert times.tolist() == [0, 0.5, 1, 1.5, 2]
    assert bounds.tolist() == [[0, 8], [0, 10], [0, 10], [0, 10], [2, 10]]
    times, bounds = timeline.windows(1, 5.0)
    assert times.tolist() == [0] and bounds.tolist() == [[0, 1]]
    times, bounds = timeline.windows(3600 * 5, 5.0)
    assert len(times) == timeline.MOST + 1 and times[-1] == pytest.approx(3600)
    assert (bounds[:, 1] > bounds[:, 0]).all() and bounds.min() == 0 and bounds.max() == 18000


def test_a_vector_has_no_time(adaptive):
    with pytest.raises(ValueError, match="one vector for the whole recording"):
        emotion_over_time(None, None, np.zeros(16, np.float32), 10.0)


# ---- what is asked --------------------------------------------------------------------------------------------------


def test_one_adaptive_model_is_asked_with_a_modality_missing(adaptive, speech, recording):
    answer = demo.recognise(demo.load(Options(adaptive, speech_encoder=speech)), recording, " i am so happy ")
    (both, first), (heard, second), (read, third) = answer.columns
    assert (both, heard, read) == ("Voice and words", "Voice only", "Words only")
    assert scores(first) == pytest.approx(scores(asked(adaptive, speech, audio=recording, text="i am so happy")))
    assert scores(second) == pytest.approx(scores(asked(adaptive, speech, audio=recording)))
    assert scores(third) == pytest.approx(scores(asked(adaptive, speech, text="i am so happy")))
    assert scores(first) != pytest.approx(scores(second)) != pytest.approx(scores(third))
    assert answer.timeline.labels == LABELS and len(answer.timeline.times) == 5
    without = demo.recognise(demo.load(Options(adaptive)), None, "i am so happy")
    assert without.columns[1][1] == "There is no recording." and "no recording" in without.timeline


def test_three_models_side_by_side(cross, voice, words, speech, recording):
    answer = demo.recognise(demo.load(Options(cross, voice, words, speech)), recording, "i am sad")
    expected = (
        asked(cross, speech, audio=recording, text="i am sad"),
        asked(voice, speech, audio=recording),
        asked(words, speech, text="i am sad"),
    )
    for (_, found), result in zip(answer.columns, expected, strict=True):
        assert scores(found) == pytest.approx(scores(result))


def test_the_voice_beside_it_is_heard_by_its_own_encoder(folder, cross, words, voice, speech, recording, monkeypatch):
    beside_words = demo.recognise(demo.load(Options(words, voice, None, speech)), recording, "i am sad")
    assert beside_words.columns[1][0] == "Voice only"
    assert scores(beside_words.columns[1][1]) == pytest.approx(scores(asked(voice, speech, audio=recording)))
    monkeypatch.chdir(folder)
    tiny_speech_encoder("another", "wav2vec2-layer", seed=5)
    other = tiny_emotion_model(folder / "other", "another", modality="audio")
    answer = demo.recognise(demo.load(Options(cross, other, None, speech)), recording, "i am sad")
    assert scores(answer.columns[1][1]) == pytest.approx(scores(asked(other, "another", audio=recording)))


def test_a_fusion_that_needs_both_says_so(cross, speech, recording):
    answer = demo.recognise(demo.load(Options(cross, speech_encoder=speech)), recording, "i am sad")
    assert all("can't be asked" in found for _, found in answer.columns[1:])
    with pytest.raises(ValueError, match="no recording, and this model needs one"):
        demo.recognise(demo.load(Options(cross)), None, "i am sad")


def test_models_of_one_modality(voice, words, speech, recording):
    heard = demo.recognise(demo.load(Options(voice, speech_encoder=speech)), recording, None)
    assert [title for title, _ in heard.columns] == ["Voice"] and len(heard.timeline.times) == 5
    read = demo.recognise(demo.load(Options(words)), None, "i am sad")
    assert [title for title, _ in read.columns] == ["Words"] and "only reads" in read.timeline
    with pytest.raises(ValueError, match="must be 'audio'"):
        demo.load(Options(words, voice_model=words))


def test_features_of_the_whole_recording_have_no_timeline(folder, speech, recording):
    model = tiny_emotion_model(folder / "utterance", speech, pooling="utterance")
    bars, details = demo.shown(demo.load(Options(model, speech_encoder=speech)), recording, "i am sad")
    assert "Likeliest" in bars and "one vector for the whole recording" in details


def test_what_goes_wrong_is_a_message(adaptive, speech, folder):
    models = demo.load(Options(adaptive, speech_encoder=speech))

    def said(samples, name="clip.wav", models=models):
        path = folder / "upload" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(samples, bytes):
            path.write_bytes(samples)
        else:
            soundfile.write(path, samples, 16000)
        bars, _ = demo.shown(models, str(path), "i am sad")
        assert str(path) not in bars
        return bars

    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    assert 'role="alert"' in said(b"no audio") and "clip.wav is no audio that can be read" in said(b"no audio")
    assert "clip.wav is too short" in said(noise[:100])
    assert "<li>clipped: " in said(np.sign(noise))
    wrong = tiny_speech_encoder(folder / "wrong", "wav2vec2-layer", seed=7)
    message = said(noise, models=demo.load(Options(adaptive, speech_encoder=wrong)))
    assert 'role="alert"' in message and "were made by" in message
    missing = said(noise, models=demo.load(Options(adaptive, speech_encoder=str(folder / "none"))))
    assert 'role="alert"' in missing and "be loaded" in missing
    assert "uploads are deleted" in demo.shown(models, str(folder / "upload" / "gone.wav"), "")[0]
    assert "nothing to go by" in demo.shown(models, None, "  ")[0]
    long = demo.shown(models, None, "so happy " * 600)[0]
    assert 'role="alert"' in long and "The words are 5399 characters long; this page takes 5000" in long


def test_nothing_heard_has_no_emotion(adaptive, cross, voice, words, speech, folder, monkeypatch):
    """Neither of silence nor of a room; the words alone, where a model can do with them; and no timeline."""
    hears, either, needs_both = (
        demo.load(Options(model, *beside, speech_encoder=speech))
        for model, beside in ((voice, ()), (adaptive, ()), (cross, (voice, words)))
    )
    alone = scores(asked(adaptive, speech, text="i am sad"))
    for name, sound in (
        ("silence", np.zeros(32000)),
        ("room", 1e-3 * np.random.default_rng(0).standard_normal(32000)),
    ):
        soundfile.write(path := folder / f"{name}.wav", sound, 16000)
        bars, details = demo.shown(hears, str(path), None)
        assert "There is no emotion to be named." in bars and "Likeliest" not in bars and "class=top" not in bars
        assert "<li>nothing was heard: no label is given</li>" in bars and "Nothing was heard in the rec" in details
        bars, details = demo.shown(either, str(path), "i am sad")
        assert all(bars.count(f">{demo_html.percent(share)}<") >= 2 for share in alone.values())
        assert "nothing was heard: the words alone decide" in bars and "Nothing was heard in the recording" in details
        bars, _ = demo.shown(needs_both, str(path), "i am sad")
        assert "There is no emotion to be named." in bars and bars.count("class=top") == 1  # the words'
    heard = demo.load(Options(words, transcribe="none/such"))
    assert "There is no emotion to be named." in demo.shown(heard, str(path), None)[0]


def test_nothing_is_drawn_where_nothing_is_said(voice, speech, folder):
    soundfile.write(path := folder / "pause.wav", talk((1.5, True), (7, False), (2, True)), 16000)
    models = demo.load(Options(voice, speech_encoder=speech))
    found = demo.recognise(models, str(path), None).timeline
    said = np.isfinite(found.probabilities).all(axis=1)
    assert said[found.times <= 2.5].all() and said[found.times >= 8].all()
    assert not said[(found.times >= 4) & (found.times <= 6.5)].any()
    whole = np.asarray(models.main.processor.load_speech_encoder()([read_waveform(path).samples])[0])
    plain = emotion_over_time(models.main.model, models.main.processor, whole, 10.0)
    np.testing.assert_array_equal(found.probabilities[said], plain.probabilities[said])
    html = demo_html.over_time(found, [], None)
    assert html.count("<polygon") == 2 * len(LABELS) and "nan" not in html and "<td>–</td>" in html


def test_a_model_from_before_is_shown_as_it_was(voice, speech, recording, monkeypatch):
    """Its code knows neither silence nor lengths, and its folder has no checksums."""
    models = demo.load(Options(voice, speech_encoder=speech))

    def code_of(pipe, module):
        if module == "voice_activity":
            raise ModuleNotFoundError(module)
        return demo.importlib.import_module(f"{type(pipe).__module__.rpartition('.')[0]}.{module}")

    usual, new = demo.recognise(models, recording, None), ("heard", "error")
    ask = type(models.main).__call__

    def before(pipe, *arguments, **options):
        return {key: value for key, value in ask(pipe, *arguments, **options).items() if key not in new}

    monkeypatch.setattr(demo, "_code_of", code_of)
    monkeypatch.setattr(type(models.main), "__call__", before)
    answer = demo.recognise(models, recording, None)
    assert answer.columns[0][1]["scores"] == usual.columns[0][1]["scores"]
    np.testing.assert_array_equal(answer.timeline.probabilities, usual.timeline.probabilities)


def test_options_come_from_the_command_line_then_the_environment_then_the_file(tmp_path):
    with pytest.raises(ValueError, match="no model is named"):
        demo.options_from([], tmp_path, {})
    (tmp_path / "demo.json").write_text(
        '{"made_by": "x", "model": "file", "voice_model": "file", "transcribe": "file"}'
    )
    environment = {"EMOMM_MODEL": "environment", "EMOMM_VOICE_MODEL": "environment"}
    options, port = demo.options_from(["--model", "line", "--port", "7"], tmp_path, environment)
    assert options == Options("line", "environment", None, None, "file") and port == 7


def test_a_demo_that_cannot_start_says_why(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("EMOMM_MODEL", raising=False)
    assert demo.main(["--model", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@needs_gradio
def test_the_hub_is_asked_before_anything_is_taken_from_it(monkeypatch, capsys, voice):
    """And not for folders. `app.py` gives what asks it with a time limit."""
    asked_for = []

    def load(options):
        assert asked_for == ["me/both", "me/asr"]
        raise OSError("not there")

    monkeypatch.setattr(demo, "load", load)
    assert demo.main(["--model", "me/both", "--voice_model", voice, "--transcribe", "me/asr"], asked_for.append) == 2
    assert "not there" in capsys.readouterr().err


@needs_gradio
def test_a_speech_encoder_that_a_model_names_is_asked_for_too(monkeypatch, capsys, voice, speech):
    asked_for = []

    class Page:
        def launch(self, **options):
            raise OSError("enough")

    monkeypatch.setattr(demo, "build", lambda models: Page())
    assert demo.main(["--model", voice], asked_for.append) == 2
    assert asked_for == [os.path.basename(speech)] and "enough" in capsys.readouterr().err
    asked_for.clear()
    assert demo.main(["--model", voice, "--speech_encoder", speech], asked_for.append) == 2
    assert asked_for == []


# ---- HTML -----------------------------------------------------------------------------------------------------------


def result(**changed):
    usual = {
        "label": "sad",
        "score": 0.75,
        "scores": [{"label": "sad", "score": 0.75}, {"label": "<b>", "score": 0.25}],
        "transcript": "so <script>",
        "transcribed": False,
        "words": [
            {"word": "so", "start": 0, "end": 2, "weight": 0.2},
            {"word": "<script>", "start": 3, "end": 11, "weight": 0.8},
        ],
        "moments": [],
        "weights_by": "attention",
        "gates": None,
        "notes": [],
    }
    return {**usual, **changed}


def test_bars():
    other = result(label="<b>", scores=[{"label": "<b>", "score": 0.999}, {"label": "sad", "score": 0.001}])
    html = demo_html.side_by_side((("One", result()), ("Two", other), ("Three", "no <i>")), ["a <note>"])
    assert "<b>" not in html and "<i>" not in html and "<note>" not in html and "a &lt;note&gt;" in html
    assert html.index(">75.0 %<") < html.index(">25.0 %<") < html.index(">0.1 %<") < html.index(">99.9 %<")
    assert 'style="width:75.0%"' in html and html.count("class=top") == 2
    gated = demo_html.side_by_side((("One", result(gates={"audio": 0.3, "text": 0.7})),), [])
    assert "voice 30.0 %, words 70.0 %" in gated


def test_words():
    html = demo_html.words(result())
    assert "<script>" not in html and html.count("&lt;script&gt;") == 2
    assert "--strength:0.100" in html and "--strength:0.400" in html and "20.0 %" in html and "80.0 %" in html
    assert "speech recogniser" in demo_html.words(result(transcribed=True)) and "speech recogniser" not in html
    assert "so &lt;script&gt;" in demo_html.words(result(words=[])) and demo_html.words(result(transcript=None)) == ""


def test_the_timeline():
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    line = timeline.Timeline(("sad", "<i>"), np.array([0.0, 1.0]), shares, 3.0, 2.0)
    moments = [{"start": 0.0, "end": 1.0, "weight": 0.25}, {"start": 1.0, "end": 2.0, "weight": 0.75}]
    html = demo_html.over_time(line, moments, "gradient")
    assert "<i>" not in html and 'points="0.00,10.00 50.00,80.00 100.00,80.00"' in html
    assert 'aria-label="sad over the recording: from 90.0 % to 20.0 %, highest 90.0 % at 0.0 s"' in html
    assert 'x="50.00" width="49.70" y="0.00" height="100.00"' in html and 'height="33.33"' in html
    assert html.count('role="img"') == 3 and "largest 75.0 % at 1.0–2.0 s" in html and ">seconds<" in html
    assert "reason &lt;" in demo_html.over_time("reason <", [], None)


@pytest.mark.parametrize(("seconds", "last", "count"), [(0.5, 0.5, 6), (2.0, 2.0, 5), (8.1, 8, 5), (299, 240, 5)])
def test_ticks(seconds, last, count):
    found = demo_html.ticks(seconds)
    assert found[0] == 0 and found[-1] == pytest.approx(last) and len(found) == count


# ---- the page -------------------------------------------------------------------------------------------------------


@needs_gradio
def test_uploads_are_deleted(adaptive, speech, recording, tmp_path, monkeypatch):
    from gradio_client import Client
    from gradio_client import handle_file

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    page = demo.build(demo.load(Options(adaptive, speech_encoder=speech)), kept=2)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **demo.launch_options())
    try:
        client = Client(address, verbose=False, download_files=False)
        bars, _ = client.predict(handle_file(recording), "i am sad", api_name="/recognise")
        expected = asked(adaptive, speech, audio=recording, text="i am sad")
        assert f"{expected['label']}</strong>, {demo_html.percent(expected['score'])}" in bars
        assert [path for path in tmp_path.rglob("*") if path.is_file()]
        until = time.monotonic() + 15
        while [path for path in tmp_path.rglob("*") if path.is_file()]:
            assert time.monotonic() < until, "an upload is still there"
            time.sleep(0.2)
    finally:
        page.close()
