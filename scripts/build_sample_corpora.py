"""Builds sample_data/ once: EmoDB with Whisper features, and EmoDB's voices paired with EmoBank's sentences.

    python scripts/build_sample_corpora.py --emodb DIR --emobank FILE --output sample_data

DIR holds manifest.csv (file, speaker, gender, age, sentence_id, text, emotion, recognised_pct, natural_pct) and
whisper_base_5hz.npz (files, frames float16 (535, 10, 512)); FILE has the columns id, text, V, A, D, emotion.
The same input gives the same files, to the byte.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

PAIRING_SEED = 0  # chosen before any run
# A woman and a man each.
SESSIONS = {
    "08": "1",
    "03": "1",
    "09": "2",
    "10": "2",
    "13": "3",
    "11": "3",
    "14": "4",
    "12": "4",
    "16": "5",
    "15": "5",
}
PAIRED_EMOTIONS = ("anger", "happiness", "neutral", "sadness")
GENDERS = {"f": "female", "m": "male"}

CC0_NOTICE = """Creative Commons CC0 1.0 Universal (CC0-1.0)
https://creativecommons.org/publicdomain/zero/1.0/legalcode

The Berlin Database of Emotional Speech (EmoDB), by F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and B. Weiss,
was published by its author under CC0 1.0: the person who associated a work with this deed has dedicated the work to
the public domain by waiving all of his or her rights to the work worldwide under copyright law, including all related
and neighbouring rights, to the extent allowed by law. You can copy, modify, distribute and perform the work, even for
commercial purposes, all without asking permission. The work is provided as is, without warranties of any kind.

The features made from it with the Whisper base encoder (OpenAI, MIT licence) are offered under CC0 1.0 as well.
"""

PAIRED_NOTICE = """This data set has two licences, by column.

1. transcript, emobank_id, valence, arousal, dominance (and their selection and pairing with recordings):
   Creative Commons Attribution-ShareAlike 4.0 International (CC-BY-SA-4.0)
   https://creativecommons.org/licenses/by-sa/4.0/legalcode

   From EmoBank, by Sven Buechel and Udo Hahn: "EmoBank: Studying the Impact of Annotation Perspective and
   Representation Format on Dimensional Emotion Analysis", EACL 2017; https://github.com/JULIELab/EmoBank
   Changes: 339 of its sentences were selected by regions of valence and arousal, and each was paired at random with a
   recording. Whoever shares these columns, changed or not, must name the authors, say what was changed, and use the
   same licence. The licence comes without warranties.

2. utterance_id, speaker, session, gender, age, sentence_id, label, recognised_pct, natural_pct, audio_features:
   Creative Commons CC0 1.0 Universal (CC0-1.0)
   https://creativecommons.org/publicdomain/zero/1.0/legalcode

   From the Berlin Database of Emotional Speech (EmoDB), by F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and
   B. Weiss, Interspeech 2005. The features were made with the Whisper base encoder (OpenAI, MIT licence).
"""

EMODB_CITATION = """```
@inproceedings{burkhardt2005emodb,
  title = {A database of {German} emotional speech},
  author = {Burkhardt, Felix and Paeschke, Astrid and Rolfes, Miriam and Sendlmeier, Walter F. and Weiss, Benjamin},
  booktitle = {Interspeech},
  year = {2005}
}
```"""

EMODB_CARD = f"""---
license: cc0-1.0
language:
- de
pretty_name: EmoDB with Whisper base features
task_categories:
- audio-classification
size_categories:
- n<1K
tags:
- speech-emotion-recognition
configs:
- config_name: default
  data_files: train.parquet
---

# EmoDB with Whisper base features

The 535 recordings of the Berlin Database of Emotional Speech: ten actors (five women, five men), ten everyday German
sentences, seven acted emotions (anger 127, boredom 81, neutral 79, happiness 71, fear 69, sadness 62, disgust 46).
Recordings are not included, only features.

## What to know before using it

- **The recordings were cut or padded to exactly 2.0 s** and peak-normalised before the features were made. Three
  quarters of the originals are longer, so the transcripts run past the audio.
- **The text carries nothing.** Every sentence was spoken in all the emotions: a model that sees words alone must stay
  at chance, and if it doesn't, the split leaks.
- Emotions are acted, in a studio, by ten people. Numbers on it say little about spontaneous speech.
- There are no ratings of valence, arousal or dominance.

