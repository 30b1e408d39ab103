"""States of frozen text encoders: each distinct transcript is encoded once, kept on disk, and memory-mapped.

A store is a folder for one (encoder weights and configuration, tokenizer, maximum length, precision); mapped_store.py
says how its files are written and read.

What a transcript is stored as depends on that transcript alone, to the last bit, and not on what else is encoded: or
the words of test rows would reach the training rows, and a store that grew would differ from one made at once. A
matrix product may add in another order when its shape changes, so every batch gives the bits of the one shape that the
length of its transcripts calls for: it has another shape only where that is found to give the same bits, and is filled
up with copies else. That no place in the batch is special is checked, too; where one is, transcripts are encoded one
by one.
"""

import hashlib
import logging
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from ..encoder_layers import EncoderLayers
from ..errors import InputError
from ..hub_access import reach_hub
from .encoder_states import WhichStates
from .encoder_states import states_of
from .mapped_store import MappedStore
from .mapped_store import StoreWords
from .mapped_store import user_store
from .seen_files import file_state
from .sequences import Sequences
from .text_encoders import encoder_location
from .text_encoders import load_encoder
from .text_encoders import load_tokenizer

logger = logging.getLogger(__name__)

_FORMAT = "emomm-text-states-4"
_TOKENS_A_BATCH = 448
_WORDS = StoreWords(
    holds="the states of the transcripts", again="its transcripts are encoded again", key="transcript", values="states"
)


def default_store() -> Path:
    """Beside the Hub's own cache (`HF_HOME`), shared by all jobs of a user."""
    return user_store("text-states")


def encoder_fingerprint(name: str, setting: str = "text_model_name") -> str:
    """A hash of the encoder's weights, configuration and tokenizer: of the files themselves, without loading them.

    They are read once for as long as they stay as they are.

    Args:
        name: of an encoder of words or recordings.
        setting: that names it, for the message.

    Raises InputError where there is no such encoder.
    """
    folder = Path(encoder_location(name, setting))
    if not folder.is_dir():
        folder = _downloaded(name, setting)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        raise InputError(f"{setting}={name!r}: {folder.name} holds no weights (*.safetensors)")
    paths = [*weights, *sorted(p for p in folder.iterdir() if p.suffix in (".json", ".txt", ".model"))]
    return _hash_of_files(tuple((path, *file_state(path)) for path in paths))


@cache
def _downloaded(name: str, setting: str) -> Path:
    """The folder of an encoder on the Hub."""
    reach_hub(name)
    try:
        patterns = ["*.json", "*.txt", "*.model", "model*.safetensors"]
        folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["pytorch_model*.bin"]))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{setting}={name!r} could not be reached ({str(error).splitlines()[0]}); name a folder, or an "
            "encoder that is in the cache"
        ) from error
    return folder


