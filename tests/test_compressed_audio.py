"""What libsndfile doesn't read: by ffmpeg or torchcodec where they are, else a line that says what to install.

`compressed/` holds 0.4 s of a tone of 440 Hz. ffmpeg itself decodes it where there is one; what is asked of it, and
what is made of its answers, is tested by a program that stands for it.
"""

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from emomm import compressed_audio
from emomm.compressed_audio import CompressedAudio
from emomm.compressed_audio import compressed_kind
from emomm.compressed_audio import compressed_seconds
from emomm.errors import InputError
from emomm.inference.sound_sources import open_source
from emomm.recordings.decoding import read_recording
from emomm.recordings.decoding import recording_seconds
from emomm.recordings.recordings import read_input
from emomm.waveforms import AudioError
from emomm.waveforms import read_waveform
from emomm.waveforms import recorded_seconds

FILES = Path(__file__).resolve().parent / "fixtures" / "compressed"
KINDS = {
    "tone.m4a": "an MP4 or M4A file",
    "tone.mp4": "an MP4 or M4A file",
    "tone.aac": "an AAC file",
    "tone.webm": "a WebM or Matroska file",
    "tone.wma": "a WMA file",
}
RATE = 8000

# Says what it was asked in ARGUMENTS; tells 2.5 s; sounds as the file says: ["odd"] or "silent" or "slow".
FFMPEG = f"""#!{sys.executable} -IS
import array, math, os, struct, sys, time
asked = sys.argv[1:]
with open(os.path.join(os.path.dirname(__file__), "asked"), "a") as file:
    file.write(chr(31).join(asked) + chr(10))
path = asked[asked.index("-i") + 1].removeprefix("file:")
kind = open(path, "rb").read()[8:].decode()
if "-f" not in asked:
    sys.stderr.write("  Duration: 00:00:02.50, start: 0\\n")
    sys.exit(1)
if kind == "silent":
    sys.stderr.write("Stream map '' matches no streams.\\n")
    sys.exit(234)
if kind == "torn":
    sys.stderr.write(f"[mov @ 0x55d] [in#0 @ 0x5f] moov atom of file:{{path}} not found\\nand more\\n")
    sys.exit(1)
if kind == "odd":
    sys.stderr.write("[aac @ 0x55d] Input buffer exhausted\\n")
out = sys.stdout.buffer
out.write(struct.pack(">4s5I8x", b".snd", 32, 0xFFFFFFFF, 6, {RATE}, 2))
seconds = min(float(asked[asked.index("-t") + 1]) if "-t" in asked else 9e9, 1e9 if kind == "long" else 2.5)
samples = array.array("f", [0.5, 0.0] * {RATE // 10})
samples.byteswap()
for _ in range(round(seconds * 10)):
    out.write(samples.tobytes())
    if kind == "slow":
        out.flush()
        time.sleep(0.2)
"""


