"""Live: windows, smoothing and silence, against recordings of the same parts; files, pipes, and what is too slow."""

import io
import itertools
import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import tiny_speech_encoder
from transformers import Wav2Vec2FeatureExtractor

from emomm.cli.main import main
from emomm.configuration_emomm import EmoMMConfig
from emomm.configuration_emotion2vec import Emotion2VecConfig
from emomm.errors import InputError
from emomm.exporting import export_model
from emomm.inference import live
from emomm.inference import sliding_window as streaming
from emomm.inference import sound_sources as sources
from emomm.inference.live import LiveRecognizer
from emomm.inference.live import LiveResult
from emomm.inference.live import recognize
from emomm.inference.predicting import load_model
from emomm.inference.sliding_window import WindowEncoder
from emomm.inference.sound_sources import Arrivals
from emomm.inference.sound_sources import Pcm
from emomm.inference.sound_sources import Source
from emomm.inference.sound_sources import open_source
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.processing_emomm import EmoMMProcessor
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_features import WrongEncoder

RATE = 16000
TINY = {
    "conv_dim": [8] * 4,
    "conv_kernel": [10, 8, 4, 4],
    "conv_stride": [5, 4, 4, 4],
    "hidden_size": 16,
    "prenet_depth": 1,
    "depth": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_pos_groups": 2,
}


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def talk(*parts: tuple[float, bool]) -> np.ndarray:
    """Seconds of a voice (True) and of a quiet room."""
    sound, seed = [], itertools.count()
    for seconds, voice in parts:
        time = np.arange(round(seconds * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 15)) * (0.6 + 0.4 * np.sin(19 * time))
        sound.append(noise(seconds, next(seed), 1e-3) + voice * 0.2 * tone)
    return np.concatenate(sound).astype(np.float32)


def encoder_of(folder: Path, kind: str, normalize: bool = True, layers: tuple[int, ...] = (-1,)) -> SpeechEncoder:
    if kind == "emotion2vec":
        torch.manual_seed(0)
        model = Emotion2VecModel(Emotion2VecConfig(**TINY, normalize=normalize))
        return SpeechEncoder(model, Wav2Vec2FeatureExtractor(do_normalize=False), kind, layers)
    encoder = SpeechEncoder.from_pretrained(tiny_speech_encoder(folder / kind, kind), layers, device="cpu")
    encoder.feature_extractor.do_normalize = normalize
    return encoder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model of the voice, one of voice and words, their encoder and another one, and a recording at 22 050 Hz."""
    folder = tmp_path_factory.mktemp("live")
    for kind in ("hubert", "wav2vec2-layer"):
        tiny_speech_encoder(folder / kind, kind)
    tiny_emotion_model(folder / "voice", str(folder / "hubert"), modality="audio")
    tiny_emotion_model(folder / "both", str(folder / "hubert"))
    soundfile.write(folder / "talk.wav", talk((1, False), (4, True), (1, False)), RATE)
    return folder


@pytest.fixture
def voice(place) -> tuple[EmoMMForEmotionClassification, EmoMMProcessor, SpeechEncoder]:
    model = EmoMMForEmotionClassification.from_pretrained(place / "voice")
    processor = EmoMMProcessor.from_pretrained(place / "voice")
    return model, processor, processor.load_speech_encoder(str(place / "hubert"), "cpu")


def probabilities(voice: tuple, samples: np.ndarray) -> np.ndarray:
    """What the model gives for a recording, without anything of live."""
    model, processor, encoder = voice
    with torch.no_grad():
        return model(**processor(audio_features=encoder([samples]))).logits.softmax(-1)[0].numpy()


@pytest.fixture(autouse=True)
def logger_as_it_was():
    """The command line sends what is logged to stderr; here that ends with the test."""
    logger = logging.getLogger("emomm")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


class Clock:
    """A clock that only goes on when something that takes time says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def slow(recognizer: LiveRecognizer, clock: Clock, seconds: float) -> None:
    """Each window takes so long, by the clock."""
    encode = recognizer.encoder

    class Slow:
        features, reuses, forget = encode.features, False, encode.forget

        def __call__(self, samples: np.ndarray, start: int) -> np.ndarray:
            clock.now += seconds
            return encode(samples, start)

    recognizer.encoder = Slow()


