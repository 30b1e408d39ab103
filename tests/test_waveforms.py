"""Recordings of every kind to one waveform, or a clear refusal; fuzzed files never crash it."""

import functools
import http.server
import io
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from emomm import waveforms
from emomm.waveforms import AudioError
from emomm.waveforms import Waveform
from emomm.waveforms import read_waveform

RATE = 16000


def tone(seconds=0.5, rate=RATE, hertz=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, rate=RATE, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def wav_header(data_bytes, channels=1, rate=RATE, bits=16):
    """A WAV file's header that claims so many bytes of samples."""
    step = channels * bits // 8
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * step, step, bits)
    riff = min(data_bytes + 36, 0xFFFFFFFF)
    return b"RIFF" + struct.pack("<I", riff) + head + b"data" + struct.pack("<I", data_bytes)


# ---- what is read


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "DOUBLE", 1e-7),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_S8", 2**-7),
        ("AIFF", "PCM_16", 2**-15),
        ("OGG", "VORBIS", 0.05),
    ],
)
def test_formats(tmp_path, kind, subtype, error):
    """As path, text, bytes, open file and dictionary: the same samples, within what the format keeps."""
    content = encoded(tone(), kind=kind, subtype=subtype)
    path = tmp_path / f"tone.{kind.lower()}"
    path.write_bytes(content)
    given = [path, str(path), content, memoryview(content), {"bytes": content, "path": None}, {"path": str(path)}]
    found = [read_waveform(each) for each in given]
    with path.open("rb") as opened:
        found.append(read_waveform(opened))
    for waveform in found:
        assert waveform.samples.dtype == np.float32 and waveform.samples.flags["C_CONTIGUOUS"]
        assert waveform.sampling_rate == RATE and waveform.seconds == 0.5
        assert error > 0.005 or waveform.notes == ()  # a pure tone in 8 bits has a flat top
        np.testing.assert_allclose(waveform.samples, tone(), atol=error)
        np.testing.assert_array_equal(waveform.samples, found[0].samples)


def test_mp3_is_read():
    waveform = read_waveform(encoded(tone(1.0), kind="MP3"))
    spectrum = np.abs(np.fft.rfft(waveform.samples))
    loudest = np.argmax(spectrum) * RATE / len(waveform.samples)
    assert 1.0 <= waveform.seconds < 1.2 and loudest == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 44100, 48000, 192000])
def test_any_rate_becomes_16_khz(rate):
    waveform = read_waveform(encoded(tone(1.0, rate), rate))
    assert len(waveform.samples) == RATE
    inner = slice(800, -800)  # a filter's edges aside
    np.testing.assert_allclose(waveform.samples[inner], tone(1.0)[inner], atol=2e-3)
    low = f": nothing above {rate / 2000:g} kHz" if rate < RATE else ""
    assert waveform.notes[-1] == f"brought from {rate} to 16000 Hz{low}"


def test_what_is_above_the_new_rate_is_filtered_not_folded():
    high = read_waveform(tone(1.0, 48000, hertz=15000), source_rate=48000)
    assert np.abs(high.samples[800:-800]).max() < 1e-3


def test_channels_are_averaged():
    channels = np.stack([tone() * weight for weight in (1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)], axis=1)
    waveform = read_waveform(encoded(channels, subtype="FLOAT"))
    np.testing.assert_allclose(waveform.samples, tone() * 0.25, atol=1e-6)
    assert waveform.notes == ("mixed from 8 channels",)
    for array in (channels, channels.T):  # whichever way round it lies
        np.testing.assert_allclose(read_waveform(array, source_rate=RATE).samples, tone() * 0.25, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale", "middle"),
    [("int8", 2**7, 0), ("uint8", 2**7, 2**7), ("int16", 2**15, 0), ("int32", 2**31, 0), ("float64", 1, 0)],
)
def test_arrays_of_integers_are_of_full_scale(dtype, scale, middle):
    array = (tone().astype(np.float64) * scale + middle).astype(dtype)
    found = read_waveform({"array": array, "sampling_rate": RATE})
    np.testing.assert_allclose(found.samples, tone(), atol=1.01 / scale if scale > 1 else 1e-6)


SIXTEEN = np.round(tone() * 2**15).astype(np.int16)


