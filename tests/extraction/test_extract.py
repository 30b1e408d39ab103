"""Extraction at scale: what is written and what is said of it; killed, shared by processes, refused, no space left."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from conftest import ROOT
from filelock import FileLock
from forked import finish
from forked import start
from small_jobs import kill_at
from tiny_speech_encoders import WIDTH
from tiny_speech_encoders import tiny_speech_encoder

from emomm.cli.extract_features import main
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.extraction import extract as extraction
from emomm.extraction import shards
from emomm.extraction.data_card import extraction_card
from emomm.extraction.shards import ShardFolder
from emomm.recordings import decoding
from emomm.recordings.recordings import read_input
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_features import SpeechFeatures
from emomm.waveforms import read_waveform

RATE = 16000
SHARED = ROOT.parent / "shared"
LABELS = ("calm", "angry")
REASONS = {
    "000": "is no audio that can be read",  # a text
    "010": "is empty",
    "020": "is no audio that can be read",  # a torn header
    "030": "holds no samples",
    "040": "too short",
    "050": "samples are NaN or infinite",
    "060": "there is no such file",
    "070": "is no audio that can be read",  # noise
    "080": "its sampling rate is 500 Hz",
    "090": "there is no such file",  # a folder
}


def noise(seconds, rng, level=0.1):
    return rng.normal(0, level, round(seconds * RATE)).astype(np.float32)


def write_broken(folder):
    rng = np.random.default_rng(1)
    (folder / "000.wav").write_text("no audio\n" * 50)
    (folder / "010.wav").write_bytes(b"")
    (folder / "020.wav").write_bytes((folder / "021.wav").read_bytes()[:20])
    soundfile.write(folder / "030.wav", np.zeros(0), RATE)
    soundfile.write(folder / "040.wav", noise(0.05, rng), RATE)
    soundfile.write(folder / "050.wav", np.full(RATE, np.nan), RATE, subtype="DOUBLE")
    (folder / "060.wav").unlink()
    (folder / "070.wav").write_bytes(rng.bytes(5000))
    soundfile.write(folder / "080.wav", noise(0.1, rng), 500)
    (folder / "090.wav").unlink()
    (folder / "090.wav").mkdir()


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """100 recordings of which 10 are broken, a table of them, and an encoder."""
    root = tmp_path_factory.mktemp("extraction")
    encoder = Path(tiny_speech_encoder(root / "e"))
    rng = np.random.default_rng(0)
    (root / "audio").mkdir()
    lines = ["path,utterance_id,speaker,session,label,transcript,valence"]
    for i in range(100):
        soundfile.write(root / "audio" / f"{i:03}.wav", noise(rng.uniform(0.15, 1.0), rng), RATE)
        lines.append(f"audio/{i:03}.wav,utt-{i:03},{i % 4:02},{i % 2 + 1},{LABELS[i % 2]},words {i},{1 + i % 5}")
    write_broken(root / "audio")
    soundfile.write(root / "audio" / "001.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "audio" / "002.wav", np.clip(noise(0.5, rng, 2.0), -1, 1), RATE)
    soundfile.write(root / "audio" / "003.wav", rng.normal(0, 0.1, (22050, 2)), 44100)
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root, ["--input", str(root / "list.csv"), "--encoder", str(encoder), "--batch_seconds", "4"]


@pytest.fixture(scope="module")
def whole(job):
    """By one process, in one go."""
    root, arguments = job
    assert main([*arguments, "--output", str(root / "whole"), "--frame-rate", "10"]) == 0
    return root / "whole"


def table(folder):
    tables = [pq.read_table(path) for path in sorted((folder / "data").glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by("utterance_id")


def failures(folder):
    return [json.loads(line) for line in (folder / "failed.jsonl").read_text().splitlines()]


def features(folder):
    """utterance -> its features."""
    rows = table(folder)
    values = rows["audio_features"].to_pylist()
    return dict(zip(rows["utterance_id"].to_pylist(), (np.array(each, np.float32) for each in values), strict=True))


def assert_same(folder, whole):
    """The same rows, once each, with the same features bit for bit."""
    assert table(folder).num_rows == 90
    assert table(folder).equals(table(whole))
    assert failures(folder) == failures(whole)
    left = {path.name for path in folder.rglob("*") if ".locks" not in path.parts}
    assert not [name for name in left if name.endswith(".temporary")]


# ---- what is written


def test_every_row_with_what_is_known_of_it(job, whole):
    root, arguments = job
    encoder = SpeechEncoder.from_pretrained(arguments[3], frame_rate=10)
    rows = table(whole).to_pylist()
    expected = [i for i in range(100) if f"{i:03}" not in REASONS]
    assert [row["utterance_id"] for row in rows] == [f"utt-{i:03}" for i in expected]
    for i, row in zip(expected, rows, strict=True):
        waveform = read_waveform(root / "audio" / f"{i:03}.wav")
        known = {
            "speaker": f"{i % 4:02}",
            "session": str(i % 2 + 1),
            "label": LABELS[i % 2],
            "transcript": f"words {i}",
        }
        assert {name: row[name] for name in known} == known and row["valence"] == 1 + i % 5
        assert row["seconds"] == pytest.approx(waveform.seconds)
        np.testing.assert_allclose(row["audio_features"], encoder([waveform.samples])[0], rtol=2e-3, atol=2e-3)
        assert row["audio_notes"] == ("; ".join(waveform.notes) or None)
    said = {row["utterance_id"]: row["audio_notes"] for row in rows if row["audio_notes"]}
    assert list(said) == ["utt-001", "utt-002", "utt-003"] and said["utt-001"] == "silent"
    assert said["utt-002"].startswith("clipped: ")
    assert said["utt-003"] == "mixed from 2 channels; brought from 44100 to 16000 Hz"


def test_every_failure_with_its_reason(whole):
    found = failures(whole)
    assert [each["utterance_id"] for each in found] == [f"utt-{name}" for name in REASONS]
    for each, (name, reason) in zip(found, REASONS.items(), strict=True):
        assert each["path"] == f"audio/{name}.wav" and reason in each["reason"]


def test_load_corpus_reads_it(job, whole):
    spec = CorpusSpec("mine", path=str(whole), labels=list(LABELS))
    corpus = load_corpus(spec)
    assert (len(corpus), corpus.audio_dim) == (90, WIDTH) and corpus.audio.parts[0].dtype == np.float16
    assert corpus.spec.speech_encoder == json.loads((whole / "speech_encoder.json").read_text())
    made = SpeechFeatures.from_dict(corpus.spec.speech_encoder)
    assert made == SpeechEncoder.from_pretrained(job[1][3], frame_rate=10).features
    assert corpus.card()["extractor"] == made.in_words() and len(made.weights) == 64
    assert set(corpus.speakers) == {"mine/00", "mine/01", "mine/02", "mine/03"} and set(corpus.sessions) == {"1", "2"}


def test_datasets_reads_it(whole, tmp_path):
    loaded = datasets.load_dataset(str(whole), split="train", cache_dir=str(tmp_path))
    assert sorted(loaded["utterance_id"]) == sorted(table(whole)["utterance_id"].to_pylist())
    assert loaded.features["audio_features"] == datasets.List(datasets.List(datasets.Value("float16"), length=WIDTH))


def test_the_card(job, whole):
    text = (whole / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "license" not in head
    made = json.loads((whole / "speech_encoder.json").read_text())
    for line in (
        "# Voice features of list.csv",
        f"90 recordings, {sum(table(whole)['seconds'].to_pylist()) / 3600:.2f} hours",
        f"| weights (sha256, as float16) | {made['weights']} |",
        "| encoder | e |",
        "| pooling | 10 Hz |",
        "- Recordings that are silent (nothing above -80 dB of full scale): 1.",
        "- Recordings that are clipped: 1.",
        "- Recordings that were brought to the encoder's sampling rate from another: 1.",
        "- Recordings that have several channels, mixed to one: 1.",
        "- Recordings that could not be used, listed with the reasons in `failed.jsonl`: 10.",
    ):
        assert line in text, line


def test_no_path_of_this_machine_is_written(job, whole):
    for path in whole.rglob("*"):
        assert path.is_dir() or str(job[0]).encode() not in path.read_bytes(), path


def test_utterances(job, whole, tmp_path):
    """A vector a row: the mean of all frames."""
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--pooling", "utterance", "--layers", "1", "3"]
    assert main(arguments) == 0
    encoder = SpeechEncoder.from_pretrained(job[1][3], [1, 3], "utterance")
    found = features(tmp_path / "o")
    waveform = read_waveform(job[0] / "audio" / "007.wav")
    np.testing.assert_allclose(found["utt-007"], encoder([waveform.samples])[0], rtol=2e-3, atol=2e-3)
    assert {each.shape for each in found.values()} == {(WIDTH,)} and len(found) == 90
    spec = CorpusSpec("mine", path=str(tmp_path / "o"), labels=list(LABELS))
    assert load_corpus(spec).audio.length.tolist() == [1] * 90
    assert json.loads((tmp_path / "o" / "speech_encoder.json").read_text())["layers"] == [1, 3]


def test_a_folder_alone_is_for_prediction(job, tmp_path, capsys):
    shutil.copytree(job[0] / "audio", tmp_path / "audio")
    assert main(["--input", str(tmp_path / "audio"), *job[1][2:], "--output", str(tmp_path / "o")]) == 0
    assert len(features(tmp_path / "o")) == 90 and len(failures(tmp_path / "o")) == 8  # two aren't there to be seen
    said = capsys.readouterr()
    assert "98 recordings" in said.err and "the features are for prediction" in said.err
    assert re.search(
        r"^90 of 98 recordings are done, 8 failed; \d+ s of audio in \d+ s: [\d.]+ s of audio per", said.out
    )


def test_every_recording_fails(tmp_path, job, capsys):
    (tmp_path / "audio").mkdir()
    for name in ("a", "b"):
        (tmp_path / "audio" / f"{name}.wav").write_text("no audio")
    assert main(["--input", str(tmp_path / "audio"), *job[1][2:], "--output", str(tmp_path / "o")]) == 1
    assert len(failures(tmp_path / "o")) == 2 and not (tmp_path / "o" / "README.md").exists()
    assert "0 of 2 recordings are done, 2 failed" in capsys.readouterr().out


# ---- whatever the encoder does


def test_too_short_for_the_encoder(job, tmp_path, monkeypatch):
    length = len(read_waveform(job[0] / "audio" / "007.wav").samples)
    original = SpeechEncoder.frames_of
    monkeypatch.setattr(SpeechEncoder, "frames_of", lambda self, n: 0 if n == length else original(self, n))
    assert main([*job[1], "--output", str(tmp_path / "o")]) == 0
    reasons = {each["utterance_id"]: each["reason"] for each in failures(tmp_path / "o")}
    assert reasons["utt-007"] == f"too short for e: {length / RATE:.3f} s" and len(reasons) == 11


def test_a_recording_that_the_encoder_fails_on_takes_no_other_with_it(job, tmp_path, monkeypatch):
    original = SpeechEncoder.__call__
    bad = read_waveform(job[0] / "audio" / "007.wav").samples

    def failing(self, waveforms, *args):
        if any(len(each) == len(bad) and (each == bad).all() for each in waveforms):
            raise RuntimeError("out of memory\nand so on")
        found = zip(original(self, waveforms, *args), waveforms, strict=True)
        return [each * 1e6 if len(waveform) == len(loud) else each for each, waveform in found]

    loud = read_waveform(job[0] / "audio" / "008.wav").samples
    monkeypatch.setattr(SpeechEncoder, "__call__", failing)
    assert main([*job[1], "--output", str(tmp_path / "o")]) == 0
    reasons = {each["utterance_id"]: each["reason"] for each in failures(tmp_path / "o")}
    assert len(reasons) == 12 and len(features(tmp_path / "o")) == 88
    assert reasons["utt-007"] == "the encoder failed: out of memory"
    assert re.match(r"its features are not finite in float16 \(the largest is \d.*e\+06\)", reasons["utt-008"])


# ---- killed, and started again


def killed(module, name, which, arguments):
    """Extracts, and is killed at the `which`-th call of a function."""
    calls = []
    kill_at(sys.modules[module], name, lambda *args, **kwargs: calls.append(1) or len(calls) == which)
    main(arguments)


@pytest.mark.parametrize(
    ("module", "name", "which"),
    [
        ("pyarrow.parquet", "write_table", 6),
        ("os", "fsync", 6),  # written, not named; of the job's own files, two come first
        ("os", "replace", 5),  # of the job's own files, two come first
        ("emomm.extraction.extract", "extraction_card", 1),  # all rows are there
    ],
)
def test_killed_and_started_again(job, whole, tmp_path, module, name, which):
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10", "--save_seconds", "0"]
    assert finish(start(killed, module, name, which, arguments)) == -9
    before = features(tmp_path / "o")
    assert (90 if name == "extraction_card" else 2) <= len(before) <= 90
    assert not (tmp_path / "o" / "failed.jsonl").exists() or name == "extraction_card"
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "o" / "data").glob("*.parquet")}
    assert main(arguments) == 0
    assert_same(tmp_path / "o", whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing is done twice


def test_two_processes_continue_what_one_began(job, whole, tmp_path):
    """`accelerate launch` with two (gloo), after a kill -9 of one alone: the rows of one, once each."""
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10", "--save_seconds", "0"]
    assert finish(start(killed, "os", "fsync", 4, arguments)) == -9
    begun = features(tmp_path / "o")
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, "--main_process_port", "0"]
        + [str(ROOT / "extract_features.py"), *arguments],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("90 of 100 recordings are done, 10 failed") == 1
    assert_same(tmp_path / "o", whole)
    made = {path.name.split("-")[1] for path in (tmp_path / "o" / "data").iterdir()}
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "o" / "data").glob("train-1-*"))
    assert made == {"0", "1"} and 20 < rows < 90 - len(begun) - 20  # both did their share


# ---- interrupted, and started again


@pytest.mark.parametrize(
    ("owner", "name", "which", "number"),
    [
        (SpeechEncoder, "states", 3, signal.SIGTERM),  # in the third batch
        (pq, "write_table", 2, signal.SIGTERM),  # while a shard is written
        (decoding, "recorded_seconds", 50, signal.SIGTERM),  # by a thread, before anything is encoded
        (shards, "write_text", 1, signal.SIGHUP),  # before anything is there
    ],
)
def test_a_signal_saves_what_is_done(job, whole, tmp_path, monkeypatch, capsys, owner, name, which, number):
    """What the encoder has made is kept, although no shard was due; nothing else is left, and the rest comes later."""
    before = signal.signal(number, signal.SIG_DFL)
    save = "0" if name == "write_table" else "3600"
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10"]
    original, calls = getattr(owner, name), []

    def signalled(*args, **kwargs):
        calls.append(1)
        if len(calls) == which:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, signalled)
            assert main([*arguments, "--save_seconds", save]) == 128 + number
    finally:
        signal.signal(number, before)
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    done = len(features(tmp_path / "o")) if list((tmp_path / "o").rglob("*.parquet")) else 0
    assert done == 0 if name in ("recorded_seconds", "write_text") else 2 < done < 80
    assert not list((tmp_path / "o").rglob("*.temporary")) and not (tmp_path / "o" / "failed.jsonl").exists()
    assert main(arguments) == 0
    assert_same(tmp_path / "o", whole)


def test_a_signal_that_the_encoder_takes_for_an_error(job, tmp_path, monkeypatch, capsys):
    """No recording is one that could not be encoded, for that."""

    def swallowing(*_, **__):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Unable to cast") from None

    monkeypatch.setattr(SpeechEncoder, "states", swallowing)
    assert main([*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10"]) == 128 + signal.SIGTERM
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "o" / "failed.jsonl").exists()


def test_what_is_not_finished_is_not_trained_on(job, whole, tmp_path):
    """Whether the job was ended, or a part of its files was copied."""
    shutil.copytree(whole, tmp_path / "o")
    spec = CorpusSpec("mine", path=str(tmp_path / "o"), labels=list(LABELS))
    assert len(load_corpus(spec)) == 90
    (tmp_path / "o" / "failed.jsonl").unlink()
    told = (
        "corpus mine: .* is an extraction that isn't finished: 90 of 100 recordings are there. The command that began"
    )
    with pytest.raises(InputError, match=told):
        load_corpus(spec)
    shutil.copy(whole / "failed.jsonl", tmp_path / "o")
    shard = next((tmp_path / "o" / "data").iterdir())
    pq.write_table(pq.read_table(shard)[:60], shard)
    with pytest.raises(InputError, match="60 of 100 recordings are there"):
        load_corpus(spec)
    # Nor by its folder of rows, or from one above it.
    for place in (tmp_path / "o" / "data", tmp_path):
        with pytest.raises(InputError, match="60 of 100 recordings are there"):
            load_corpus(replace(spec, path=str(place)))
    # What is there can be taken, by who means it.
    assert len(load_corpus(replace(spec, path=str(shard)))) == 60
    shutil.copytree(tmp_path / "o" / "data", tmp_path / "part" / "data")
    shutil.copy(whole / "speech_encoder.json", tmp_path / "part")
    assert len(load_corpus(replace(spec, path=str(tmp_path / "part")))) == 60
    (tmp_path / "part" / "extraction.json").write_text("[" * 50000)  # somebody else's
    assert len(load_corpus(replace(spec, path=str(tmp_path / "part")))) == 60


def test_a_clip_without_a_row_keeps_nobody_from_training(job, tmp_path, capsys):
    """It is left out, and said; the rest is a corpus."""
    rng = np.random.default_rng(3)
    lines = ["file_name,emotion,speaker,session"]
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", noise(0.3, rng), RATE)
        lines.append(f"{i}.wav,{LABELS[i % 2]},{i % 4},{i % 2}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    soundfile.write(tmp_path / "extra.wav", noise(0.3, rng), RATE)
    assert main(["--input", str(tmp_path), *job[1][2:], "--output", str(tmp_path / "o")]) == 0
    assert "1 of 9 recordings are not in metadata.csv (such as extra.wav), and are left out" in capsys.readouterr().err
    corpus = load_corpus(CorpusSpec("mine", path=str(tmp_path / "o"), labels=list(LABELS)))
    assert len(corpus) == 8 and "are not in metadata.csv" in (tmp_path / "o" / "README.md").read_text()


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--layers", "1"], r"layers \[-1\], now \[1\]"),
        (["--frame_rate", "5"], r"frame_rate 10.0, now 5.0"),
        (["--pooling", "utterance"], r"pooling 'frames', now 'utterance'; frame_rate 10.0, now 0.0"),
        (["--encoder", "other"], r"encoder 'e', now 'other'; weights '\w+', now '\w+'"),
        (["--input", "audio"], r"another list of recordings \(list.csv, 100 rows, now audio, 98 rows\)"),
    ],
)
def test_another_job_in_the_same_folder(job, whole, capsys, changes, message):
    root, arguments = job
    if changes[1] == "other":
        changes = ["--encoder", tiny_speech_encoder(root / "other", seed=1)]
    elif changes[1] == "audio":
        changes = ["--input", str(root / "audio")]
    rate = [] if changes[0] in ("--frame_rate", "--pooling") else ["--frame_rate", "10"]
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file() and path.suffix}
    assert main([*arguments, *rate, *changes, "--output", str(whole)]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and "--overwrite" in said and said.count("\n") <= 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_copy_of_the_encoder_elsewhere_is_the_same(job, whole, tmp_path):
    shutil.copytree(job[1][3], tmp_path / "copy")
    shutil.copytree(whole, tmp_path / "o")
    arguments = [*job[1][:2], "--encoder", str(tmp_path / "copy"), "--frame_rate", "10"]
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 0
    assert_same(tmp_path / "o", whole)


def test_the_last_layer_by_its_number_is_the_same(job, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "o")
    last = str(json.loads((whole / "speech_encoder.json").read_text())["num_layers"])
    assert main([*job[1], "--frame_rate", "10", "--layers", last, "--output", str(tmp_path / "o")]) == 0
    assert_same(tmp_path / "o", whole)


def test_recordings_that_changed_are_done_again(job, tmp_path, capsys):
    """Under the same name, of the same length: newer than their features. Others are not touched."""
    root, arguments = job
    shutil.copytree(root / "audio", tmp_path / "audio")
    shutil.copyfile(root / "list.csv", tmp_path / "list.csv")
    arguments = ["--input", str(tmp_path / "list.csv"), *arguments[2:], "--frame_rate", "10", "--output"]
    assert main([*arguments, str(tmp_path / "o")]) == 0
    before = features(tmp_path / "o")
    samples, rate = soundfile.read(tmp_path / "audio" / "012.wav")
    soundfile.write(tmp_path / "audio" / "012.wav", samples[::-1], rate)
    later = time.time_ns() + 10**9
    os.utime(tmp_path / "audio" / "012.wav", ns=(later, later))
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "o")]) == 0
    assert "1 recordings were changed after their features were made: they are done again" in capsys.readouterr().err
    after = features(tmp_path / "o")
    assert list(after) == list(before) and not np.allclose(after["utt-012"], before["utt-012"], atol=1e-2)
    assert all(np.array_equal(after[name], before[name]) for name in before if name != "utt-012")
    for name in ("020", "021", "077"):  # the first of them can't be read
        os.utime(tmp_path / "audio" / f"{name}.wav", ns=(later + 10**9, later + 10**9))
    redone = table(tmp_path / "o")
    assert main([*arguments, str(tmp_path / "o")]) == 0
    assert table(tmp_path / "o").equals(redone)  # to the last bit, among the same neighbours


def test_overwrite(job, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "o")
    assert main([*job[1], "--layers", "1", "--output", str(tmp_path / "o"), "--overwrite"]) == 0
    found = features(tmp_path / "o")
    assert len(found) == 90 and len(found["utt-007"]) > 1.5 * len(features(whole)["utt-007"])


def test_folders_of_other_things(job, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("important")
    assert main([*job[1], "--output", str(tmp_path), "--overwrite"]) == 2
    assert f"{tmp_path} holds thesis.tex, which no extraction made" in capsys.readouterr().err
    assert main([*job[1], "--output", str(tmp_path / "thesis.tex")]) == 2
    assert "can't write into" in capsys.readouterr().err


def test_two_jobs_at_once(job, whole, tmp_path, capsys):
    """The second is refused: while the first one's first process runs, and while another one of it is left."""
    shutil.copytree(whole, tmp_path / "o")
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10"]
    with FileLock(tmp_path / "o" / ".locks" / "process-0"):
        assert main(arguments) == 2
    assert "another job is writing there" in capsys.readouterr().err
    with FileLock(tmp_path / "o" / ".locks" / "process-1"):
        assert main(arguments) == 2
    assert "process 1 of an earlier job is still writing there" in capsys.readouterr().err
    assert main(arguments) == 0