# ---- windows --------------------------------------------------------------------------------------------------------


def test_windows_are_what_recordings_of_them_give(voice):
    sound = noise(5.25)
    recognizer = LiveRecognizer(*voice, window=3, hop=0.5, vad=None, exact=True, smoothing=0.6)
    cuts = [0, 1, 7999, 8001, 40000, 40001, len(sound)]
    results = [r for start, end in itertools.pairwise(cuts) for r in recognizer.feed(sound[start:end])]
    results += recognizer.finish()
    ends = [0.5 * k for k in range(1, 11)] + [5.25]
    assert [(r.start, r.end) for r in results] == [(max(end - 3, 0), end) for end in ends]
    smoothed = None
    for result in results:
        expected = probabilities(voice, sound[round(result.start * RATE) : round(result.end * RATE)])
        smoothed = expected if smoothed is None else 0.6 * smoothed + 0.4 * expected
        np.testing.assert_allclose(list(result.scores.values()), expected, atol=1e-6)
        np.testing.assert_allclose(list(result.smoothed.values()), smoothed, atol=1e-6)
        assert result.label == max(result.smoothed, key=result.smoothed.get) and result.speech == 1
    assert len({round(r.scores["sad"], 5) for r in results}) > 8


def test_a_tail_shorter_than_a_tenth_of_a_second_is_left_out(voice):
    recognizer = LiveRecognizer(*voice, vad=None)
    assert len(recognizer.feed(noise(1.09))) == 2 and recognizer.finish() == []


def test_silence_is_left_out_and_ends_what_was_said(voice):
    sound = talk((1, False), (2, True), (2, False), (1.5, True), (1, False))
    results = LiveRecognizer(*voice, silence=True).feed(sound)
    said = [(r.start, r.end) for r in results if r.label is not None]
    # The hang-over of the voice activity detector makes half a second of the first pause speech.
    assert said == [(1, 1.5), (1, 2), (1, 2.5), (1, 3), (1, 3.5), (5, 5.5), (5, 6), (5, 6.5), (5, 7)]
    silent = [r for r in results if r.label is None]
    assert [r.end for r in silent] == [0.5, 1, 4, 4.5, 5, 7.5] and not any(r.scores or r.smoothed for r in silent)
    again = next(r for r in results if r.start == 5)
    assert again.smoothed == again.scores  # the smoothing has begun anew
    without = LiveRecognizer(*voice).feed(sound)
    assert [(r.start, r.end) for r in without] == said


def test_silence_is_no_speech_for_whoever_takes_everything(voice):
    sound = np.concatenate([noise(1), np.zeros(2 * RATE, np.float32), noise(1, level=1e-3)])
    results = LiveRecognizer(*voice, vad=None, silence=True).feed(sound)
    assert [r.label is None for r in results] == [False] * 2 + [True] * 4 + [False] * 2
    assert results[-2].start == 3  # what is heard after it begins anew


@pytest.mark.parametrize("kind", ["emotion2vec", "hubert", "wavlm", "wav2vec2-layer"])
@pytest.mark.parametrize("normalize", [False, True])
def test_kept_convolutions_change_nothing(tmp_path, kind, normalize):
    """Without normalisation a window gives what it gives alone; with it, what it gives with the held numbers."""
    encoder = encoder_of(tmp_path, kind, normalize, (0, -1))
    windows, sound, step = WindowEncoder(encoder), noise(5) + np.float32(0.002), RATE // 2
    assert windows.reuses
    computed = []
    for end in range(step, len(sound) + 1, step):
        start, before = max(end - 3 * RATE, 0), windows.computed
        found = windows(sound[start:end], start)
        computed.append(windows.computed - before)
        alone = WindowEncoder(encoder)
        if normalize:
            alone._held.mean, alone._held.deviation = windows._held.mean, windows._held.deviation
        np.testing.assert_allclose(found, alone(sound[start:end], start), atol=1e-4)
        if not normalize:
            np.testing.assert_allclose(found, encoder([sound[start:end]])[0], atol=1e-4)
    reach = streaming._reach(encoder)
    first = (step - reach) // 320 + 1
    assert computed == [first] + [25] * 9  # the new half second alone


