"""The README.md of an extracted data set: what made it, what is in it, and what was said of its recordings."""

import json
from collections import Counter

from ..markup import code
from ..markup import markdown
from ..recordings.recordings import Recordings
from ..speech_features import SpeechFeatures

_HEAD = """\
---
pretty_name: {title}
task_categories:
- audio-classification
tags:
- emomm
- speech-emotion-recognition
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---

# Voice features of {name}

{rows} recordings, {hours:.2f} hours: {features}.

Made by EmoMM's `extract_features.py`. What made the features is in `speech_encoder.json` too; EmoMM takes it into
results, models and cards. No licence is stated here: that of the recordings holds, and that of the encoder.

| | |
|---|---|
{facts}

`audio_features` holds {shape}, float16; `audio_notes` what was said of a recording. Columns:
{columns}.

```python
from datasets import load_dataset

features = load_dataset("path/of/this/folder", split="train")
```
"""

_KINDS = {
    "silent": "are silent (nothing above -80 dB of full scale)",
    "clipped": "are clipped",
    "mixed": "have several channels, mixed to one",
    "cut": "are cut off: less is there than their header says",
    "damaged": "are damaged, as their decoder says",
    "beyond": "go beyond full scale",
    "taken": "were on the scale of whole numbers, brought to a full scale of 1",
    "brought": "were brought to the encoder's sampling rate from another",
}


def extraction_card(
    features: SpeechFeatures,
    recordings: Recordings,
    said: list[str | None],
    audio_seconds: float,
    failed: list[dict[str, str]],
) -> str:
    """The card.

    Args:
        said: the notes of each row, as in the column `audio_notes`.
        audio_seconds: of all rows.
        failed: `path` and `reason` of the recordings that could not be read.
    """
    facts = {
        "encoder": features.encoder,
        "revision": features.revision or "-",
        "weights (sha256, as float16)": features.weights,
        "architecture": f"{features.model_type}, {features.num_layers} layers, {features.width} wide",
        "layers": ", ".join(map(str, features.layers)) + (" (mean)" if len(features.layers) > 1 else ""),
        "pooling": "mean over the recording" if features.pooling == "utterance" else f"{features.frame_rate:g} Hz",
    }
    columns = [*recordings.columns.column_names, "seconds", "audio_notes", "audio_features"]
    title = f"voice features of {recordings.name}"
    vector = f"a vector of {features.width} numbers"
    text = _HEAD.format(
        title=json.dumps(title, ensure_ascii=not title.isprintable()),  # as YAML reads it, whatever is in the name
        name=markdown(recordings.name),
        rows=len(said),
        hours=audio_seconds / 3600,
        features=markdown(features.in_words()),
        facts="\n".join(f"| {name} | {markdown(value)} |" for name, value in facts.items()),
        shape=vector if features.pooling == "utterance" else f"{vector} a frame",
        columns=", ".join(code(name) for name in columns),
    )
    return text + _notes(recordings, said, failed)


def _notes(recordings: Recordings, said: list[str | None], failed: list[dict[str, str]]) -> str:
    first_words = [{note.split()[0].rstrip(":") for note in notes.split("; ")} for notes in said if notes]
    kinds = Counter(word for words in first_words for word in words)
    lines = [f"Recordings that {words}: {kinds[kind]}." for kind, words in _KINDS.items() if kinds[kind]]
    if failed:
        lines.append(f"Recordings that could not be used, listed with the reasons in `failed.jsonl`: {len(failed)}.")
    lines += [markdown(f"{note[0].upper()}{note[1:]}.") for note in recordings.notes]
    return "\n## Notes\n\n" + "\n".join(f"- {line}" for line in lines) + "\n" if lines else ""


__all__ = ["extraction_card"]