def test_a_full_disk(job, whole, tmp_path, monkeypatch, capsys):
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10", "--save_seconds", "0"]
    calls = []

    def full(_):
        calls.append(1)
        if len(calls) > 5:  # two files of the job's own come first
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"error: no space left in {tmp_path / 'o'} for " in said and "the same command then continues" in said
    assert len(list((tmp_path / "o" / "data").iterdir())) == 3 and not (tmp_path / "o" / "README.md").exists()
    assert main(arguments) == 0
    assert_same(tmp_path / "o", whole)


def test_a_full_disk_or_a_kill_at_the_start(job, whole, tmp_path, monkeypatch):
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10"]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main(arguments) == 2
    assert not list((tmp_path / "o").glob("*.temporary"))
    (tmp_path / "o" / ".extraction.json.1.temporary").write_text("{")
    (tmp_path / "o" / ".README.md.1.temporary").write_text("-")
    assert main(arguments) == 0
    assert_same(tmp_path / "o", whole)


def test_a_card_of_any_name(job, whole):
    from huggingface_hub import DatasetCard

    found = read_input(str(job[0] / "list.csv"))
    made = SpeechFeatures.from_dict(json.loads((whole / "speech_encoder.json").read_text()))
    for name in ("study: part #1", 'a "b" \\ \u00e9'):
        text = extraction_card(made, replace(found, name=name), [None], 1.0, [])
        assert yaml.safe_load(text.split("---")[1])["pretty_name"] == f"voice features of {name}"
        assert DatasetCard(text).data.pretty_name == f"voice features of {name}"
    hostile = replace(found, name="<script>a</script> [x](javascript:a)", notes=["<b> is left out"])
    text = extraction_card(made, hostile, [None], 1.0, []).split("\n---\n", 1)[1]
    assert "# Voice features of &lt;script&gt;a&lt;/script&gt; [x\\](javascript:a)" in text
    assert "- &lt;b&gt; is left out" in text
    assert "<script" not in text and "<b>" not in text