@pytest.mark.parametrize(
    ("samples", "note"),
    [
        (SIXTEEN, None),
        (SIXTEEN.tolist(), "taken for 16 bits, in int64"),  # as JSON has them
        (SIXTEEN.astype(np.int32), "taken for 16 bits, in int32"),
        (SIXTEEN.astype(np.int64) * 2**16, "taken for 32 bits, in int64"),
        (SIXTEEN.astype(np.int32) * 2**16, None),  # as libraries give 16 bits in 32
        ((SIXTEEN.astype(np.int32) + 2**15).astype(np.uint16), None),
        (SIXTEEN.astype(np.float32), "taken for 16 bits: its largest sample is 16384"),
        (SIXTEEN.astype(np.float32) + np.float32(0.25), "taken for 16 bits: its largest sample is 16384.2"),
        ((SIXTEEN // 2**4).astype(np.float64) / 10 * 10, "taken for 16 bits: its largest sample is 1024"),
        (np.stack([SIXTEEN, SIXTEEN]).astype(np.int32), "taken for 16 bits, in int32"),
    ],
)
def test_sixteen_bits_in_another_type(samples, note):
    """Neither silence nor 90 dB too loud: of the scale that the values are on, and it is said."""
    waveform = read_waveform({"array": samples, "sampling_rate": RATE})
    assert "silent" not in waveform.notes and (note is None or note in waveform.notes)
    expected = tone() / 2**4 if np.asarray(samples).dtype == np.float64 else tone()
    np.testing.assert_allclose(waveform.samples, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            SIXTEEN.astype(np.int32) * 200,
            r"int32 may be of 24 bits, or of 32 and very quiet: divide them by their full",
        ),
        (SIXTEEN.astype(np.int64) * 200, "int64 may be of 24 bits, or of 32 and very quiet"),
        (SIXTEEN.astype(np.int32) // 2**12 * 2**8, "int32 may be of 16 bits, or of 32 and very quiet"),
        (SIXTEEN.astype(np.int64) * 2**30, "int64 are of more than 32 bits"),
        ((tone() * 127 + 128).astype(np.uint16), "uint16 lie on one side of its middle"),
        ((tone() * 2**15 + 2**15).astype(np.uint32), "uint32 lie on one side of its middle"),
        ((tone() * 127 + 128).astype(int).tolist(), "int64 are never below 0, as unsigned ones in a wider type are"),
        (tone() * 50, "its largest sample is 25; full scale is 1"),
        (tone() * 2**23, r"its largest sample is 4.19e\+06; full scale is 1"),
    ],
)
def test_samples_whose_scale_cannot_be_told(samples, message):
    with pytest.raises(AudioError, match=message):
        read_waveform({"array": samples, "sampling_rate": RATE})


def test_silence_is_silence_in_every_type():
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32"):
        assert read_waveform(np.zeros(RATE, dtype), source_rate=RATE).notes == ("silent",), dtype
    hiss = np.random.default_rng(0).integers(-2, 3, RATE)
    for dtype in ("int16", "int32", "int64", "float64"):
        assert "silent" in read_waveform(hiss.astype(dtype), source_rate=RATE).notes, dtype


def test_beyond_full_scale_is_said(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone() * 6, RATE, subtype="FLOAT")
    assert read_waveform(tmp_path / "x.wav").notes == ("beyond full scale: its largest sample is 3",)
    soundfile.write(tmp_path / "x.wav", tone() * 2**15, RATE, subtype="FLOAT")
    waveform = read_waveform(tmp_path / "x.wav")
    np.testing.assert_allclose(waveform.samples, tone(), atol=1e-6)
    assert waveform.notes == ("taken for 16 bits: its largest sample is 16384",)


def test_a_waveform_is_read_again_at_another_rate():
    once = read_waveform(tone(), 8000, source_rate=RATE)
    again = read_waveform(once)
    assert (once.sampling_rate, again.sampling_rate, len(again.samples)) == (8000, RATE, RATE // 2)


# ---- what is said of it


@pytest.mark.parametrize(("level", "silent"), [(0.0, True), (0.9e-4, True), (1.1e-4, False)])
def test_silence_is_said(level, silent):
    samples = np.full(RATE, level, np.float32) * np.where(np.arange(RATE) % 2, 1, -1)
    waveform = read_waveform(samples, source_rate=RATE)
    assert waveform.silent is silent and ("silent" in waveform.notes) is silent


def test_a_constant_is_silence():
    assert read_waveform(np.full(RATE, 0.5, np.float32), source_rate=RATE).notes == ("silent",)


def test_a_wav_that_was_cut_off_is_said(tmp_path):
    """From a path and from bytes; one that was written to a pipe announces nothing that could be missing."""
    whole = encoded(tone(1.0))
    half = whole[: 44 + (len(whole) - 44) // 2]
    (tmp_path / "half.wav").write_bytes(half)
    for source in (half, tmp_path / "half.wav", {"bytes": half, "path": "half.wav"}):
        waveform = read_waveform(source)
        assert waveform.notes == ("cut off: 0.50 of 1.00 s are there",) and len(waveform.samples) == RATE // 2
    assert read_waveform(whole).notes == ()
    assert read_waveform(wav_header(0xFFFFFFFF) + (tone() * 32767).astype("<i2").tobytes()).notes == ()


def test_what_datasets_decodes_by_torchcodec_is_read():
    class Decoder:  # torchcodec's, which has no array interface
        def get_all_samples(self):
            return SimpleNamespace(data=torch.from_numpy(np.stack([tone(), tone()])), sample_rate=RATE)

    assert read_waveform(Decoder()).notes == ("mixed from 2 channels",)
    np.testing.assert_allclose(read_waveform(Decoder()).samples, tone(), atol=1e-6)


def test_no_samples_of_many_channels_are_none():
    with pytest.raises(AudioError, match="holds no samples"):
        read_waveform(np.zeros((16000, 0), np.float32), source_rate=RATE)


def test_clipping_is_said():
    loud = np.clip(tone(level=2.0), -1, 1)
    share = np.mean(np.abs(loud) >= 1)
    assert read_waveform(loud, source_rate=RATE).notes == (
        f"clipped: {share:.1%} of the samples are at the largest value",
    )
    assert read_waveform(tone(level=1.0, hertz=441.3), source_rate=RATE).notes == ()


# ---- what is refused


@pytest.mark.parametrize(
    ("source", "kwargs", "message"),
    [
        (np.zeros(0, np.float32), {"source_rate": RATE}, "holds no samples"),
        (np.zeros(1599, np.float32), {"source_rate": RATE}, "too short: 0.100 s, at least 0.1 s"),
        (tone(), {"source_rate": RATE, "longest": 0.25}, r"too long: 0 s, at most 0\.25 s"),
        (np.array([0.1, np.nan] * 1000), {"source_rate": RATE}, "1000 of 2000 samples are NaN or infinite"),
        (np.array([0.1, np.inf] * 1000), {"source_rate": RATE}, "1000 of 2000 samples are NaN or infinite"),
        (np.full(2000, 1e300), {"source_rate": RATE}, "2000 of 2000 samples are NaN or infinite"),  # in float32
        (np.full(2000, 1e7), {"source_rate": RATE}, r"largest sample is 1e\+07; full scale is 1"),
        (tone(), {}, "an array of samples needs its sampling rate"),
        (tone(), {"source_rate": 999}, "sampling rate is 999 Hz; it must be 1000-768000"),
        (tone(), {"source_rate": 10**9}, "sampling rate is 1000000000 Hz"),
        (np.zeros((100, 100)), {"source_rate": RATE}, r"has shape \(100, 100\)"),
        (np.zeros((2, 2, 2000)), {"source_rate": RATE}, r"has shape \(2, 2, 2000\)"),
        (np.zeros((0, 2)), {"source_rate": RATE}, "holds no samples"),
        (np.array(["a"] * 2000), {"source_rate": RATE}, "ndarray is no recording"),
        (np.zeros(2000, complex), {"source_rate": RATE}, "ndarray is no recording"),
        ([[0.1], [0.1, 0.2]], {"source_rate": RATE}, "list is no recording"),
        (None, {}, "NoneType is no recording"),
        ({}, {}, "needs array, raw, bytes or path; it has -"),
        ({"samples": [0.1]}, {}, "it has samples"),
        ("nowhere.wav", {}, "nowhere.wav: there is no such file"),
        ("ftp://127.0.0.1/a.wav", {}, "^ftp://127.0.0.1/a.wav: .* http and https alone, not from ftp$"),
        ("s3://bucket/a.wav", {}, "not from s3$"),
        (b"", {}, "is no audio that can be read"),
        (b"RIFF", {}, "is no audio that can be read"),
        (encoded(np.zeros((0, 1))), {}, "holds no samples"),
        (encoded(tone(0.05)), {}, "too short: 0.050 s"),
    ],
)
def test_refused(source, kwargs, message):
    with pytest.raises(AudioError, match=message):
        read_waveform(source, **kwargs)


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.wav").write_text("no audio at all\n" * 100)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no audio at all\n" * 100)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "raw.raw").write_bytes(bytes(4000))
    for name, message in (
        ("text.wav", "no audio"),
        ("text.mp3", r"no audio that can be read \(its format is not known\)"),
        ("empty.wav", "is empty"),
        ("folder.wav", "no such file"),
        ("raw.raw", "no audio"),
    ):
        with pytest.raises(AudioError, match=f"{name}.*{message}"):
            read_waveform(tmp_path / name)


def test_an_infinite_sample_in_a_file():
    with pytest.raises(AudioError, match="1 of 8000 samples are NaN or infinite"):
        read_waveform(encoded(np.append(tone()[1:], np.inf).astype(np.float64), subtype="DOUBLE"))


def test_a_header_that_claims_4_gb(monkeypatch):
    """Read as far as there is something, in blocks: no memory for what is claimed."""
    blocks = []
    read = soundfile.SoundFile.read

    def watched(self, frames=-1, **kwargs):
        blocks.append(frames)
        return read(self, frames, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    claims = wav_header(0xFFFFFFF0) + (tone() * 32767).astype("<i2").tobytes()
    np.testing.assert_allclose(read_waveform(claims).samples, tone(), atol=2**-14)
    assert 0 < max(blocks) <= 1 << 20


def test_a_recording_that_is_too_long_is_left_before_it_is_read(monkeypatch):
    read = []
    original = soundfile.SoundFile.read

    def watched(self, *args, **kwargs):
        read.append(original(self, *args, **kwargs))
        return read[-1]

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    monkeypatch.setattr(waveforms, "_BLOCK", 1000)
    with pytest.raises(AudioError, match="too long"):
        read_waveform(encoded(tone(5.0)), longest=0.5)
    assert sum(map(len, read)) == 9000  # of 80000


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG", "AIFF", "AU"])
def test_too_long_says_how_long(tmp_path, kind):
    """And not how much was read of it."""
    content = encoded(tone(8.0), kind=kind)
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        with pytest.raises(AudioError, match="is too long: 8 s, at most 1 s are taken; cut it"):
            read_waveform(source, longest=1.0)
    with pytest.raises(AudioError, match="the recording is too long: 8 s, at most 1 s"):
        read_waveform(tone(8.0), source_rate=RATE, longest=1.0)
    endless = wav_header(0xFFFFFFFF) + (tone(8.0) * 32767).astype("<i2").tobytes()
    with pytest.raises(AudioError, match="is too long: (8 s|more than 1 s), at most 1 s"):
        read_waveform(endless, longest=1.0)


def test_more_channels_than_anyone_has():
    with pytest.raises(AudioError, match="has 65 channels; at most 64"):
        read_waveform(encoded(np.zeros((2000, 65), np.float32)))


def test_without_soundfile_it_says_so(monkeypatch):
    monkeypatch.setattr(waveforms, "soundfile", None)
    with pytest.raises(AudioError, match="can't be read without soundfile: pip install soundfile soxr"):
        read_waveform(encoded(tone()))
    assert read_waveform(tone(), source_rate=RATE).seconds == 0.5  # arrays need nothing


class _Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        there = self.path in ("/tone.flac", "/cut.flac", "/slow.flac")
        self.send_response(200 if there else 404)
        if self.path == "/cut.flac":  # announced, and not all sent
            self.send_header("Content-Length", "1000000")
        if self.path == "/header.flac":
            self._drip(b"X-Drip: " + b"x" * 1000)
        self.end_headers()
        if self.path == "/slow.flac":
            self._drip(encoded(tone(), kind="FLAC"))
        elif there:
            self.wfile.write(encoded(tone(), kind="FLAC"))

    def _drip(self, content):
        """A byte at a time, each in time."""
        self.flush_headers()
        for byte in content:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.02)

    def log_message(self, *args):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_urls(url, monkeypatch):
    for there in ("tone.flac", f"to/{url}/tone.flac", "to//tone.flac"):
        np.testing.assert_allclose(read_waveform(f"{url}/{there}").samples, tone(), atol=2**-14)
    with pytest.raises(AudioError, match="none.wav can't be fetched.*404"):
        read_waveform(f"{url}/none.wav")
    with pytest.raises(AudioError, match=r"cut.flac (was cut off: \d+ bytes did not come|can't be fetched)"):
        read_waveform(f"{url}/cut.flac")
    with pytest.raises(AudioError, match="can't be fetched"):
        read_waveform(f"{url}/a name with spaces.wav")
    monkeypatch.setattr(waveforms, "_DOWNLOAD", 100)
    with pytest.raises(AudioError, match="is larger than 0 MB"):
        read_waveform(f"{url}/tone.flac")


@pytest.mark.parametrize("name", ["slow.flac", "header.flac"])
def test_a_url_that_gives_a_byte_at_a_time(url, monkeypatch, name):
    """Each byte comes in time, and all of them would take minutes."""
    monkeypatch.setattr(waveforms, "_DOWNLOAD_TIME", 0.5)
    started = time.monotonic()
    with pytest.raises(AudioError, match=f"{name} took longer than 0.5 s; fetch it yourself, and give the file"):
        read_waveform(f"{url}/{name}")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x.wav", "FILE:///etc/hostname", "data:audio/wav;base64,UklGRg=="])
def test_a_redirect_elsewhere_is_not_followed(url, target):
    kind = target.partition(":")[0]
    with pytest.raises(
        AudioError, match=f"can't be fetched .*(redirects to {kind}, which is not followed|not allowed)"
    ):
        read_waveform(f"{url}/to/{target}")


def test_what_is_no_rate_and_no_name():
    for rate in ("abc", float("nan"), float("inf")):
        with pytest.raises(AudioError, match="the sampling rate is"):
            read_waveform(tone(), source_rate=rate)
    with pytest.raises(AudioError, match="there is no such file"):
        read_waveform("x" * 400 + ".wav")


# ---- fuzzing


@functools.cache
def _good_files():
    stereo = np.stack([tone(0.3), tone(0.3, hertz=330)], axis=1)
    return {
        "wav": encoded(stereo),
        "wav-float": encoded(stereo.astype(np.float64), subtype="DOUBLE"),
        "wav-adpcm": encoded(stereo[:, 0], subtype="IMA_ADPCM"),
        "flac": encoded(stereo, kind="FLAC"),
        "ogg": encoded(stereo, kind="OGG", subtype="VORBIS"),
        "opus": encoded(tone(0.3, 48000), 48000, "OGG", "OPUS"),
        "mp3": encoded(stereo, kind="MP3"),
        "aiff": encoded(stereo, kind="AIFF"),
        "au": encoded(stereo, kind="AU"),
        "caf": encoded(stereo, kind="CAF"),
        "w64": encoded(stereo, kind="W64"),
    }


def _broken(content, rng):
    """Truncated, with bytes flipped (most of them in the header), zeroed, doubled, or with noise in front."""
    data = bytearray(content)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        return bytes(rng.integers(0, 256, rng.integers(1, 200), dtype=np.uint8)) + bytes(data)
    if kind == 2:
        first = rng.integers(len(data))
        data[first : first + rng.integers(1, 2000)] = bytes(rng.integers(1, 2000))
        return bytes(data)
    reach = min(len(data), 80) if kind == 3 else len(data)
    for place in rng.integers(reach, size=rng.integers(1, 12)):
        data[place] = rng.integers(256)
    return bytes(data)


@pytest.mark.parametrize("kind", _good_files())
def test_fuzzed_files_give_a_waveform_or_a_reason(kind, tmp_path):
    rng = np.random.default_rng(list(kind.encode()))
    good = _good_files()[kind]
    read_waveform(good)
    refused = 0
    for number in range(150):
        broken = _broken(good, rng)
        path = tmp_path / f"{number}.{kind.partition('-')[0]}"
        path.write_bytes(broken)
        for source in (path, broken):
            started = time.monotonic()
            try:
                waveform = read_waveform(source)
            except AudioError as error:
                assert str(error), number
                refused += 1
            else:
                assert isinstance(waveform, Waveform) and np.isfinite(waveform.samples).all(), number
                assert waveform.samples.dtype == np.float32 and waveform.samples.ndim == 1, number
                assert waveform.seconds >= 0.099, number
            assert time.monotonic() - started < 5, number
    assert 0 < refused and (kind in ("ogg", "opus") or refused < 300)  # these have a check sum for all of it