def test_what_is_held_is_near(tmp_path):
    """Another level or mean is normalised with its own numbers, and then gives what a recording gives."""
    encoder = encoder_of(tmp_path, "emotion2vec")
    windows, sound = WindowEncoder(encoder), noise(2)
    windows(sound[:16000], 0)
    for start, changed in ((8000, sound * 1.2), (8000, sound + np.float32(0.01)), (8000, sound * 0.5)):
        before = windows.computed
        found = windows(changed[start : start + 16000], start)
        assert windows.computed - before == (16000 - streaming._reach(encoder)) // 320 + 1
        np.testing.assert_allclose(found, encoder([changed[start : start + 16000]])[0], atol=1e-4)
    before = windows.computed
    windows(changed[16000:32000] * 1.05, 16000)
    assert windows.computed - before == 25


@pytest.mark.parametrize("kind", ["wav2vec2", "w2v-bert", "whisper"])
def test_encoders_that_need_the_whole_window(tmp_path, kind):
    encoder = encoder_of(tmp_path, kind)
    windows, sound = WindowEncoder(encoder), noise(2)
    assert not windows.reuses and windows.computed is None
    for start in (0, 8000):
        np.testing.assert_array_equal(
            windows(sound[start : start + 16000], start), encoder([sound[start:][:16000]])[0]
        )


def test_the_given_encoder_is_left_alone(tmp_path):
    for kind in ("emotion2vec", "hubert"):
        encoder, sound = encoder_of(tmp_path, kind), noise(1)
        before = encoder([sound])[0]
        WindowEncoder(encoder)(sound, 0)
        np.testing.assert_array_equal(encoder([sound])[0], before)


def test_windows_off_the_grid_of_frames(tmp_path):
    encoder = encoder_of(tmp_path, "hubert", normalize=False)
    windows, sound = WindowEncoder(encoder), noise(3)
    for start in (0, 100, 8100, 8000, 30000):
        np.testing.assert_allclose(
            windows(sound[start:][:16000], start), encoder([sound[start:][:16000]])[0], atol=1e-4
        )


def test_words_are_read_once_for_all_hops(place):
    model, processor = (
        kind.from_pretrained(place / "both") for kind in (EmoMMForEmotionClassification, EmoMMProcessor)
    )
    encoder, sound = processor.load_speech_encoder(str(place / "hubert"), "cpu"), noise(1)
    runs = []
    model.text_encoder.register_forward_hook(lambda *_: runs.append(1))
    for text in ("i am so happy", None, ""):
        recognizer = LiveRecognizer(model, processor, encoder, text=text, vad=None, exact=True)
        runs.clear()
        results = recognizer.feed(sound)
        assert len(results) == 2 and not runs
        with torch.no_grad():
            logits = model.eval()(**processor(audio_features=encoder([sound]), text=[text])).logits
        np.testing.assert_allclose(list(results[-1].scores.values()), logits.softmax(-1)[0].numpy(), atol=1e-6)


def test_nan_is_silence(voice, caplog):
    sound = noise(1)
    sound[[5, 9000]], sound[9001] = np.nan, -np.inf
    clean = np.where(np.isfinite(sound), sound, 0)
    bad, good = (LiveRecognizer(*voice, vad=None).feed(each) for each in (sound, clean))
    assert [r.scores for r in bad] == [r.scores for r in good]
    assert "3 samples are NaN, infinite" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hop": 4}, "hop <= window"),
        ({"hop": 0.05}, "hop <= window"),
        ({"window": 31}, "<= 30"),
        ({"smoothing": 1}, "smoothing is 1"),
    ],
)
def test_wrong_options(voice, options, said):
    with pytest.raises(ValueError, match=said):
        LiveRecognizer(*voice, **options)


def test_another_encoder_is_refused(voice, place):
    other = SpeechEncoder.from_pretrained(str(place / "wav2vec2-layer"), device="cpu")
    with pytest.raises(WrongEncoder, match="hubert"):
        LiveRecognizer(*voice[:2], other)
    with pytest.raises(InputError, match="hubert"):
        recognize(place / "talk.wav", str(place / "voice"), encoder=str(place / "wav2vec2-layer"))


