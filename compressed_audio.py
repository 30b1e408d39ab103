"""Recordings that libsndfile doesn't read (MP4, M4A, AAC, WebM, WMA), by ffmpeg or torchcodec. Travels with the model.

Only what begins as such a file does is given to them: they would make some sound of almost any bytes.
"""

import contextlib
import importlib
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_HEAD = 400  # bytes of a file's beginning that tell its kind
_BLOCK = 1 << 18  # frames at a time, and seconds of torchcodec's
_BLOCK_SECONDS = 30.0
_LIMIT = 300.0  # seconds of work on a recording
_WARM = 1.0  # seconds before a part, from which it is decoded: codecs need what came before
_AU = struct.Struct(">4s5I")  # its mark, where the samples begin, their bytes and encoding, rate and channels
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_INSTALL = (
    "reading it takes ffmpeg (apt install ffmpeg, brew install ffmpeg, conda install ffmpeg, or pip install "
    "imageio-ffmpeg) or torchcodec; else convert it to WAV or FLAC first"
)


class AudioError(ValueError):
    """A recording that can't be used; the message says which and why."""


def compressed_kind(source: Path | bytes) -> str | None:
    """What a file is by its beginning, in words; None where it isn't one of those that are read here.

    Args:
        source: its path, or its bytes.

    Raises:
        OSError: not readable.
    """
    if isinstance(source, bytes):
        head = source[:_HEAD]
    else:
        with open(source, "rb") as opened:
            head = opened.read(_HEAD)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"pnot"):
        return "an MP4 or M4A file"
    if head[:2] == b"\xff\xf1" or head[:2] == b"\xff\xf9":
        return "an AAC file"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI file"
    if head[:1] == b"\x47" and head[188:189] == b"\x47" and head[376:377] == b"\x47":
        return "an MPEG-TS file"
    marks = {
        b"\x1aE\xdf\xa3": "a WebM or Matroska file",
        b"0&\xb2u\x8ef\xcf\x11": "a WMA file",
        b"ADIF": "an AAC file",
        b"#!AMR": "an AMR file",
        b"\x0bw": "an AC-3 file",
        b"FLV\x01": "a Flash video",
        b"\x00\x00\x01\xba": "an MPEG file",
    }
    return next((kind for mark, kind in marks.items() if head.startswith(mark)), None)