@cache
def _hash_of_files(files: tuple[tuple[Any, ...], ...]) -> str:
    """Of names and contents. `files`: each a path, and what is other once it has been written or replaced."""
    digest = hashlib.sha256()
    for path, *_ in files:
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
        which: states; None, those of the last layer.
    """

    def __init__(
        self,
        model_name: str,
        max_length: int,
        dtype: str = "float16",
        directory: str | Path | None = None,
        which: WhichStates | None = None,
    ):
        self.model_name, self.max_length, self.dtype, self.which = model_name, max_length, np.dtype(dtype), which
        identity = f"{_FORMAT} {encoder_fingerprint(model_name)} {max_length} {dtype}"
        identity += "" if which is None else f" {which}"
        self.key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.folder = (default_store() if directory is None else Path(directory)) / self.key
        self._store = MappedStore(self.folder, _WORDS)

    def states(self, transcripts: Sequence[str | None]) -> Sequences:
        """The encoder's states of each transcript, (tokens, dim); None has length 0.

        Encodes what is not there yet. Raises InputError where the disk is full or the states overflow float16.
        """
        hashes = [None if text is None else _text_hash(text) for text in transcripts]
        texts = {key: text for key, text in zip(hashes, transcripts, strict=True) if key is not None}
        return self._store.rows(hashes, lambda keys: self._encoded({key: texts[key] for key in keys}))

    def _encoded(self, texts: dict[bytes, str]) -> Iterator[tuple[bytes, np.ndarray]]:
        keys, tokenizer = list(texts), load_tokenizer(self.model_name)
        tokens = tokenizer(list(texts.values()), truncation=True, max_length=self.max_length)["input_ids"]
        encoder = load_encoder(self.model_name).to("cuda" if torch.cuda.is_available() else "cpu")
        # Other kernels leave out the mask of a batch in which nothing is padded.
        encoder.set_attn_implementation("eager")
        with tqdm(total=len(keys), desc="encoding transcripts", unit="text", disable=None) as bar:
            pad = tokenizer.pad_token_id or 0
            for rows, states in _encoded(encoder, tokens, pad, self.max_length, self.which):
                for i, state in zip(rows, states, strict=True):
                    kept = state if self.which is None else self.which.of_row(state)
                    yield keys[i], self._checked(kept, texts[keys[i]])
                bar.update(len(rows))
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


def _text_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _encoded(
    encoder: PreTrainedModel, tokens: list[list[int]], pad: int, max_length: int, which: WhichStates | None
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """The states of each row of token ids, (length, dim), in batches: row numbers and states, the longest first."""
    lengths = np.array([len(row) for row in tokens])
    # Few lengths, each with many rows, cost less than the padding, which is an eighth on average.
    step = 2 ** np.maximum(1, np.log2(np.maximum(lengths, 1)).astype(int) - 2)
    padded = np.clip(-(-lengths // step) * step, 1, max_length)
    for length in np.unique(padded)[::-1].tolist():
        rows = np.flatnonzero(padded == length).tolist()
        size = _batch_size(encoder, tokens[rows[0]], length, pad, len(rows))
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            filled = some + some[-1:] * (size - len(some))
            yield some, _forward(encoder, [tokens[i] for i in filled], length, pad, which)[: len(some)]


def _batch_size(encoder: PreTrainedModel, tokens: list[int], length: int, pad: int, count: int) -> int:
    """How many of `count` rows of this length make a batch, so that each gets the bits of the length's own shape.

    That shape has `_TOKENS_A_BATCH` tokens. What it gives is checked by copies of one row and up to the first layer,
    whose products have the shapes of all others: the same at each place, or rows go one by one; and the same in
    batches that are as even as they can be, or they are filled up to that shape.
    """
    own = max(1, _TOKENS_A_BATCH // length)
    even = -(-count // max(1, count // own))
    states = _first_layer(encoder, [tokens] * own, length, pad)
    if not (states == states[0]).all():
        return 1
    if even != own and not (_first_layer(encoder, [tokens] * even, length, pad) == states[0]).all():
        return own
    return even


def _padded(encoder: PreTrainedModel, tokens: list[list[int]], length: int, pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, (rows, length), on the encoder's device."""
    device = next(encoder.parameters()).device
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in tokens], device=device)
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in tokens], device=device)


@torch.no_grad()
def _first_layer(encoder: PreTrainedModel, tokens: list[list[int]], length: int, pad: int) -> Tensor:
    """The states of a batch after the first layer, or of an unknown family's encoder those after the last."""
    ids, mask = _padded(encoder, tokens, length, pad)
    layers = EncoderLayers.of(encoder)
    if layers is None:
        return encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return layers.lower_states(ids, mask, [min(1, layers.depth)])[0][min(1, layers.depth)]


@torch.no_grad()
def _forward(
    encoder: PreTrainedModel, tokens: list[list[int]], length: int, pad: int, which: WhichStates | None
) -> list[np.ndarray]:
    """The states of a batch padded to `length`, without those of the padding."""
    ids, mask = _padded(encoder, tokens, length, pad)
    if which is None:
        found = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    else:
        found, _ = states_of(encoder, ids, mask, which)
    states = found.cpu().numpy()
    return [state[: len(row)] for state, row in zip(states, tokens, strict=True)]


__all__ = ["TextStateStore", "default_store", "encoder_fingerprint"]
