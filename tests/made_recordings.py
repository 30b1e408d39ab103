"""A tiny corpus of recordings for the tests: tones in noise, with words, in a parquet file with an audio column."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from small_jobs import SMALL
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import tiny_speech_encoder

RATE = 16000
LABELS = ("neutral", "happy", "sad", "anger")
WORDS = "i am so happy sad angry today not you said it was fine".split()


def recordings(rows: int = 32, noise: int | None = None, seconds: tuple[float, float] = (0.15, 0.4)) -> pa.Table:
    """Rows of two sessions of two speakers; `noise`: those of this session are others, labels and words too."""
    columns: dict[str, list[Any]] = {name: [] for name in ("utterance_id", "audio", "label", "transcript")}
    columns |= {name: [] for name in ("speaker", "session", "valence", "arousal", "dominance")}
    for row in range(rows):
        session = 1 + row % 2
        generator = np.random.default_rng((row, session == noise))
        label = int(generator.integers(4)) if session == noise else row // 2 % 4
        length = int(generator.uniform(*seconds) * RATE)
        tone = np.sin(2 * np.pi * (200 + 150 * label) * np.arange(length) / RATE)
        samples = 0.2 * tone + 0.1 * generator.normal(size=length)
        sound = io.BytesIO()
        soundfile.write(sound, samples, RATE, format="WAV", subtype="PCM_16")
        columns["utterance_id"].append(f"row-{row}")
        columns["audio"].append({"bytes": sound.getvalue(), "path": f"row-{row}.wav"})
        columns["label"].append(LABELS[label])
        columns["transcript"].append(" ".join(generator.choice(WORDS, size=int(generator.integers(2, 7)))))
        columns["speaker"].append(f"{session}-{row // 8 % 2}")
        columns["session"].append(str(session))
        for name in ("valence", "arousal", "dominance"):
            columns[name].append(float(generator.uniform(1, 5)))
    return pa.table(columns)


def as_wav(samples: int) -> dict[str, Any]:
    """A recording of noise, of so many samples, as `datasets` stores it."""
    sound = io.BytesIO()
    soundfile.write(sound, 0.1 * np.random.default_rng(samples).normal(size=samples), RATE, format="WAV")
    return {"bytes": sound.getvalue(), "path": "sound.wav"}


def encoders(folder: Path, speech: str = "wavlm") -> dict[str, str]:
    """Tiny encoders of recordings and of words, as a recipe names them."""
    return {
        "speech_model_name": tiny_speech_encoder(folder / f"speech-{speech}", speech),
        "text_model_name": tiny_encoder(folder / "text", hidden=16),
    }


def still_copy(folder: str | Path, place: Path) -> str:
    """The encoder in a folder, without dropout, in another."""
    shutil.copytree(folder, place)
    config = json.loads((place / "config.json").read_text())
    config |= {name: 0.0 for name in config if "drop" in name and isinstance(config[name], float)}
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def recorded_recipe(folder: Path, name: str, table: pa.Table | None = None, **fields: Any) -> Path:
    """A recipe of `SMALL` that reads recordings, without a curriculum unless it is asked for."""
    path = folder / f"{name}.parquet"
    pq.write_table(recordings() if table is None else table, path)
    base = {"train_dataset": "sounds", "corpora": {"sounds": {"path": str(path)}}, "voice_input": "recording"}
    base |= dict.fromkeys(("use_curriculum_learning", "use_difficulty_scaling", "use_speaker_disentanglement"), False)
    base |= {"floors": False, "curriculum_epochs": 0}
    assert set(base) - set(SMALL) == {"voice_input", "floors"}
    return write_recipe(folder, name, **{**base, **fields})
