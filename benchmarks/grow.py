"""What a corpus costs as it grows: memory, the time to the first step, the time of a step.

    python benchmarks/grow.py [--json] [--of order,pooled,frames] [--pooled 10000,100000,1000000]
                              [--frames 2000,10000,30000] [--steps 200] [--folder DIR] [--rounds 1] [--cold_store]

`order`: seconds of the processor that an epoch over 1,000,000 rows in single-speaker batches takes beside its steps:
the pool, its statistics and the order of the rows, twice, as the Trainer asks for it; and once a run, the difficulty.

`pooled`: rows of one vector of 256 float16 values. `frames`: rows of 200 vectors of 768, which the model reads frame
by frame; their files are read cold (the system is told to forget them). Both come as parquet files of 64 MB or so,
with ids, speakers, sessions, labels, transcripts that are all different and ratings, written by this script in chunks,
and are read by `emomm run`: the voice alone, leave one session out, difficulty curriculum, speaker batches. A size is
a process of its own, from its start on; a first one has read the corpus before, so that the store is warm
(`--cold_store` reports that first one).

Memory is what the process holds that is not a page of a mapped file (RssAnon), looked at every 10 ms: when the first
step begins, and the peak until the last of `--steps` steps. A step is the median of the last three quarters, in wall
time and in seconds of the processor. Without floors and report. The time to the first step counts from the start of
the process, imports included; on a machine that does other things besides, the seconds of its processor tell more.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import ROOT
from measuring import Benchmark
from measuring import parser

SHAPES = {"pooled": (1, 256), "frames": (200, 768)}
LABELS = ["neutral", "happy", "sad", "anger"]
WORDS = "well so then they said that it was over and we went home again without a single word about it".split()
_FILE_BYTES = 64 * 2**20
_SPEAKERS, _SESSIONS = 100, 5


# ---- the corpus -----------------------------------------------------------------------------------------------------


def written(folder: Path, shape: str, rows: int) -> int:
    """Writes the parquet files of a corpus, one at a time; how many bytes they have."""
    frames, dim = SHAPES[shape]
    each = max(1, _FILE_BYTES // (2 * frames * dim))
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, rows, each)):
        table = _table(first, min(each, rows - first), frames, dim)
        pq.write_table(table, folder / f"train-{number:05d}.parquet", row_group_size=max(1, each // 8))
    return sum(file.stat().st_size for file in folder.iterdir())


def _table(first: int, count: int, frames: int, dim: int) -> pa.Table:
    rng = np.random.default_rng(first)
    numbers = np.arange(first, first + count)
    label = rng.integers(len(LABELS), size=count)
    speaker = numbers % _SPEAKERS
    # All values of a chunk from few draws: what they are costs nothing that is measured.
    values = rng.standard_normal((1 << 16) + dim, dtype=np.float32).astype(np.float16)
    start = rng.integers(1 << 16, size=count * frames)
    vectors = values[start[:, None] + np.arange(dim)]
    vectors[:, 0] += np.repeat(label, frames)
    vectors[:, 1:5] = rng.standard_normal((len(vectors), 4), dtype=np.float32)  # and yet no two are the same
    inner = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    lists = pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * frames, pa.int32()), inner)
    drawn = np.array(WORDS)[rng.integers(len(WORDS), size=(count, 8))]
    said = [f"{' '.join(words)} {number}" for words, number in zip(drawn.tolist(), numbers.tolist(), strict=True)]
    ratings = np.clip(rng.normal(3, 1, size=(3, count)), 1, 5).astype(np.float32)
    return pa.table(
        {
            "utterance_id": pa.array([f"row-{number:07d}" for number in numbers.tolist()]),
            "speaker": pa.array([f"s{each:03d}" for each in speaker.tolist()]),
            "session": pa.array([str(each % _SESSIONS + 1) for each in speaker.tolist()]),
            "label": pa.array(np.array(LABELS)[label]),
            "transcript": pa.array(said),
            "audio_features": lists if frames > 1 else inner,
            **dict(zip(("valence", "arousal", "dominance"), map(pa.array, ratings), strict=True)),
        }
    )


def forget(folder: Path) -> None:
    """Asks the system to drop its cache of the files of a folder."""
    for file in (file for file in folder.rglob("*") if file.is_file()):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# ---- the order of an epoch ------------------------------------------------------------------------------------------


def order(rows: int = 1_000_000) -> dict[str, float]:
    """Seconds of the processor for the difficulty of all rows, and for an epoch of each curriculum."""
    sys.path.insert(0, str(ROOT))
    import run_emomm  # noqa: F401 makes this checkout the package `emomm`
    from emomm.choices import CURRICULUM_TYPES
    from emomm.curriculum.difficulty import fill_unrated
    from emomm.curriculum.difficulty import vad_difficulty
    from emomm.curriculum.pool import Curriculum
    from emomm.curriculum.pool import pool_statistics
    from emomm.curriculum.sampling import CurriculumSampler

    rng = np.random.default_rng(0)
    labels, speakers, score = rng.integers(4, size=rows), rng.integers(1000, size=rows), rng.random(rows)
    vad = rng.uniform(1, 5, (rows, 3)).astype(np.float32)
    vad[rng.random(rows) < 0.1] = np.nan
    begun = time.process_time()
    fill_unrated(vad_difficulty(vad, labels, np.full((4, 3), 3.0)), labels)
    found = {"difficulty of all rows": time.process_time() - begun}
    for kind in CURRICULUM_TYPES:
        sampler = CurriculumSampler(labels, 64, 1, Curriculum(kind, epochs=15), 4, speakers, score, score)
        sampler.confidence = score
        sampler.set_epoch(7)
        begun = time.process_time()
        pool_statistics(sampler.pool(), labels, 4, score, speakers)
        sampler.order()
        for _ in sampler:
            pass
        found[f"epoch of {kind}"] = time.process_time() - begun
    return found


# ---- one size, in a process of its own ------------------------------------------------------------------------------


class Memory:
    """Bytes of this process that belong to no mapped file, and their peak."""

    def __init__(self):
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> int:
        with open("/proc/self/status") as status:
            found = next(line for line in status if line.startswith("RssAnon"))
        held = int(found.split()[1]) * 1024
        self.peak = max(self.peak, held)
        return held

    def _watch(self) -> None:
        while True:
            self.now()
            time.sleep(0.01)


def measure(corpus: Path, out: Path, shape: str, steps: int) -> dict[str, float]:
    """What a run of `steps` steps on a corpus takes, from the start of this process."""
    memory = Memory()
    sys.path.insert(0, str(ROOT))
    from transformers import TrainerCallback

    import run_emomm  # noqa: F401 makes this checkout the package `emomm`
    from emomm.experiments.job import run
    from emomm.experiments.running import OneByOne
    from emomm.settings.recipe import load_recipe

    class Enough(Exception):
        pass

    class Clock(TrainerCallback):
        """When each step ended, and what was held when the first began."""

        def __init__(self):
            self.began, self.cpu, self.held, self.walls, self.cpus = 0.0, 0.0, 0, [], []

        def on_step_begin(self, args, state, control, **kwargs):
            if not self.began:
                self.began, self.cpu, self.held = time.time(), time.process_time(), memory.now()

        def on_step_end(self, args, state, control, **kwargs):
            self.walls.append(time.perf_counter())
            self.cpus.append(time.process_time())
            if len(self.walls) == steps:
                raise Enough

    class FirstRun(OneByOne):
        """Carries out the first steps of the first run."""

        def __init__(self):
            super().__init__(1)
            self.clock = Clock()

        def outcomes(self, work) -> Iterator:
            work.experiments[0].callbacks = [self.clock]
            work.carry_out(work.places[0])
            yield from ()

    recipe = {
        "train_dataset": "GROW", "evaluation_mode": "loso", "output_dir": str(out),
        "corpora": {"GROW": {"path": str(corpus), "labels": LABELS}}, "modality": "audio", "batch_size": 64,
        "audio_projection_dim": 64 if shape == "frames" else None, "use_speaker_disentanglement": True,
        "use_curriculum_learning": True, "curriculum_type": "difficulty", "expected_vad": "fit", "floors": False,
        "store_dir": str(out.parent / "store"), "experiments": [{"name": "voice"}],
    }  # fmt: skip
    path = out.parent / "grow.json"
    path.write_text(json.dumps(recipe))
    engine = FirstRun()
    try:
        run(load_recipe(str(path)), engine=engine)
    except Enough:
        pass
    clock, after = engine.clock, steps // 4
    walls, cpus = (np.diff(times)[after:] for times in (clock.walls, clock.cpus))
    return {
        "seconds": clock.began - psutil.Process().create_time(),
        "cpu_seconds": clock.cpu,
        "held": clock.held,
        "peak": memory.peak,
        "step": float(np.median(walls)),
        "step_cpu": float(np.mean(cpus)),
    }


def in_own_process(corpus: Path, out: Path, shape: str, steps: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", shape, "--steps", str(steps)]
    command += ["--corpus", str(corpus), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def size(shape: str, rows: int, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one size, medians over rounds."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        corpus, out = Path(folder) / "corpus", Path(folder) / "out"
        process = [sys.executable, str(Path(__file__).resolve()), "--write", shape, "--rows", str(rows)]
        subprocess.run([*process, "--corpus", str(corpus)], check=True)
        found = [in_own_process(corpus, out, shape, options.steps)]
        rounds = 0 if options.cold_store else options.rounds
        for _ in range(rounds):
            shutil.rmtree(out)
            if shape == "frames":
                forget(Path(folder))
            found.append(in_own_process(corpus, out, shape, options.steps))
        found = found[1:] if rounds else found
        medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
        return {"rows": rows, "bytes": sum(file.stat().st_size for file in corpus.iterdir()), **medians}


def row_of(one: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    """The figures of a size, with its peak by that of the first."""
    return {
        "corpus (MB)": one["bytes"] / 2**20,
        "first step (s)": one["seconds"],
        "first step (CPU s)": one["cpu_seconds"],
        "held then (MB)": one["held"] / 2**20,
        "peak (MB)": one["peak"] / 2**20,
        "x the first": one["peak"] / first["peak"],
        "step (ms)": 1000 * one["step"],
        "step (CPU ms)": 1000 * one["step_cpu"],
    }


def main() -> None:
    known = parser(__doc__, rounds=1)
    known.add_argument("--of", default="order,pooled,frames", help=f"of order, {', '.join(SHAPES)}")
    known.add_argument("--pooled", default="10000,100000,1000000", help="rows of one vector")
    known.add_argument("--frames", default="2000,10000,30000", help="rows of 200 vectors")
    known.add_argument("--steps", type=int, default=200)
    known.add_argument("--folder", help="where the corpora are written; by default the system's temporary folder")
    known.add_argument("--cold_store", action="store_true", help="report the first reading of each corpus")
    for hidden in ("--one", "--write", "--rows", "--corpus", "--out"):
        known.add_argument(hidden, help=argparse.SUPPRESS)
    options = known.parse_args()
    if options.write:
        written(Path(options.corpus), options.write, int(options.rows))
        return
    if options.one:
        print(json.dumps(measure(Path(options.corpus), Path(options.out), options.one, options.steps)))
        return
    asked = options.of.split(",")
    with Benchmark(__file__, options) as figures:
        for what, seconds in order().items() if "order" in asked else ():
            figures.add(what, **{"CPU seconds": seconds})
        for shape in (each for each in asked if each != "order"):
            first = None
            for rows in getattr(options, shape).split(","):
                one = size(shape, int(rows), options)
                first = first or one
                figures.add(f"{shape}, {one['rows']:,} rows", **row_of(one, first))


if __name__ == "__main__":
    main()
