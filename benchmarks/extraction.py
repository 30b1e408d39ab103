"""Emo-DB through `extract_features.py` and Whisper base, beside the frames that ship with the sample corpus.

    python benchmarks/extraction.py --emodb data/emodb --encoder openai/whisper-base \\
        --output /tmp/emodb-5hz [--limit 20] [--processes 2] [--json]

Writes a manifest of the recordings in the schema, extracts frames at 5 Hz (again: continues), and says how fast, and
how far they are from `whisper_base_5hz.npz`: the cosine of every frame. All 535 recordings are 535 windows of 30 s to
Whisper. Then prints the command that trains the emodb recipe on them; its UAR must be that on the shipped frames
within .01.
"""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from measuring import ROOT
from measuring import Benchmark
from measuring import parser

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec

PAIRS = (("03", "08"), ("09", "10"), ("11", "13"), ("12", "14"), ("15", "16"))
SESSIONS = {speaker: str(number) for number, pair in enumerate(PAIRS, start=1) for speaker in pair}


def write_manifest(emodb: Path, file: Path, limit: int | None = None) -> int:
    """The recordings of Emo-DB as a table in the schema; of the first `limit` alone. Returns the number of rows."""
    with (emodb / "manifest.csv").open(encoding="utf-8", newline="") as opened:
        told = list(csv.DictReader(opened))[:limit]
    rows = [
        {
            "path": os.path.relpath(emodb / "flac" / row["file"], file.parent),
            "utterance_id": Path(row["file"]).stem,
            "speaker": row["speaker"],
            "session": SESSIONS[row["speaker"]],
            "label": row["emotion"],
            "transcript": row["text"],
            "gender": row["gender"],
            "difficulty": f"{1 - float(row['recognised_pct']) / 100:.4f}",
        }
        for row in told
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def cosines(output: Path, emodb: Path) -> np.ndarray:
    """(frames,) of each frame of the output with the shipped one."""
    labels = {name: name for name in [*BUILTIN["emodb"].label_map, *BUILTIN["emodb"].dropped_labels]}
    corpus = load_corpus(CorpusSpec("emodb", path=str(output), label_map=labels))
    with np.load(emodb / "whisper_base_5hz.npz", allow_pickle=False) as stored:
        shipped = {Path(file).stem: frames for file, frames in zip(stored["files"], stored["frames"], strict=True)}
    found = []
    for row, name in enumerate(corpus.utterance_ids):
        ours, theirs = corpus.audio[row].astype(np.float64), shipped[name].astype(np.float64)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        found.append((ours * theirs).sum(axis=1) / norms)
    return np.concatenate(found)


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--emodb", type=Path, required=True, help="folder with flac/, manifest.csv and the npz")
    known.add_argument("--encoder", required=True, help="Whisper base: a folder, or openai/whisper-base")
    known.add_argument("--output", type=Path, required=True, help="folder to write")
    known.add_argument("--limit", type=int, help="the first recordings alone")
    known.add_argument("--processes", type=int, default=1)
    options = known.parse_args()
    manifest, features = options.output / "manifest.csv", options.output / "features"
    rows = write_manifest(options.emodb.resolve(), manifest.resolve(), options.limit)
    command = [sys.executable]
    if options.processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(options.processes)]
    command += [str(ROOT / "extract_features.py"), "--input", str(manifest), "--encoder", options.encoder]
    train = f"python run_emomm.py recipes/emodb.json --corpus emodb={features} --output_dir {options.output / 'run'}"
    with Benchmark(__file__, options) as figures:
        started = time.perf_counter()
        subprocess.run([*command, "--output", str(features), "--frame_rate", "5"], check=True, stdout=sys.stderr)
        seconds = time.perf_counter() - started
        found = cosines(features, options.emodb)
        told = {"recordings": rows, "seconds, with start": seconds, "frames": len(found)}
        figures.add("whisper", **told, **{"lowest cosine": float(found.min()), "mean cosine": float(found.mean())})
        figures.note(f"then: {train}")


if __name__ == "__main__":
    main()