def foreign(folder, kind=""):
    """A file that only the stand-in reads, and it says how."""
    path = folder / f"a b [1]{kind}.m4a"
    path.write_bytes(b"\0\0\0\x1cftyp" + kind.encode())
    return path


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """A machine without ffmpeg and torchcodec."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    original = importlib.import_module

    def without(name, *args):
        if name in ("imageio_ffmpeg", "torchcodec.decoders"):
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(compressed_audio.importlib, "import_module", without)
    return tmp_path / "bin"


@pytest.fixture
def ffmpeg(nothing):
    """A program that stands for it; what it was asked, run by run."""
    (nothing / "ffmpeg").write_text(FFMPEG)
    (nothing / "ffmpeg").chmod(0o755)
    return lambda: [line.split("\x1f") for line in (nothing / "asked").read_text().splitlines()]


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_without_a_program_it_says_what_to_install(nothing, name, kind):
    for source in (FILES / name, (FILES / name).read_bytes()):
        with pytest.raises(AudioError, match=f"{kind}: reading it takes ffmpeg .*pip install imageio-ffmpeg.*torchco"):
            read_waveform(source)
    assert recorded_seconds(FILES / name) == 0.0
    with pytest.raises(InputError, match=f"{name} is {kind}: reading it takes ffmpeg"):
        open_source(FILES / name)


@pytest.mark.skipif(
    compressed_audio._program() is None and compressed_audio._torchcodec() is None, reason="nothing reads them here"
)
@pytest.mark.parametrize("name", KINDS)
def test_real_files(name):
    """By whatever is here: the tone, about as long, of the level that it has."""
    for source in (FILES / name, (FILES / name).read_bytes(), {"bytes": (FILES / name).read_bytes(), "path": "x"}):
        waveform = read_waveform(source)
        spectrum = np.abs(np.fft.rfft(waveform.samples))
        loudest = np.argmax(spectrum) / waveform.seconds
        assert 0.35 < waveform.seconds < 0.55 and loudest == pytest.approx(440, abs=4)
        middle = waveform.samples[2000:5000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert recorded_seconds(FILES / name) == pytest.approx(0.45, abs=0.1)
    with pytest.raises(
        AudioError, match="silent.mp4 is an MP4 or M4A file that can't be read .there is no sound in it"
    ):
        read_waveform(FILES / "silent.mp4")


def test_what_the_program_is_asked_and_answers(ffmpeg, tmp_path):
    path = foreign(tmp_path)
    waveform = read_waveform(path)
    assert waveform.notes == (
        "mixed from 2 channels",
        "silent",
        f"brought from {RATE} to 16000 Hz: nothing above 4 kHz",
    )
    assert waveform.seconds == 2.5 and waveform.samples[2000:-2000] == pytest.approx(0.25, abs=1e-3)
    (asked,) = ffmpeg()
    assert asked[asked.index("-i") + 1] == f"file:{path}" and "-nostdin" in asked
    assert asked[asked.index("-protocol_whitelist") + 1] == "file" and asked[asked.index("-map") + 1] == "0:a:0"
    read_waveform(path.read_bytes())
    told = ffmpeg()[1]
    assert not os.path.exists(told[told.index("-i") + 1].removeprefix("file:"))  # a file that is gone again


def test_what_is_wrong_with_a_file_is_said(ffmpeg, tmp_path):
    assert "damaged: Input buffer exhausted" in read_waveform(foreign(tmp_path, "odd")).notes
    for kind, reason in (("silent", "there is no sound in it"), ("torn", "moov atom of it not found")):
        with pytest.raises(
            AudioError, match=rf"a b \[1\]{kind}.m4a is an MP4 or M4A file that can't be read \({reason}"
        ):
            read_waveform(foreign(tmp_path, kind))


def test_a_long_one_is_left_early_and_its_length_said(ffmpeg, tmp_path):
    with pytest.raises(AudioError, match=r"long.m4a is too long: 2 s, at most 1 s are taken"):
        read_waveform(foreign(tmp_path, "long"), longest=1.0)
    asked = ffmpeg()[0]
    assert float(asked[asked.index("-t") + 1]) == 2.0


def test_one_that_takes_too_long_is_ended(ffmpeg, tmp_path, monkeypatch):
    ends = []

    class Timer:
        def __init__(self, seconds, end):
            ends.append((seconds, end))

        def start(self):
            pass

        def cancel(self):
            ends.append("cancelled")

    monkeypatch.setattr(compressed_audio.threading, "Timer", Timer)
    monkeypatch.setattr(compressed_audio, "_BLOCK", 400)
    with CompressedAudio(foreign(tmp_path, "slow"), "an M4A file", "x", limit=7.0) as opened:
        blocks = iter(opened)
        next(blocks)
        ((seconds, end),) = ends
        end()
        assert sum(map(len, blocks)) < 2 * RATE and seconds == 7.0
        assert opened.damage == "ffmpeg ended with -9, at the latest after 7 s"
    assert ends[1] == "cancelled"


def test_one_that_is_not_read_to_its_end_leaves_no_process(ffmpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(compressed_audio, "_BLOCK", 400)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split()) if children.exists() else set()
    with CompressedAudio(foreign(tmp_path, "slow"), "an M4A file", "x") as opened:
        assert len(next(iter(opened))) == 400
    assert not children.exists() or set(children.read_text().split()) <= before


def test_parts_of_a_recording(ffmpeg, tmp_path):
    """Decoded from a second before, as codecs need what came before; the batches know how long they are."""
    foreign(tmp_path)
    (tmp_path / "list.csv").write_text("file,start,end\na b [1].m4a,1.5,1.9\na b [1].m4a,0,\na b [1].m4a,3,4\n")
    found = read_input(str(tmp_path / "list.csv"))
    assert [recording_seconds(found, row) for row in range(3)] == pytest.approx([0.4, 2.5, 0.0])
    asked_before = len(ffmpeg())
    assert read_recording(found, 0).seconds == pytest.approx(0.4)
    asked = ffmpeg()[asked_before + 1]
    assert [float(asked[place + 1]) for place, word in enumerate(asked) if word in ("-ss", "-t")] == [0.5, 1.0, 0.4]
    assert asked.index("-ss") < asked.index("-i") and read_recording(found, 1).seconds == pytest.approx(2.5)
    with pytest.raises(AudioError, match="there is nothing from 3 s to 4 s: it has 2.5 s"):
        read_recording(found, 2)


def test_as_live_sound(ffmpeg, tmp_path):
    blocks = list(open_source(foreign(tmp_path)).blocks)
    assert sum(map(len, blocks)) == 40000 and max(map(len, blocks)) < 3000


def test_by_torchcodec_where_there_is_no_program(nothing, monkeypatch, tmp_path):
    """In pieces that follow each other."""
    asked = []
    samples = np.stack([np.linspace(-0.5, 0.5, 20 * RATE), np.zeros(20 * RATE)]).astype(np.float32)

    class Decoder:
        def __init__(self, source):
            if source.name.startswith("a b [1]silent"):
                raise ValueError("x.cpp:12, The best audio stream is unknown and there is none")
            self.metadata = SimpleNamespace(
                sample_rate=RATE, num_channels=2, duration_seconds=20.0, begin_stream_seconds=0.0
            )

        def get_samples_played_in_range(self, start, stop):
            asked.append((start, stop))
            return SimpleNamespace(data=torch.from_numpy(samples[:, round(start * RATE) : round(stop * RATE)]))

    monkeypatch.setattr(compressed_audio, "_torchcodec", lambda: SimpleNamespace(AudioDecoder=Decoder))
    monkeypatch.setattr(compressed_audio, "_BLOCK_SECONDS", 8.0)
    waveform = read_waveform(foreign(tmp_path), RATE)
    np.testing.assert_allclose(waveform.samples, samples[0] / 2)
    assert asked == [(0, 8), (8, 16), (16, 20)] and recorded_seconds(foreign(tmp_path)) == 20.0
    with pytest.raises(AudioError, match="that can't be read .there is no sound in it"):
        read_waveform(foreign(tmp_path, "silent"))


def test_only_what_begins_as_such_a_file_is_given_to_them(ffmpeg, tmp_path):
    """They make some sound of almost any bytes: of noise, of a playlist that names another file."""
    rng = np.random.default_rng(0)
    for name, content in (("x.m4a", rng.bytes(5000)), ("x.mp4", b"#EXTM3U\nfile:/etc/passwd\n"), ("x.wav", b"RIFF")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=f"{name} is no audio that can be read"):
            read_waveform(tmp_path / name)
        assert recorded_seconds(tmp_path / name) == 0.0
    assert not (tmp_path / "bin" / "asked").exists()
    soundfile.write(tmp_path / "x.wav", np.full(2000, 0.1), 16000)
    for kind in ("wav", "flac", "mp3", "ogg", "aiff", "au", "caf", "w64"):
        soundfile.write(tmp_path / f"x.{kind}", rng.normal(0, 0.1, 4000), 16000)
        assert compressed_kind(tmp_path / f"x.{kind}") is None


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_kinds_are_known_by_their_beginning(name, kind):
    assert compressed_kind(FILES / name) == compressed_kind((FILES / name).read_bytes()) == kind


def test_lengths_where_nothing_says_them(nothing, tmp_path):
    """A recording of a browser tells none: guessed from its size, so that batches are not of thousands."""
    program = nothing / "ffmpeg"
    program.write_text("#!/bin/sh\necho '  Duration: N/A, start: 0' >&2; exit 1\n")
    program.chmod(0o755)
    (tmp_path / "x.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(39996))
    assert compressed_seconds(tmp_path / "x.webm") == 10.0
    program.write_text("no program at all")
    assert compressed_seconds(tmp_path / "x.webm") == 0.0
    with pytest.raises(AudioError, match="ffmpeg can't be run"):
        read_waveform(tmp_path / "x.webm")
    assert shutil.which("ffmpeg") == str(program)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a file without a name has a path on Linux alone")
def test_a_process_that_is_killed_leaves_no_copy_of_a_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with compressed_audio._as_file(b"a recording") as path:
        assert Path(path).read_bytes() == b"a recording" and not list(tmp_path.iterdir())
