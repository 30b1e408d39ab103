"""What a hop of live costs with native emotion2vec base, over a file and over a FIFO that is written as it is spoken.

    python benchmarks/live.py [--seconds 60] [--threads 2] [--recordings FOLDER] [--whisper FOLDER]

Random weights: the time is that of the trained ones. The sound is recordings one after the other, with a second of
silence after every fourth, or a made voice where there are none. `difference` compares the probabilities and the
encoder's mean states with those of windows that are encoded whole: what keeping the convolutions costs in exactness.
With --whisper (folder of such a model), what is said at the start for it. Other load on the machine counts.
"""

import argparse
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from transformers import Wav2Vec2FeatureExtractor  # noqa: E402

import run_emomm  # noqa: E402, F401 makes this checkout the package `emomm`
from emomm.configuration_emomm import EmoMMConfig  # noqa: E402
from emomm.configuration_emotion2vec import Emotion2VecConfig  # noqa: E402
from emomm.inference.live import LiveResult  # noqa: E402
from emomm.inference.live import recognize  # noqa: E402
from emomm.inference.sliding_window import WindowEncoder  # noqa: E402
from emomm.modeling_emomm import EmoMMForEmotionClassification  # noqa: E402
from emomm.modeling_emotion2vec import Emotion2VecModel  # noqa: E402
from emomm.processing_emomm import EmoMMProcessor  # noqa: E402
from emomm.speech_encoders import SpeechEncoder  # noqa: E402

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


def tell(name: str, results: list[LiveResult], hop: float, delays: list[float] | None = None) -> None:
    """The figures of a run, in a line."""
    seconds = np.array([result.seconds for result in results])
    middle, high = np.median(seconds), np.percentile(seconds, 95)
    late = sum(result.late for result in results)
    print(
        f"{name:26} {len(results):4} hops with speech: median {middle:.3f} s, 95th percentile {high:.3f} s "
        f"({'below' if high < hop else 'NOT below'} the hop of {hop} s), {late} late"
        + (f"; from the last sample to the result: median {np.median(delays):.2f} s" if delays else "")
    )


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


def differences(kept: list[LiveResult], whole: list[LiveResult], encoder: SpeechEncoder, sound: np.ndarray) -> None:
    """Of windows with kept convolutions from windows encoded whole."""
    apart = [max(abs(a.scores[k] - b.scores[k]) for k in a.scores) for a, b in zip(kept, whole, strict=True)]
    windows, states, frames = WindowEncoder(encoder), [], []
    for result in kept[:40]:
        start, end = round(result.start * RATE), round(result.end * RATE)
        before = windows.computed
        mine, own = windows(sound[start:end], start).mean(axis=0), encoder([sound[start:end]])[0].mean(axis=0)
        states.append(np.linalg.norm(mine - own) / np.linalg.norm(own))
        frames.append((windows.computed - before) / encoder.frames_of(end - start))
    print(
        f"{'difference':26} probabilities: median {np.median(apart):.4f}, largest {max(apart):.4f}; mean states: "
        f"median {np.median(states):.2%}, largest {max(states):.2%}; frames convolved anew: {np.mean(frames):.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recordings", type=Path, help="folder of FLAC files at 16 kHz")
    parser.add_argument("--whisper", help="folder or id of a Whisper model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("emomm").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sound = sound_of(options.recordings, options.seconds)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{len(sound) / RATE:.0f} s of sound, {options.threads} threads of {os.cpu_count()} cores{load}")
    encoder = SpeechEncoder(
        Emotion2VecModel(Emotion2VecConfig()), Wav2Vec2FeatureExtractor(do_normalize=False), "emotion2vec_base"
    )
    model = (*model_for(encoder), encoder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "sound.wav", sound, RATE, subtype="FLOAT")
        kept = list(recognize(folder / "sound.wav", *model))
        tell("file", kept, 0.5)
        whole = list(recognize(folder / "sound.wav", *model, exact=True))
        tell("file, each window whole", whole, 0.5)
        differences(kept, whole, encoder, sound)
        results, delays = over_a_fifo(sound, folder, *model)
        tell("FIFO, as it is spoken", results, 0.5, delays)
        if options.whisper:
            whisper = SpeechEncoder.from_pretrained(options.whisper, device="cpu")
            print("Whisper:")
            soundfile.write(folder / "short.wav", sound[: 6 * RATE], RATE, subtype="FLOAT")
            tell("file", list(recognize(folder / "short.wav", *model_for(whisper), whisper)), 0.5)
            auto = list(recognize(folder / "short.wav", *model_for(whisper), whisper, hop="auto"))
            tell("file, --hop auto", auto, round(auto[1].end - auto[0].end, 3))


if __name__ == "__main__":
    main()