# ---- keeping up -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("auto", "hop"), [(False, 0.5), (True, 1.6)])
def test_a_slow_encoder_is_said_at_the_start(voice, caplog, auto, hop):
    clock = Clock()
    recognizer = LiveRecognizer(*voice, clock=clock, vad=None)
    slow(recognizer, clock, 1.3)
    live._announce(recognizer, auto)  # 1.2 times 1.3 s, rounded up
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "can't keep a hop of 0.5 s" in said and "1.30 s" in said and "can keep a hop of 1.6 s" in said
    assert ("--hop auto" in said) == (not auto) and recognizer.hop == hop
    results = recognizer.feed(noise(3.3))
    assert results[0].end == hop and all(r.seconds == pytest.approx(1.3) for r in results)
    assert all(r.late != auto for r in results)


def test_a_quick_encoder_says_nothing(voice, caplog):
    clock = Clock()
    recognizer = LiveRecognizer(*voice, clock=clock)
    slow(recognizer, clock, 0.4)
    live._announce(recognizer, auto=True)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING] and recognizer.hop == 0.5


def test_hops_that_are_old_are_left_out(voice, caplog):
    """Of a live source: three whole hops at once, then one."""
    sound = noise(2)
    recognizer = LiveRecognizer(*voice, vad=None, exact=True)

    class Come:
        live, name = True, "talk"

        def __iter__(self):
            yield from (sound[:24000], sound[24000:])

    results = list(live._results(recognizer, Come()))
    assert [(r.start, r.end, r.late) for r in results] == [(0, 1.5, True), (0, 2, False)]
    assert recognizer.skipped == 2 and "2 hops of 0.5 s left out" in caplog.text
    np.testing.assert_allclose(list(results[0].scores.values()), probabilities(voice, sound[:24000]), atol=1e-6)
    Come.live = False
    every = list(live._results(LiveRecognizer(*voice, vad=None), Come()))
    assert [r.end for r in every] == [0.5, 1, 1.5, 2]


def arrivals_at(times: list[tuple[float, float]], live: bool | None) -> tuple[list[bool], Arrivals]:
    """Whether a source is live after each block of so many seconds that comes at such a time."""
    clock = Clock()
    arrivals, found = Arrivals(Source("pipe", iter(()), live), clock), []
    for at, seconds in times:
        clock.now = at
        arrivals._add(np.zeros(round(seconds * RATE), np.float32))
        found.append(arrivals.live)
    return found, arrivals


def test_a_pipe_is_live_unless_it_is_ahead_of_the_clock():
    steady = [(second, 1.0) for second in range(6)]
    assert arrivals_at(steady, None)[0] == [False] * 4 + [True] * 2
    burst = [(0, 2.0)] + [(second, 1.0) for second in range(1, 6)]  # what the pipe had kept
    assert arrivals_at(burst, None)[0][-1]
    recording = [(0.1, 5.0), (3, 1.0), (20, 0.5), (40, 0.5)]  # once ahead, waited for ever after
    assert not any(arrivals_at(recording, None)[0])
    assert arrivals_at(steady, True)[0] == [True] * 6 and not any(arrivals_at(steady, False)[0])


def test_the_writer_waits_for_nobody_but_a_recording_is_not_read_into_memory():
    taken = []

    def blocks():
        for number in range(300):
            taken.append(number)
            yield np.full(RATE, number, np.float32)

    arrivals = iter(Arrivals(Source("pipe", blocks(), None)))
    first = next(arrivals)
    rest = [first, *arrivals]
    most = max(len(piece) for piece in rest)
    assert len(taken) == 300 and most <= 62 * RATE
    np.testing.assert_array_equal(np.concatenate(rest)[::RATE], np.arange(300))


def test_a_paced_file():
    clock, blocks = Clock(), [np.zeros(8000, np.float32)] * 4

    def sleep(seconds: float) -> None:
        clock.now += seconds

    times = []
    for _ in sources._paced(blocks, clock, sleep):
        times.append(clock.now)
        clock.now += 0.7 if len(times) == 1 else 0.1  # the first one takes longer than it plays
    assert times == pytest.approx([0.5, 1.2, 1.5, 2.0])


