"""States of frozen text encoders: each distinct transcript is encoded once, kept on disk, and memory-mapped.

A store is a folder for one (encoder weights and configuration, tokenizer, maximum length, precision). It holds Arrow
files, each written whole under a temporary name and then renamed to the hash of its bytes: a torn or foreign file does
not match its name, is never parsed, and is removed and its transcripts encoded again. One process at a time encodes,
under a lock that the system frees when the process ends, however it ends.

What a transcript is stored as depends on that transcript alone, to the last bit, and not on what else is encoded: or
the words of test rows would reach the training rows, and a store that grew would differ from one made at once. A
matrix product may add in another order when its shape changes, so every batch has the one shape that the length of its
transcripts calls for, filled up with copies where there are too few; and that no place in the batch is special is
checked for each shape. Where one is, transcripts are encoded one by one.
"""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import xxhash
from filelock import AcquireReturnProxy
from filelock import FileLock
from huggingface_hub import constants
from huggingface_hub import snapshot_download
from tqdm import tqdm

from ..errors import InputError
from ..hub_access import reach_hub
from .sequences import Sequences
from .text_encoders import encoder_location
from .text_encoders import load_encoder
from .text_encoders import load_tokenizer

logger = logging.getLogger(__name__)

_FORMAT = "emomm-text-states-3"
_TOKENS_A_BATCH = 512
_FLUSH_BYTES = 64 * 2**20
_FLUSH_SECONDS = 30.0


def default_store() -> Path:
    """Beside the Hub's own cache (`HF_HOME`), shared by all jobs of a user."""
    return Path(constants.HF_HOME) / "emomm" / "text-states"


