"""Features as emotion2vec's authors publish them: memory-mapped frames, how many each utterance has, and its label."""

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..features.sequences import Sequences
from .places import TRIPLE
from .places import triple_files
from .spec import CorpusSpec

# Utterances of IEMOCAP's five sessions in the public emotion2vec features, in this order.
IEMOCAP_SESSION_SIZES = (1085, 1023, 1151, 1031, 1241)
# Ses01F_impro01_F000: session 1, and the last group's letter says which of its two speakers talks.
IEMOCAP_ID = r"^Ses0?(?P<session>\d+)[FM]_.*_(?P<voice>[FM])[^_]*$"


@dataclass(frozen=True)
class Triple:
    """What the three files say: columns by role, the features of the same rows, where they come from."""

    columns: dict[str, pa.Array]
    audio: Sequences
    source: str
    notes: list[str] = field(default_factory=list)


def read_triple(spec: CorpusSpec, prefix: Path) -> Triple:
    """Reads the three files that begin with `prefix`.

    A line of `.emo` is an utterance id and a label with a tab or blanks between them, as in the format's own reader;
    what follows the label is passed over. Speakers and sessions come from IEMOCAP's ids, else from its session sizes;
    of other corpora the spec's `id_pattern` tells them.

    Raises:
        InputError: not readable, files that don't belong together, features of another width, or ids of a corpus to
            train on that tell no speaker.
    """
    npy, lengths_file, emo = triple_files(prefix)
    source = f"{prefix}{{{','.join(TRIPLE)}}}"
    try:
        frames = np.load(npy, mmap_mode="r")
        lengths = np.array(lengths_file.read_text(encoding="utf-8-sig").split(), dtype=np.int64)
        lines = [_id_and_label(line) for line in emo.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise InputError(f"corpus {spec.name}: cannot read {source}: {error}") from error
    _check_together(spec, source, frames, lengths, len(lines))
    if spec.audio_dim is not None and frames.shape[1] != spec.audio_dim:
        where = f"corpus {spec.name}, row {lines[0][0]!r}" if lines else f"corpus {spec.name}"
        raise InputError(f"{where}: features in {npy} are {frames.shape[1]} wide; expected {spec.audio_dim}")
    if frames.dtype not in (np.float16, np.float32):
        frames = frames.astype(np.float32)
    ids = pa.array([name for name, _ in lines], pa.string())
    columns = {"utterance_id": ids, "label": pa.array([label for _, label in lines], pa.string())}
    people, notes = _people(spec, ids, emo)
    return Triple({**columns, **people}, Sequences.from_arrays(frames, lengths), source, notes)


def _id_and_label(line: str) -> tuple[str, str]:
    first, tab, rest = line.strip().partition("\t")
    if tab:  # the id may then hold blanks
        label = rest.split("\t")[0].strip()
    else:
        first, label = (*line.split(), "", "")[:2]
    if not (first.strip() and label):
        raise ValueError(f"{line.strip()!r} is no `utterance-id<TAB>label` line")
    return first.strip(), label


def _check_together(spec: CorpusSpec, source: str, frames: np.ndarray, lengths: np.ndarray, labels: int) -> None:
    # Each length by itself too: sums of very large ones come round to small numbers.
    fits = frames.ndim == 2 and ((lengths >= 0) & (lengths <= len(frames))).all()
    if not fits or len(lengths) != labels or lengths.sum() != len(frames):
        total = sum(lengths.tolist())
        raise InputError(
            f"corpus {spec.name}: {source} don't belong together: {frames.shape} frames, {len(lengths)} lengths that "
            f"sum to {total}, {labels} labels"
        )
    if frames.dtype.kind not in "fiu":
        raise InputError(f"corpus {spec.name}: {source}: the frames are of type {frames.dtype}, and must be numbers")


def _people(spec: CorpusSpec, ids: pa.Array, emo: Path) -> tuple[dict[str, pa.Array], list[str]]:
    """Speaker and session of each row: from the ids, else from IEMOCAP's session sizes."""
    if spec.id_pattern is not None:
        return {}, []
    found = pc.extract_regex(ids, IEMOCAP_ID)
    if len(ids) and not found.null_count:
        session = found.field("session")
        return {"session": session, "speaker": pc.binary_join_element_wise(session, found.field("voice"), "")}, []
    if len(ids) == sum(IEMOCAP_SESSION_SIZES):
        session = pa.array(np.repeat(["1", "2", "3", "4", "5"], IEMOCAP_SESSION_SIZES))
        # Whoever speaks, it is one of the session's two: taking both as one keeps every split by speaker honest.
        speaker = pc.binary_join_element_wise("session", session, "-")
        note = "the ids tell no speakers: each session counts as one (sessions by IEMOCAP's utterance counts)"
        return {"session": session, "speaker": speaker}, [note]
    if spec.test_only or not len(ids):
        return {}, []
    row = int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
    raise InputError(
        f"corpus {spec.name}: {emo}: utterance id {ids[row].as_py()!r} doesn't tell speaker and session as "
        f"'Ses01F_impro01_F000' does, and {len(ids)} utterances are not IEMOCAP's {sum(IEMOCAP_SESSION_SIZES)}; say "
        'how the ids tell them, as in "id_pattern": "^(?P<speaker>[^_]+)_(?P<session>[^_]+)_", in the corpus, or test '
        'on it alone ("test_only": true)'
    )


__all__ = ["IEMOCAP_SESSION_SIZES", "Triple", "read_triple"]