def test_a_shard_that_is_torn(job, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "o")
    shard = next((tmp_path / "o" / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:1000])
    arguments = [*job[1], "--output", str(tmp_path / "o"), "--frame_rate", "10"]
    assert main(arguments) == 2
    assert f"cannot read {shard}" in capsys.readouterr().err
    shard.unlink()
    assert main(arguments) == 0
    assert_same(tmp_path / "o", whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "9"], r"layers \[9\]: e has the layers 0-3"),
        (["--layers", "x"], "invalid int value: 'x'"),
        (["--pooling", "max"], "invalid choice: 'max'"),
        (["--pooling", "utterance", "--frame_rate", "5"], "--frame_rate is for --pooling frames"),
        (["--frame_rate", "0"], "is 0, but must be more"),
        (["--frame_rate", "99"], "gives 50 frames a second"),
        (["--batch_seconds", "-1"], "must be a number of at least 0"),
        (["--num_workers", "0"], "must be a whole number of at least 1"),
        (["--encoder", "nowhere"], "the speech encoder 'nowhere' can't be loaded"),
        (["--input", "nowhere"], "there is no nowhere"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_wrong_arguments(job, tmp_path, capsys, arguments, message):
    assert main([*job[1], "--output", str(tmp_path / "o"), *arguments]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and "Traceback" not in said and said.startswith("error: ")
    assert not (tmp_path / "o").exists()


def test_missing_arguments(capsys):
    assert main([]) == 2
    assert "the following arguments are required: --input, --encoder, --output" in capsys.readouterr().err


# ---- the work


def test_shards_grow_rarer(job, tmp_path, monkeypatch, capsys):
    """One after `save_seconds`, or after a twentieth of the time so far; what is left at the end."""
    clock, written = [0.0], []

    def monotonic():
        clock[0] += 5
        return clock[0]

    monkeypatch.setattr(extraction.time, "monotonic", monotonic)
    monkeypatch.setattr(ShardFolder, "write_shard", lambda self, columns, *rest: written.append(columns.num_rows))
    assert main([*job[1], "--output", str(tmp_path / "o"), "--save_seconds", "40"]) == 2
    assert "0 rows and 10 failures for 100 recordings" in capsys.readouterr().err
    assert sum(written) == 90 and 2 <= len(written) < 8


def test_the_encoder_waits_only_for_what_is_not_read_yet(job):
    """The next batches are being read while one is encoded."""
    found = read_input(str(job[0] / "list.csv"))
    started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "read_recording", lambda recordings, row: started.append(row))
        reading = decoding.decoded(found, [[i] for i in range(20)], workers=3)
        assert next(reading)[0] == [0]
        assert len(started) >= 1
        list(reading)
    assert sorted(started) == list(range(20))


def test_whisper_on_emodb(tmp_path):
    """Real recordings through the real encoder: the frames that ship with the sample corpus."""
    emodb, encoder = SHARED / "data" / "emodb", SHARED / "models" / "whisper-base"
    if not (emodb.is_dir() and encoder.is_dir()):
        pytest.skip("Emo-DB's recordings and Whisper base are not beside the checkout")
    chosen = sorted((emodb / "flac").iterdir())[::90]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": str(path)}) + "\n" for path in chosen))
    arguments = ["--input", str(tmp_path / "list.jsonl"), "--encoder", str(encoder), "--frame_rate", "5"]
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 0
    with np.load(emodb / "whisper_base_5hz.npz") as stored:
        shipped = {Path(file).stem: frames for file, frames in zip(stored["files"], stored["frames"], strict=True)}
    found = features(tmp_path / "o")
    assert len(found) == 6
    assert sorted(found) == [path.stem for path in chosen]
    for name, ours in found.items():
        theirs = shipped[name].astype(np.float32)
        cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert ours.shape == (10, 512) and cosines.min() > 0.999, name