## Columns

| column | what |
|---|---|
| `utterance_id` | name of the recording: speaker, sentence, emotion, version |
| `speaker`, `session` | one of ten; five sessions of a woman and a man: 08 03, 09 10, 13 11, 14 12, 16 15 |
| `gender`, `age` | of the speaker |
| `sentence_id`, `transcript` | one of the ten sentences, in German |
| `label` | the emotion that was acted, as a string |
| `recognised_pct`, `natural_pct` | share of 20 listeners who named the emotion, and who found it natural, in % |
| `difficulty` | 1 - recognised_pct / 100 |
| `audio_features` | float16 (10, 512): Whisper base encoder, 5 Hz, as below |

Features: last hidden states of the Whisper base encoder (openai/whisper-base, MIT), run in fp32 on the recording
padded to 30 s; its first 100 frames, averaged ten by ten.

EmoMM's corpus `emodb` takes the four classes neutral, happiness (happy), sadness (sad) and anger by default.

## Licence

CC0-1.0, as published by its author. Please cite:

{EMODB_CITATION}
"""

PAIRED_CARD = f"""---
license: cc-by-sa-4.0
language:
- de
- en
pretty_name: EmoDB voices paired with EmoBank sentences
task_categories:
- audio-classification
- text-classification
size_categories:
- n<1K
tags:
- multimodal-emotion-recognition
configs:
- config_name: default
  data_files: train.parquet
---

# EmoDB voices paired with EmoBank sentences

339 rows with a voice, words and ratings of valence, arousal and dominance, small enough to train voice, words and
their fusion in a minute, offline.

## What it is

Each of EmoDB's 339 recordings of neutral, happiness, sadness and anger is paired with one English sentence of EmoBank
of the same emotion, each sentence used once, at random (numpy `default_rng({PAIRING_SEED})`, chosen before any run).

## What it is not

- **Not a corpus of people talking.** Nobody said these words: the voices speak other, German sentences. Voice and
  words are independent given the emotion.
- **The gain of fusion on it says nothing about natural speech**, where voice and words depend on each other.
- The emotion of a sentence is a region of its ratings, which nobody labelled: anger V < 2.75, A > 3.2; sadness
  V < 2.75, A < 2.95; happiness V > 3.35, A > 3.15; neutral |V - 3| < .06, |A - 3| < .1.
- Valence, arousal and dominance rate the sentence, not the recording; `recognised_pct` rates the recording.
- The recordings were cut or padded to exactly 2.0 s. They are those of the corpus `emodb`: the speakers are the same
  people, so never train on one and test on the other.
- With 339 rows the standard error of an accuracy of .88 is about .018, and that of a class' recall (62 to 127 rows)
  .03 to .05, were rows independent; rows of one of the ten speakers are not.

## Columns

| column | what | licence |
|---|---|---|
| `utterance_id`, `speaker`, `session`, `gender`, `age`, `sentence_id` | of the EmoDB recording | CC0-1.0 |
| `label` | the emotion, as a string | CC0-1.0 |
| `recognised_pct`, `natural_pct` | of the recording, share of 20 listeners in % | CC0-1.0 |
| `audio_features` | float16 (10, 512): Whisper base encoder, 5 Hz, as in `emodb` | CC0-1.0 |
| `transcript`, `emobank_id` | the EmoBank sentence, in English | CC-BY-SA-4.0 |
| `valence`, `arousal`, `dominance` | EmoBank's mean ratings of the sentence, 1-5 | CC-BY-SA-4.0 |

## Licence