@cache
def encoder_fingerprint(name: str) -> str:
    """A hash of the encoder's weights, configuration and tokenizer: of the files themselves, without loading them.

    Raises InputError where there is no such encoder.
    """
    folder = Path(encoder_location(name))
    if not folder.is_dir():
        reach_hub(name)
        try:
            patterns = ["*.json", "*.txt", "*.model", "model*.safetensors"]
            folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
            if not any(folder.glob("*.safetensors")):
                folder = Path(snapshot_download(name, allow_patterns=["pytorch_model*.bin"]))
        except (OSError, ValueError) as error:
            raise InputError(
                f"text_model_name={name!r} could not be reached ({str(error).splitlines()[0]}); name a folder, or an "
                "encoder that is in the cache"
            ) from error
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        raise InputError(f"text_model_name={name!r}: {folder.name} holds no weights (*.safetensors)")
    digest = hashlib.sha256()
    for path in [*weights, *sorted(p for p in folder.iterdir() if p.suffix in (".json", ".txt", ".model"))]:
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class TextStateStore:
    """The stored states of one frozen encoder.

    Args:
        model_name: the encoder: a Hub id, a folder, or `package:NAME/FOLDER`.
        max_length: tokens of a transcript, special tokens included; longer ones are cut.
        dtype: `float16` or `float32` on disk.
        directory: where the stores lie; by default in the Hub's cache folder.
    """

    def __init__(self, model_name: str, max_length: int, dtype: str = "float16", directory: str | Path | None = None):
        self.model_name, self.max_length, self.dtype = model_name, max_length, np.dtype(dtype)
        identity = f"{_FORMAT} {encoder_fingerprint(model_name)} {max_length} {dtype}"
        self.key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.folder = (default_store() if directory is None else Path(directory)) / self.key
        self._parts: list[np.ndarray] = []
        self._index: dict[bytes, tuple[int, int, int]] = {}
        self._known: set[str] = set()

    def states(self, transcripts: Sequence[str | None]) -> Sequences:
        """The encoder's last states of each transcript, (tokens, dim); None has length 0.

        Encodes what is not there yet. Raises InputError where the disk is full or the states overflow float16.
        """
        hashes = [None if text is None else _text_hash(text) for text in transcripts]
        wanted = {key: text for key, text in zip(hashes, transcripts, strict=True) if key is not None}
        self._scan()
        if not wanted.keys() <= self._index.keys():
            with self._lock():
                self._scan(clean=True)  # another process may have encoded them meanwhile
                self._encode({key: text for key, text in wanted.items() if key not in self._index})
        rows = np.array([(0, 0, 0) if key is None else self._index[key] for key in hashes], dtype=np.int64)
        rows = rows.reshape(-1, 3)
        return Sequences(tuple(self._parts), rows[:, 0].astype(np.int32), rows[:, 1], rows[:, 2])

    def _lock(self) -> AcquireReturnProxy:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return FileLock(self.folder / "lock").acquire()
        except OSError as error:
            raise self._no_place(error) from error

    def _no_place(self, error: OSError, size: str = "") -> InputError:
        where = f"{self.folder.parent} for the states of the transcripts{size}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(f"no space left in {where}: free some, or set store_dir")
        return InputError(f"can't write into {where} ({error}): set store_dir")

    # ---- reading ----------------------------------------------------------------------------------------------------

    def _scan(self, clean: bool = False) -> None:
        """Maps files not seen yet; with `clean` (under the lock) removes those that are torn, foreign or temporary."""
        for path in sorted(self.folder.glob("*.arrow*")):
            if path.name in self._known:
                continue
            part = None if path.suffix == ".temporary" else _read(path)
            if part is not None:
                self._add(path.name, *part)
            elif clean:
                if path.suffix != ".temporary":
                    logger.warning("%s is torn or not ours: removed, its transcripts are encoded again", path.name)
                path.unlink()

    def _add(self, name: str, keys: list[bytes], lengths: np.ndarray, values: np.ndarray) -> None:
        starts = np.cumsum(lengths) - lengths
        number = len(self._parts)
        self._index.update(
            (key, (number, start, length))
            for key, start, length in zip(keys, starts.tolist(), lengths.tolist(), strict=True)
        )
        self._parts.append(values)
        self._known.add(name)

    # ---- encoding ---------------------------------------------------------------------------------------------------

    def _encode(self, texts: dict[bytes, str]) -> None:
        if not texts:
            return
        keys, tokenizer = list(texts), load_tokenizer(self.model_name)
        tokens = tokenizer(list(texts.values()), truncation=True, max_length=self.max_length)["input_ids"]
        encoder = load_encoder(self.model_name).to("cuda" if torch.cuda.is_available() else "cpu")
        # Other kernels leave out the mask of a batch in which nothing is padded.
        encoder.set_attn_implementation("eager")
        done: list[tuple[bytes, np.ndarray]] = []
        flushed = time.monotonic()
        with tqdm(total=len(keys), desc="encoding transcripts", unit="text", disable=None) as bar:
            for rows, states in _encoded(encoder, tokens, tokenizer.pad_token_id or 0, self.max_length):
                for i, state in zip(rows, states, strict=True):
                    done.append((keys[i], self._checked(state, texts[keys[i]])))
                bar.update(len(rows))
                due = time.monotonic() - flushed > _FLUSH_SECONDS
                if due or sum(state.nbytes for _, state in done) > _FLUSH_BYTES:
                    self._write(done)
                    done, flushed = [], time.monotonic()
        if done:
            self._write(done)
        logger.info("%d transcripts encoded by %s", len(keys), self.model_name)

    def _checked(self, state: np.ndarray, text: str) -> np.ndarray:
        with np.errstate(over="ignore"):
            stored = state.astype(self.dtype)
        if not np.isfinite(stored).all():
            raise InputError(
                f"the states of {text[:60]!r} by {self.model_name!r} are not finite in {self.dtype}; "
                "set store_dtype to float32"
            )
        return stored

    def _write(self, done: list[tuple[bytes, np.ndarray]]) -> None:
        lengths = np.array([len(state) for _, state in done], dtype=np.int64)
        values = np.concatenate([state for _, state in done])
        keys = b"".join(key for key, _ in done)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int64())
        columns = {
            "transcript": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(done), [None, pa.py_buffer(keys)]),
            "states": pa.LargeListArray.from_arrays(offsets, flat),
        }
        table = pa.table(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        name = _file_name(content)
        temporary = self.folder / f"{name}.temporary"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            size = f" ({content.size / 2**20:.1f} MB for {len(done)} of them)"
            raise self._no_place(error, size) from error
        self._scan()


def _text_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _file_name(content: pa.Buffer) -> str:
    return f"{xxhash.xxh3_128(content).hexdigest()}.arrow"


def _read(path: Path) -> tuple[list[bytes], np.ndarray, np.ndarray] | None:
    """Keys, lengths and memory-mapped states of a file, or None where it isn't whole or isn't ours.

    The hash comes first: one wrong bit in Arrow's metadata can end the process that parses it.
    """
    try:
        content = pa.memory_map(str(path)).read_buffer()
    except OSError:  # a folder, or not to be read
        return None
    if path.name != _file_name(content):
        return None
    table = pa.ipc.open_file(content).read_all()
    states = table["states"].chunk(0)
    lengths = np.diff(states.offsets.to_numpy()).astype(np.int64)
    values = states.values.values.to_numpy(zero_copy_only=True).reshape(-1, states.values.type.list_size)
    return table["transcript"].to_pylist(), lengths, values


def _encoded(
    encoder: torch.nn.Module, tokens: list[list[int]], pad: int, max_length: int
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """The states of each row of token ids, (length, dim), in batches: row numbers and states, the longest first."""
    lengths = np.array([len(row) for row in tokens])
    step = 2 ** np.maximum(2, np.log2(np.maximum(lengths, 1)).astype(int) - 3)  # an eighth is padding, at most
    padded = np.clip(-(-lengths // step) * step, 1, max_length)
    for length in np.unique(padded)[::-1].tolist():
        rows = np.flatnonzero(padded == length).tolist()
        size = max(1, _TOKENS_A_BATCH // length)
        copies = _forward(encoder, [tokens[rows[0]]] * size, length, pad)
        if not all(np.array_equal(copy, copies[0]) for copy in copies):
            size = 1
        elif len(rows) == 1:
            yield rows, copies[:1]
            continue
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            filled = some + some[-1:] * (size - len(some))
            yield some, _forward(encoder, [tokens[i] for i in filled], length, pad)[: len(some)]


@torch.no_grad()
def _forward(encoder: torch.nn.Module, tokens: list[list[int]], length: int, pad: int) -> list[np.ndarray]:
    """The last states of a batch padded to `length`, without those of the padding."""
    device = next(encoder.parameters()).device
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in tokens], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in tokens], device=device)
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float().cpu().numpy()
    return [state[: len(row)] for state, row in zip(states, tokens, strict=True)]


__all__ = ["TextStateStore", "default_store", "encoder_fingerprint"]
