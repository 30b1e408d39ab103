"""How much memory fine-tuning takes: with gradient checkpointing against without, and as the corpus grows.

    python benchmarks/finetune_memory.py [--cases checkpointing corpus] [--rows 500 20000] [--size small] [--json]

checkpointing: all of a WavLM of base size (12 layers, 768 wide, random weights), batch 8 of 4 s, three steps of the
Trainer. What is compared is the peak above what the process held once model and recordings were loaded: activations,
gradients and the optimiser's moments.

corpus: one epoch of the Trainer on recordings of .5 to 1 s, batch 32, with a tiny encoder that is tuned whole. They
are written as WAV files into a temporary folder, decoded into the store by a process of its own, and read from there
as `voice_input: recording` has them. What is compared is the whole peak of the process that trains.

Each figure is of a process of its own: the most that was ever resident, pages of mapped files among it, as the system
counts it (VmHWM). `ru_maxrss` says the same, but a process inherits it from the one that starts it, so that it stands
in where there is no /proc alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measuring import Benchmark
from measuring import parser

from emomm.corpora.corpus import Corpus
from emomm.corpora.spec import CorpusSpec
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.voice_encoders import load_speech_encoder
from emomm.features.windows import Windows
from emomm.recordings.recorded_corpus import load_recorded_corpus
from emomm.waveforms import SAMPLING_RATE

LABELS = ("neutral", "happy", "sad", "anger")
STATUS = Path("/proc/self/status")


def resident(peak: bool) -> int:
    """Bytes of this process that are in memory, or the most that ever were."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    name = "VmHWM:" if peak else "VmRSS:"
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


# ---- what a process does --------------------------------------------------------------------------------------------


def tune(folder: Path, size: str, checkpointed: bool) -> dict[str, int]:
    """Three steps of full tuning."""
    from tuning_time import encoder_config
    from tuning_time import model_of
    from tuning_time import recordings_of
    from tuning_time import rows_of
    from tuning_time import trainer_of

    rows = rows_of(recordings_of(folder, 8 * 3))
    model = model_of(encoder_config("wavlm", size), "wavlm", "full")
    trainer, _ = trainer_of(model, rows, folder, 8, 3, **({"activation_checkpointing": True} if checkpointed else {}))
    loaded = resident(peak=False)
    trainer.train()
    return {"loaded": loaded, "peak": resident(peak=True)}


def corpus_of(folder: Path) -> Corpus:
    """The recordings of a folder, decoded into a store beside them."""
    spec = CorpusSpec(name="made", path=str(folder / "recordings"), labels=list(LABELS))
    return load_recorded_corpus(spec, store_dir=folder / "store")


def train(folder: Path) -> dict[str, int]:
    """An epoch on the folder's recordings, with a tiny encoder."""
    from tuning_time import held
    from tuning_time import trainer_of

    corpus = corpus_of(folder)
    rows = EmotionRows(windows=Windows(corpus.audio, 10.0, seed=0), labels=corpus.label_ids)
    encoder = load_speech_encoder("random:tiny-wavlm").model
    trainer, _ = trainer_of(held(encoder, "full"), rows, folder, 32, -(-len(rows) // 32))
    loaded = resident(peak=False)
    trainer.train()
    return {"loaded": loaded, "peak": resident(peak=True), "samples": int(corpus.audio.length.sum())}


# ---- what is started ------------------------------------------------------------------------------------------------


def in_own_process(*arguments: str) -> dict[str, int]:
    """What this script says of one task."""
    command = [sys.executable, str(Path(__file__).resolve()), "--task", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(arguments)}: ended with {ended.returncode}")
    return json.loads(ended.stdout.splitlines()[-1])


def task(name: str, folder: str, *more: str) -> dict[str, int]:
    if name == "tune":
        return tune(Path(folder), *more[:1], checkpointed=more[1] == "checkpointed")
    return {"rows": len(corpus_of(Path(folder)))} if name == "decode" else train(Path(folder))


def write_recordings(folder: Path, rows: int) -> None:
    """An audio folder with its table: noise of .5 to 1 s, two sessions of two speakers."""
    folder.mkdir()
    lines = ["file_name,label,speaker,session,utterance_id"]
    for row in range(rows):
        generator = np.random.default_rng(row)
        samples = 0.1 * generator.standard_normal(generator.integers(SAMPLING_RATE // 2, SAMPLING_RATE + 1))
        soundfile.write(folder / f"{row}.wav", samples, SAMPLING_RATE, subtype="PCM_16")
        session = row // 4 % 2 + 1
        lines.append(f"{row}.wav,{LABELS[row % 4]},{session}-{row // 8 % 2},{session},row-{row}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def checkpointing(size: str) -> dict[str, float]:
    """Bytes above what was loaded, with and without, and the share."""
    found = {}
    for how in ("plain", "checkpointed"):
        with tempfile.TemporaryDirectory() as folder:
            measured = in_own_process("tune", folder, size, how)
        found[how] = measured["peak"] - measured["loaded"]
        found[f"{how}, whole process"] = measured["peak"]
    return {**found, "share": found["checkpointed"] / found["plain"]}


def growth(counts: list[int]) -> dict[str, float]:
    """Peaks at several numbers of recordings, how large these are, and the last peak by the first."""
    found = {}
    for rows in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_recordings(Path(folder) / "recordings", rows)
            in_own_process("decode", folder)
            measured = in_own_process("train", folder)
        found |= {f"{rows}": measured["peak"], f"{rows}, stored": 2 * measured["samples"]}
    return {**found, "ratio": found[f"{counts[-1]}"] / found[f"{counts[0]}"]}


def megabytes(figures: dict[str, float]) -> dict[str, float]:
    """As they are printed."""
    return {
        name if name in ("share", "ratio") else f"{name} (MB)": value if name in ("share", "ratio") else value / 1e6
        for name, value in figures.items()
    }


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--cases", nargs="+", choices=("checkpointing", "corpus"))
    known.add_argument("--rows", nargs="+", type=int, default=[500, 20000], help="recordings of the made corpora")
    known.add_argument("--size", choices=("base", "small"), default="base", help="of the checkpointed encoder")
    known.add_argument("--task", nargs="+", help=argparse.SUPPRESS)  # what a process that is measured does
    options = known.parse_args()
    if options.task:
        print(json.dumps(task(*options.task)))
        return
    with Benchmark(__file__, options) as figures:
        for case in options.cases or ("checkpointing", "corpus"):
            found = checkpointing(options.size) if case == "checkpointing" else growth(options.rows)
            figures.add(case, **megabytes(found))


if __name__ == "__main__":
    main()