# ---- sources --------------------------------------------------------------------------------------------------------


def pcm(samples: np.ndarray, kind: str = "<i2") -> bytes:
    return (np.round(samples * 32767) if kind == "<i2" else samples).astype(kind).tobytes()


def together(blocks) -> np.ndarray:
    return np.concatenate(list(blocks))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_files_of_any_rate_as_whole_ones(tmp_path, rate, channels):
    time = np.arange(2 * rate) / rate
    sound = np.stack([np.sin(2 * np.pi * 300 * time), np.zeros(len(time))][:channels], axis=1)
    soundfile.write(tmp_path / "a.flac", sound, rate)
    opened = open_source(tmp_path / "a.flac")
    found = together(opened.blocks)
    assert opened.live is False and abs(len(found) - 2 * RATE) <= 1 and found.dtype == np.float32
    expected = np.sin(2 * np.pi * 300 * np.arange(len(found)) / RATE) / channels
    np.testing.assert_allclose(found[800:-800], expected[800:-800], atol=2e-3)


@pytest.mark.parametrize("kind", ["<i2", "<f4"])
def test_raw_samples_in_torn_pieces(kind, caplog):
    sound = np.clip(noise(1), -1, 1)

    class Pipe(io.BytesIO):
        def read(self, _):
            return super().read(1001)

    both = np.stack([sound, sound], axis=1)
    wanted = Pcm(channels=2, format={"<i2": "s16le", "<f4": "f32le"}[kind])
    found = together(open_source(Pipe(pcm(both, kind) + b"abc"), wanted).blocks)
    np.testing.assert_allclose(found, sound, atol=1e-4)
    assert "its last 3 bytes are left out" in caplog.text


@pytest.mark.parametrize("scale", [2**15, 1])
def test_samples_of_another_scale_are_said_once(tmp_path, caplog, scale):
    """Live sound can't be read again, and a whole number is as good a sample as any."""
    samples = (0.5 * np.sin(np.arange(40000) / 7) * scale).astype("<f4")
    soundfile.write(tmp_path / "x.wav", samples, 16000, subtype="FLOAT")
    for source in (io.BytesIO(samples.tobytes()), tmp_path / "x.wav"):
        caplog.clear()
        heard = np.concatenate(list(open_source(source, Pcm(format="f32le")).blocks))
        np.testing.assert_array_equal(heard, samples)
        assert caplog.text.count("its samples go up to 1.64e+04, where full scale is 1") == (scale > 1)


def test_raw_samples_that_are_none(caplog):
    sound = noise(0.5)
    sound[100:103] = np.nan, np.inf, 1e30
    found = together(open_source(io.BytesIO(pcm(sound, "<f4")), Pcm(rate=8000, format="f32le")).blocks)
    assert np.isfinite(found).all() and np.abs(found).max() < 1 and "3 samples are NaN" in caplog.text
    assert len(found) == 2 * len(sound)  # to the last one: what a filter holds back comes too


def test_a_header_among_raw_samples():
    content = io.BytesIO()
    soundfile.write(content, noise(1), RATE, format="WAV")
    content.seek(0)
    with pytest.raises(InputError, match="holds a WAV file, not raw samples"):
        together(open_source(content).blocks)


def test_sources_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InputError, match="no such file"):
        open_source(tmp_path / "none.wav")
    with pytest.raises(InputError, match="no audio"):
        open_source(tmp_path / "text.wav")
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    with pytest.raises(InputError, match="terminal"):
        open_source("-")
    for wrong in ({"format": "s24"}, {"rate": 5}, {"channels": 0}):
        with pytest.raises(InputError):
            Pcm(**wrong)