class CompressedAudio:
    """A recording, opened: iterate for its (n, channels) float32 blocks; to be used with `with`.

    Args:
        source: path of the file, or its bytes.
        kind: as `compressed_kind` tells it.
        name: for messages.
        start: seconds into it, where reading begins.
        seconds: that are read at most.
        limit: seconds that reading may take; infinite where who reads it waits, as for live sound.

    Attributes:
        rate: Hz.
        channels: how many.
        damage: what the decoder said was wrong, once all is read.

    Raises:
        AudioError: nothing there to read it with, no sound in it, not readable.
    """

    def __init__(
        self,
        source: Path | bytes,
        kind: str,
        name: str,
        start: float = 0.0,
        seconds: float = math.inf,
        limit: float = _LIMIT,
    ):
        self.kind, self.name, self.damage, self.limit = kind, name, "", limit
        self._closing = contextlib.ExitStack()
        program, torchcodec = _program(), None
        if program is None and (torchcodec := _torchcodec()) is None:
            raise AudioError(f"{name} is {kind}: {_INSTALL}")
        try:
            if torchcodec is None:
                self._blocks = self._of_program(program, source, start, seconds)
            else:
                self._blocks = self._of_torchcodec(torchcodec, source, start, seconds)
            self.rate, self.channels = next(self._blocks)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "CompressedAudio":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._blocks

    def close(self) -> None:
        """Ends what is being read."""
        self._closing.close()

    def _of_program(self, program: str, source: Path | bytes, start: float, seconds: float) -> Iterator[Any]:
        """Rate and channels, then the blocks; from an AU stream, whose header needs no length."""
        path = self._closing.enter_context(_as_file(source))
        before = max(start - _WARM, 0.0)
        part = ["-ss", f"{start - before:.6f}"] if start > before else []
        part += ["-t", f"{seconds:.6f}"] if math.isfinite(seconds) else []
        command = [
            *(program, "-nostdin", "-v", "error", "-protocol_whitelist", "file"),
            *(["-ss", f"{before:.6f}"] if before else []),
            *("-i", f"file:{path}", *part, "-map", "0:a:0", "-map_metadata", "-1"),
            *("-f", "au", "-c:a", "pcm_f32be", "pipe:1"),
        ]
        said = self._closing.enter_context(tempfile.TemporaryFile())
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            raise AudioError(f"{self.name} is {self.kind}, and {program} can't be run ({error})") from error
        for done in (process.wait, process.stdout.close, process.kill):  # called from the last to the first
            self._closing.callback(done)
        if math.isfinite(self.limit):
            late = threading.Timer(self.limit, process.kill)
            late.daemon = True
            late.start()
            self._closing.callback(late.cancel)
        header = process.stdout.read(_AU.size)
        if len(header) < _AU.size:
            raise AudioError(f"{self.name} is {self.kind} that can't be read ({self._said(process, said, path)})")
        _, begin, _, _, rate, channels = _AU.unpack(header)
        process.stdout.read(begin - _AU.size)
        yield rate, channels
        while data := process.stdout.read(_BLOCK * channels * 4):
            frames = len(data) // (4 * channels)
            samples = np.frombuffer(data, ">f4", frames * channels).astype(np.float32)
            yield samples.reshape(frames, channels)
        self.damage = self._said(process, said, path)

    def _said(self, process: subprocess.Popen, said: Any, path: str) -> str:
        """The first thing that the program says was wrong."""
        code = process.wait()
        said.seek(0)
        lines = said.read(4096).decode("utf-8", "replace").replace(f"file:{path}", "it").strip().splitlines()
        first = re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] *)+", "", lines[0]) if lines else ""
        if "matches no streams" in first:
            return "there is no sound in it"
        return first or (f"ffmpeg ended with {code}, at the latest after {self.limit:g} s" if code else "")

    def _of_torchcodec(self, decoders: Any, source: Path | bytes, start: float, seconds: float) -> Iterator[Any]:
        try:
            decoder = decoders.AudioDecoder(source)
            metadata = decoder.metadata
            yield metadata.sample_rate, metadata.num_channels
            end = start + seconds
            if metadata.duration_seconds is not None:
                end = min(end, (metadata.begin_stream_seconds or 0.0) + metadata.duration_seconds)
            while start < end:
                stop = min(start + _BLOCK_SECONDS, end)
                yield np.ascontiguousarray(decoder.get_samples_played_in_range(start, stop).data.numpy().T)
                start = stop
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            reason = re.sub(r"^.*\.cpp:\d+, ", "", reason).replace(str(source), "it")
            reason = "there is no sound in it" if "audio stream" in reason else reason
            raise AudioError(f"{self.name} is {self.kind} that can't be read ({reason})") from error


def compressed_seconds(source: Path | bytes) -> float:
    """How long such a recording says that it is; by its size where it doesn't, 0 where nothing can be told."""
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    guessed = size / 4000  # bytes a second: compressed speech has more
    program = _program()
    if program is not None:
        with _as_file(source) as path:
            command = [program, "-nostdin", "-hide_banner", "-protocol_whitelist", "file", "-i", f"file:{path}"]
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT)
            except (OSError, subprocess.TimeoutExpired):
                return 0.0
        found = _DURATION.search(done.stderr.decode("utf-8", "replace"))
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else guessed
    torchcodec = _torchcodec()
    if torchcodec is None:
        return 0.0
    try:
        return torchcodec.AudioDecoder(source).metadata.duration_seconds or guessed
    except (RuntimeError, ValueError):
        return 0.0


@contextlib.contextmanager
def _as_file(source: Path | bytes) -> Iterator[str]:
    """The path of a file with the recording: what an MP4 holds may be told at its end, so no pipe will do."""
    if not isinstance(source, bytes):
        yield os.path.abspath(source)
        return
    with tempfile.TemporaryFile() as file:  # without a name, so that none is left where this process is killed
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        if os.path.exists(path):
            file.write(source)
            file.flush()
            yield path
            return
    with tempfile.TemporaryDirectory(prefix="emomm-") as folder:
        path = os.path.join(folder, "recording")
        with open(path, "wb") as file:
            file.write(source)
        yield path


def _program() -> str | None:
    """The ffmpeg program: the system's, or the one in the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def _torchcodec() -> Any:
    """torchcodec's decoders; None where it isn't there, or not with the libraries that it needs."""
    try:
        return importlib.import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError):
        return None


__all__ = ["AudioError", "CompressedAudio", "compressed_kind", "compressed_seconds"]