Words and ratings: CC-BY-SA-4.0, by Sven Buechel and Udo Hahn (EmoBank, https://github.com/JULIELab/EmoBank); selected
and paired, otherwise unchanged. Voice features and the rest: CC0-1.0 (EmoDB). As a whole it can be shared under
CC-BY-SA-4.0. Please cite both:

{EMODB_CITATION}

```
@inproceedings{{buechel2017emobank,
  title = {{{{EmoBank}}: Studying the Impact of Annotation Perspective and Representation Format on Dimensional Emotion
           Analysis}},
  author = {{Buechel, Sven and Hahn, Udo}},
  booktitle = {{EACL}},
  year = {{2017}}
}}
```
"""


def read_emodb(folder: Path) -> tuple[pa.Table, np.ndarray]:
    """The manifest as schema columns, and the frames (535, 10, 512) float16, in its order."""
    kept_as_text = dict.fromkeys(("file", "speaker", "gender", "sentence_id", "text", "emotion"), pa.string())
    options = pa.csv.ConvertOptions(column_types=kept_as_text)  # speaker "03" is a name, not a number
    manifest = pa.csv.read_csv(folder / "manifest.csv", convert_options=options)
    with np.load(folder / "whisper_base_5hz.npz", allow_pickle=False) as stored:
        place = {file: i for i, file in enumerate(stored["files"].tolist())}
        frames = stored["frames"][[place[file] for file in manifest["file"].to_pylist()]]
    speakers = manifest["speaker"].to_pylist()
    recognised = manifest["recognised_pct"].cast(pa.float32())
    table = pa.table(
        {
            "utterance_id": pc.replace_substring(manifest["file"], ".flac", ""),
            "speaker": manifest["speaker"],
            "session": pa.array([SESSIONS[speaker] for speaker in speakers]),
            "gender": pa.array([GENDERS[gender] for gender in manifest["gender"].to_pylist()]),
            "age": manifest["age"].cast(pa.int32()),
            "sentence_id": manifest["sentence_id"],
            "transcript": manifest["text"],
            "label": manifest["emotion"],
            "recognised_pct": recognised,
            "natural_pct": manifest["natural_pct"].cast(pa.float32()),
            "difficulty": pc.subtract(1.0, pc.divide(recognised, 100.0)).cast(pa.float32()),
        }
    )
    return table, frames


def pair(emotions: list[str], sentence_emotions: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the paired recordings, in order, and of the sentence of each."""
    rng = np.random.default_rng(PAIRING_SEED)
    voiced, worded = np.array(emotions), np.array(sentence_emotions)
    sentence = np.full(len(voiced), -1)
    for emotion in PAIRED_EMOTIONS:
        recordings = np.flatnonzero(voiced == emotion)
        sentence[recordings] = rng.choice(np.flatnonzero(worded == emotion), size=len(recordings), replace=False)
    recordings = np.flatnonzero(sentence >= 0)
    return recordings, sentence[recordings]


def write(table: pa.Table, frames: np.ndarray, card: str, notice: str, folder: Path) -> int:
    """Writes a corpus' folder; returns its size in bytes."""
    rows, per_row, dim = frames.shape
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(frames.reshape(-1)), dim)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * per_row)
    table = table.append_column("audio_features", pa.ListArray.from_arrays(offsets, vectors))
    folder.mkdir(parents=True, exist_ok=True)
    leaf = "audio_features.list.element.list.element"
    pa.parquet.write_table(
        table,
        folder / "train.parquet",
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name != "audio_features"],
        use_byte_stream_split=[leaf],
        data_page_size=1 << 26,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "LICENSE").write_text(notice, encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, required=True, help="folder with manifest.csv and whisper_base_5hz.npz")
    parser.add_argument("--emobank", type=Path, required=True, help="csv file of EmoBank sentences in four regions")
    parser.add_argument("--output", type=Path, required=True, help="folder to write emodb/ and emodb_emobank/ into")
    args = parser.parse_args()

    table, frames = read_emodb(args.emodb)
    size = write(table, frames, EMODB_CARD, CC0_NOTICE, args.output / "emodb")
    print(f"emodb: {table.num_rows} rows, {size / 1e6:.2f} MB")

    as_text = pa.csv.ConvertOptions(column_types={"id": pa.string(), "text": pa.string(), "emotion": pa.string()})
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    emobank = pa.csv.read_csv(args.emobank, parse_options=parse, convert_options=as_text)
    recordings, sentences = pair(table["label"].to_pylist(), emobank["emotion"].to_pylist())
    paired = table.drop_columns(["transcript", "difficulty"]).take(pa.array(recordings))
    chosen = emobank.take(pa.array(sentences))
    for column, source in (("transcript", "text"), ("emobank_id", "id")):
        paired = paired.append_column(column, chosen[source])
    for column, source in (("valence", "V"), ("arousal", "A"), ("dominance", "D")):
        paired = paired.append_column(column, chosen[source].cast(pa.float32()))
    size = write(paired, frames[recordings], PAIRED_CARD, PAIRED_NOTICE, args.output / "emodb_emobank")
    print(f"emodb_emobank: {paired.num_rows} rows, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