def test_the_microphone(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match="pip install sounddevice"):
        open_source("microphone")
    asked = []

    class Stream:
        def __init__(self, **options):
            asked.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, frames):
            return np.full((frames, 1), 0.25, np.float32), False

    def query(device, kind):
        if device == 7:
            raise ValueError("no device 7")
        return {"default_samplerate": 48000.0}

    device = types.SimpleNamespace(query_devices=query, InputStream=Stream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    opened = open_source("microphone:USB")
    heard = together(itertools.islice(opened.blocks, 10))
    assert opened.live and asked[0]["device"] == "USB" and asked[0]["samplerate"] == 48000
    assert abs(len(heard) - RATE) < 1600 and heard[len(heard) // 2] == pytest.approx(0.25, abs=1e-3)
    with pytest.raises(InputError, match="no device 7"):
        next(open_source("microphone:7").blocks)


def test_errors_of_a_source_reach_the_listener():
    def blocks():
        yield noise(0.1)
        raise InputError("torn")

    arrivals = Arrivals(Source("pipe", blocks(), None))
    with pytest.raises(InputError, match="torn"):
        list(arrivals)


# ---- from end to end ------------------------------------------------------------------------------------------------


def command(place: Path, capsys, *arguments: str) -> tuple[int, list[str], str]:
    code = main(["live", str(place / "voice"), *arguments, "--speech_encoder", str(place / "hubert")])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_a_file_by_the_command(place, capsys, voice):
    code, lines, errors = command(place, capsys, str(place / "talk.wav"), "--json", "--exact", "--window", "2")
    results = [json.loads(line) for line in lines]
    sound = soundfile.read(place / "talk.wav", dtype="float32")[0]
    assert code == 0 and [r["end"] for r in results] == [1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]
    for result in results:
        assert list(result) == ["start", "end", "silence", "label", "scores", "smoothed", "speech", "seconds", "late"]
        assert result["start"] == max(1, result["end"] - 2) and not result["silence"]
        part = sound[round(result["start"] * RATE) : round(result["end"] * RATE)]
        np.testing.assert_allclose(list(result["scores"].values()), probabilities(voice, part), atol=1e-5)
    assert "hubert takes" in errors and "all of it encoded anew" in errors
    code, lines, errors = command(place, capsys, str(place / "talk.wav"), "--silence")
    assert code == 0 and len(lines) == 12 and lines[0] == "    0.00 -    0.50 s  (silence)"
    assert lines[2].startswith("    1.00 -    1.50 s  ") and "its new part alone" in errors


def test_a_fifo_by_the_iterator(place, voice, tmp_path):
    sound = soundfile.read(place / "talk.wav", dtype="float32")[0]
    (tmp_path / "talk.raw").write_bytes(pcm(sound) + b"x")
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"cat {tmp_path}/talk.raw > {tmp_path}/pipe"])
    results = list(recognize(tmp_path / "pipe", voice[0], voice[1], voice[2]))
    assert writer.wait(10) == 0
    expected = list(recognize(place / "talk.wav", voice[0], voice[1], voice[2]))
    assert len(results) == 9 and [(r.start, r.end) for r in results] == [(r.start, r.end) for r in expected]
    for one, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(list(one.smoothed.values()), list(other.smoothed.values()), atol=1e-3)


def test_the_hub_is_asked_before_an_encoder_is_taken_from_it(place, monkeypatch):
    asked = []
    monkeypatch.setattr("emomm.inference.predicting.reach_hub", asked.append)
    with pytest.raises(InputError, match="'nobody/nothing' can't be loaded"):
        list(recognize(str(place / "talk.wav"), str(place / "voice"), encoder="nobody/nothing"))
    assert asked == ["nobody/nothing"]


def test_wrong_input_by_the_command(place, capsys):
    for arguments, said in (
        ((str(place / "none.wav"),), "there is no such file"),
        ((str(place / "talk.wav"), "--hop", "5"), "hop <= window"),
        ((str(place / "talk.wav"), "--hop", "soon"), "--hop"),
        ((str(place / "talk.wav"), "--format", "mp3"), "s16le, f32le"),
    ):
        code, lines, errors = command(place, capsys, *arguments)
        assert code == 2 and lines == [] and said in errors.splitlines()[-1]


