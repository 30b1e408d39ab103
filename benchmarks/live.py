"""What a hop of live costs with native emotion2vec base, over a file and over a FIFO that is written as it is spoken.

    python benchmarks/live.py [--seconds 60] [--threads 2] [--recordings FOLDER] [--whisper FOLDER]

Random weights: the time is that of the trained ones. The sound is recordings one after the other, with a second of
silence after every fourth, or a made voice where there are none. `difference` compares the probabilities and the
encoder's mean states with those of windows that are encoded whole: what keeping the convolutions costs in exactness.
With --whisper (folder of such a model), what is said at the start for it. Other load on the machine counts.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from measuring import Benchmark
from measuring import parser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from transformers import Wav2Vec2FeatureExtractor

import run_emomm  # noqa: E402, F401 makes this checkout the package `emomm`
from emomm.configuration_emomm import EmoMMConfig
from emomm.configuration_emotion2vec import Emotion2VecConfig
from emomm.inference.live import LiveResult
from emomm.inference.live import recognize
from emomm.inference.sliding_window import WindowEncoder
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.processing_emomm import EmoMMProcessor
from emomm.speech_encoders import SpeechEncoder

RATE = 16000
LABELS = {0: "neutral", 1: "happy", 2: "sad", 3: "anger"}

_WRITER = """
import sys, time
samples = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb", buffering=0) as pipe:
    began = time.time()
    print(began, flush=True)
    for start in range(0, len(samples), 640):  # 20 ms
        time.sleep(max(began + (start + 640) / 32000 - time.time(), 0))
        pipe.write(samples[start : start + 640])
"""


def sound_of(recordings: Path | None, seconds: float) -> np.ndarray:
    """(n,) float32 at 16 kHz."""
    total, parts = round(seconds * RATE), []
    if recordings is None:
        at = np.arange(total) / RATE
        voice = sum(np.sin(2 * np.pi * 130 * k * at) / k for k in range(1, 15)) * (np.sin(2 * np.pi * at / 7) > -0.7)
        return (0.1 * voice + np.random.default_rng(0).normal(0, 1e-3, total)).astype(np.float32)
    for number, path in enumerate(sorted(recordings.glob("*.flac"))[::9]):
        parts.append(soundfile.read(path, dtype="float32")[0])
        parts += [np.zeros(RATE, np.float32)] if number % 4 == 3 else []
    return np.concatenate(parts)[:total]


def model_for(encoder: SpeechEncoder) -> tuple[EmoMMForEmotionClassification, EmoMMProcessor]:
    """A head of the voice alone, with random weights."""
    width, described = encoder.features.width, encoder.features.to_dict()
    config = EmoMMConfig(modality="audio", audio_dim=width, id2label=LABELS, speech_encoder=described)
    return EmoMMForEmotionClassification(config), EmoMMProcessor(
        modality="audio", feature_dim=width, speech_encoder=described
    )


def row_of(results: list[LiveResult], hop: float, delays: list[float] | None = None) -> dict[str, float | int]:
    """The figures of a run."""
    seconds = np.array([result.seconds for result in results])
    return {
        "hop (s)": hop,
        "hops with speech": len(results),
        "median (s)": float(np.median(seconds)),
        "95th percentile (s)": float(np.percentile(seconds, 95)),
        "late": sum(result.late for result in results),
        **({} if delays is None else {"from the last sample to the result (s)": float(np.median(delays))}),
    }


def over_a_fifo(samples: np.ndarray, folder: Path, *model) -> tuple[list[LiveResult], list[float]]:
    """Results, and for each how long after its last sample was written it came."""
    raw, pipe = folder / "sound.raw", folder / "pipe"
    raw.write_bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, raw, pipe], stdout=subprocess.PIPE, text=True)
    results, came = [], []
    for result in recognize(pipe, *model):
        results.append(result)
        came.append(time.time())
    began = float(writer.stdout.readline())
    writer.wait()
    return results, [at - began - result.end for at, result in zip(came, results, strict=True)]


def differences(
    kept: list[LiveResult], whole: list[LiveResult], encoder: SpeechEncoder, sound: np.ndarray
) -> dict[str, float]:
    """Of windows with kept convolutions from windows encoded whole."""
    apart = [max(abs(a.scores[k] - b.scores[k]) for k in a.scores) for a, b in zip(kept, whole, strict=True)]
    windows, states, frames = WindowEncoder(encoder), [], []
    for result in kept[:40]:
        start, end = round(result.start * RATE), round(result.end * RATE)
        before = windows.computed
        mine, own = windows(sound[start:end], start).mean(axis=0), encoder([sound[start:end]])[0].mean(axis=0)
        states.append(np.linalg.norm(mine - own) / np.linalg.norm(own))
        frames.append((windows.computed - before) / encoder.frames_of(end - start))
    return {
        "probabilities, median": float(np.median(apart)),
        "probabilities, largest": float(max(apart)),
        "mean states, median": float(np.median(states)),
        "mean states, largest": float(max(states)),
        "frames convolved anew": float(np.mean(frames)),
    }


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--seconds", type=float, default=60.0)
    known.add_argument("--threads", type=int, default=2)
    known.add_argument("--recordings", type=Path, help="folder of FLAC files at 16 kHz")
    known.add_argument("--whisper", help="folder or id of a Whisper model")
    options = known.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("emomm").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sound = sound_of(options.recordings, options.seconds)
    encoder = SpeechEncoder(
        Emotion2VecModel(Emotion2VecConfig()), Wav2Vec2FeatureExtractor(do_normalize=False), "emotion2vec_base"
    )
    model = (*model_for(encoder), encoder)
    with Benchmark(__file__, options) as figures, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "sound.wav", sound, RATE, subtype="FLOAT")
        kept = list(recognize(folder / "sound.wav", *model))
        figures.add("file", **row_of(kept, 0.5))
        whole = list(recognize(folder / "sound.wav", *model, exact=True))
        figures.add("file, each window whole", **row_of(whole, 0.5))
        figures.add("difference", **differences(kept, whole, encoder, sound))
        results, delays = over_a_fifo(sound, folder, *model)
        figures.add("FIFO, as it is spoken", **row_of(results, 0.5, delays))
        if options.whisper:
            whisper = SpeechEncoder.from_pretrained(options.whisper, device="cpu")
            soundfile.write(folder / "short.wav", sound[: 6 * RATE], RATE, subtype="FLOAT")
            plain = list(recognize(folder / "short.wav", *model_for(whisper), whisper))
            figures.add("Whisper, file", **row_of(plain, 0.5))
            auto = list(recognize(folder / "short.wav", *model_for(whisper), whisper, hop="auto"))
            figures.add("Whisper, file, --hop auto", **row_of(auto, round(auto[1].end - auto[0].end, 3)))


if __name__ == "__main__":
    main()
