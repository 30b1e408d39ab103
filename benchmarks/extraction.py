"""Emo-DB through `extract_features.py` and Whisper base, beside the frames that ship with the sample corpus.

    python benchmarks/extraction.py --emodb data/emodb --encoder openai/whisper-base \\
        --output /tmp/emodb-5hz [--limit 20] [--processes 2] [--json]

Writes a manifest of the recordings in the schema, extracts frames at 5 Hz (again: continues), and says how fast, and
how far they are from `whisper_base_5hz.npz`: the cosine of every frame. All 535 recordings are 535 windows of 30 s to
Whisper. Then prints the command that trains the emodb recipe on them; its UAR must be that on the shipped frames
within .01.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import run_emomm  # noqa: E402, F401 makes this checkout the package `emomm`
from emomm.corpora.builtin import BUILTIN  # noqa: E402
from emomm.corpora.loading import load_corpus  # noqa: E402
from emomm.corpora.spec import CorpusSpec  # noqa: E402

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, required=True, help="folder with flac/, manifest.csv and the npz")
    parser.add_argument("--encoder", required=True, help="Whisper base: a folder, or openai/whisper-base")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--limit", type=int, help="the first recordings alone")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one object of figures")
    options = parser.parse_args()
    manifest, features = options.output / "manifest.csv", options.output / "features"
    rows = write_manifest(options.emodb.resolve(), manifest.resolve(), options.limit)
    command = [sys.executable]
    if options.processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(options.processes)]
    command += [str(ROOT / "extract_features.py"), "--input", str(manifest), "--encoder", options.encoder]
    started = time.perf_counter()
    subprocess.run([*command, "--output", str(features), "--frame_rate", "5"], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - started
    found = cosines(features, options.emodb)
    figures = {"rows": rows, "seconds": round(seconds, 1), "cosine_min": float(found.min()), "frames": len(found)}
    train = f"python run_emomm.py recipes/emodb.json --corpus emodb={features} --output_dir {options.output / 'run'}"
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"{rows} recordings in {seconds:.0f} s, start included; {len(found)} frames")
        print(f"cosine with the shipped frames: lowest {found.min():.6f}, mean {found.mean():.6f}")
        print(f"then: {train}")


if __name__ == "__main__":
    main()