def test_sound_that_gives_nothing_is_said(place, capsys, tmp_path):
    """No samples, too few, silence alone, and rates and channels that no recording has."""
    for name, samples, rate, code, said in (
        ("none.wav", np.zeros(0), RATE, 2, "none.wav holds no samples"),
        ("short.wav", noise(0.06), RATE, 0, "no speech was found in the 0.06 s of"),
        ("silent.wav", np.zeros(RATE), RATE, 0, "no speech was found in the 1.00 s of"),
        ("slow.wav", noise(0.2), 500, 2, "slow.wav has 1 channels at 500 Hz; it must have at most 64, at 1000-768000"),
        ("many.wav", np.zeros((RATE, 65)), RATE, 2, "many.wav has 65 channels"),
    ):
        soundfile.write(tmp_path / name, samples, rate)
        found, lines, errors = command(place, capsys, str(tmp_path / name))
        assert (found, lines) == (code, []) and said in errors and "Traceback" not in errors, (name, errors)


def test_bad_samples_are_counted_once(tmp_path, caplog):
    sound = noise(2.0)
    sound[::2000] = np.nan
    soundfile.write(tmp_path / "bad.wav", sound, RATE, subtype="FLOAT")
    heard = np.concatenate(list(open_source(str(tmp_path / "bad.wav")).blocks))
    (said,) = [record.message for record in caplog.records]
    assert "16 samples are NaN, infinite or far too large" in said and np.isfinite(heard).all()


def test_an_encoder_that_keeps_no_hop_of_the_window_says_so(voice, caplog):
    clock = Clock()
    recognizer = LiveRecognizer(*voice, clock=clock)
    slow(recognizer, clock, 4.4)
    live._announce(recognizer, auto=False)
    assert "nor any other with a window of 3 s: a window takes it 4.40 s" in caplog.text and recognizer.window == 3
    live._announce(recognizer, auto=True)
    assert recognizer.hop == recognizer.window == 5.3


def test_words_that_are_not_given_are_said(place, caplog):
    caplog.set_level(logging.INFO, logger="emomm")
    list(recognize(place / "talk.wav", str(place / "both"), encoder=str(place / "hubert"), window=1))
    assert "no words are given" in caplog.text


def test_results_as_people_read_them():
    smoothed = {"calm": 0.25, "joyful": 0.75}
    line = LiveResult(1.0, 4.0, "joyful", {"calm": 0.5, "joyful": 0.5}, smoothed, 1.0, 0.1, True)
    assert line.readable() == f"    1.00 -    4.00 s  joyful  75.0%  {'#' * 22}{' ' * 8}  late"
    assert LiveResult(0, 0.5, None).to_dict()["silence"] is True


@pytest.mark.parametrize("kind", ["emotion2vec", "wav2vec2-layer", "whisper"])
def test_a_model_that_holds_its_encoder_listens_by_it(tmp_path, kind):
    """Each window gives what a recording of it gives; the convolutions are kept where that is exact."""
    loaded = SpeechEncoder.from_pretrained(tiny_speech_encoder(tmp_path / kind, kind), device="cpu")
    config = EmoMMConfig(
        modality="audio",
        audio_dim=loaded.features.width,
        speech_config=loaded.model.config,
        speech_model_name=str(tmp_path / kind),
        speech_layers="weighted",
        hidden_dim=8,
        num_labels=3,
    )
    model = EmoMMForEmotionClassification(config)
    model.attach_speech_encoder(loaded.model)
    folder = export_model(model, tmp_path / "model", None, None, loaded.feature_extractor)
    model, processor = load_model(str(folder), trust_remote_code=False)
    sound = noise(3)
    recognizer = LiveRecognizer(model, processor, window=2, hop=1, vad=None, exact=True, smoothing=0)
    results = recognizer.feed(sound)
    for result in results:
        batch = processor(audio=sound[round(RATE * result.start) : round(RATE * result.end)], sampling_rate=RATE)
        with torch.no_grad():
            expected = model(**batch).logits.softmax(dim=-1)[0]
        assert [result.scores[model.config.id2label[i]] for i in range(3)] == pytest.approx(
            expected.tolist(), abs=1e-5
        )
    kept = LiveRecognizer(model, processor, window=2, hop=1, vad=None, smoothing=0)
    assert kept.encoder.reuses == (kind != "whisper")
    for one, other in zip(kept.feed(sound), results, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=0.02)
