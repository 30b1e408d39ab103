"""What to extract: the options of `extract_features.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..speech_encoders import BATCH_SECONDS


@dataclass(frozen=True)
class Extraction:
    """What to extract.

    Args:
        input: see `inputs.read_input`.
        encoder: id on the Hub, or a folder.
        output: folder to write.
        layers, pooling, frame_rate: see `SpeechFeatures`; `frame_rate` None keeps the encoder's.
        revision: of the encoder, on the Hub.
        split: of a data set.
        batch_seconds: padded seconds of audio at a time, for each process.
        num_workers: threads that read ahead, for each process.
        save_seconds: a shard is written after so many seconds at the earliest.
        overwrite: replace what another job has written into `output`.
        trust_remote_code: run code that comes with the encoder.
    """

    input: str
    encoder: str
    output: str
    layers: Sequence[int] = (-1,)
    pooling: str = "frames"
    frame_rate: float | None = None
    revision: str | None = None
    split: str = "train"
    batch_seconds: float = BATCH_SECONDS
    num_workers: int = 4
    save_seconds: float = 60.0
    overwrite: bool = False
    trust_remote_code: bool = False


__all__ = ["Extraction"]
