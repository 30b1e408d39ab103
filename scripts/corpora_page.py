"""Writes docs/known_corpora.md, the page of the corpora that are read by name, from their specs and layouts.

    python scripts/corpora_page.py

Run it where a spec, a layout or the table of shared labels has changed; tests/test_corpora_page.py compares.
"""

from pathlib import Path

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.release_specs import AS_ELSEWHERE
from emomm.corpora.release_specs import CAMEO
from emomm.corpora.release_specs import CAMEO_PARTS
from emomm.corpora.release_specs import RELEASES
from emomm.corpora.releases import meld
from emomm.corpora.releases.layouts import LAYOUTS
from emomm.corpora.releases.release_folders import RECOGNISED
from emomm.corpora.releases.release_folders import release_labels
from emomm.corpora.shared_labels import NO_CLASS
from emomm.corpora.shared_labels import SHARED
from emomm.corpora.shared_labels import shared_name
from emomm.corpora.spec import CorpusSpec
from emomm.markup import code
from emomm.markup import is_web_address
from emomm.markup import markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "known_corpora.md"
FIRST = ("IEMO", "MSPI", "MSPP")

_HEAD = """\
# Corpora by name

These corpora are read from their own release folders, as their authors ship them. Name one, and say where it lies:

```json
{
  "train_dataset": "EmoDB",
  "voice_input": "recording",
  "modality": "audio"
}
```

<!-- needs the corpora, and encoders from the Hub -->
```bash
emomm run emodb.json --corpus EmoDB=/data/EmoDB     # a model of it
emomm describe /data/EmoDB                          # what is in it: numbers, figures, recordings
python extract_features.py --input /data/EmoDB --encoder microsoft/wavlm-base-plus --output features/emodb
```

File names are read whatever their capitals, in copies that were sorted into other folders or converted to flac too.
Notes say whether the release is whole, whose recordings are missing, and which files are none of its own. Copies of a
recording count once. Of ten of them (AESDD, CaFE, CREMA-D, EmoDB, EMOVO, eNTERFACE'05, JL, RAVDESS, SAVEE, TESS)
EmoBox's lists of recordings were read by their names, file by file: all are known here, with its labels.

By default a corpus has the usual four classes (neutral, happy, sad, anger), those of them that it has; `classes` in a
recipe says others, by the shared names of [the table below](#shared-labels):

```json
"corpora": {
  "EmoDB": {"classes": "all"},
  "RAVDESS": {"classes": "four", "label_map": {"calm": "neutral"}},
  "AESDD": {"classes": ["happy", "sad", "anger", "fear"]}
}
```
"""


def page() -> str:
    """The whole page."""
    specs = [*(BUILTIN[name] for name in FIRST), *RELEASES]
    rows = [
        [
            f"[{spec.name}](#{_anchor(spec.name)})",
            _files(spec),
            _speakers(spec),
            str(len(_classes(spec))),
            markdown(spec.language),
            _terms(spec),
        ]
        for spec in specs
    ]
    return "\n".join(
        [
            _HEAD,
            *_table(["corpus", "recordings", "speakers", "emotions", "languages", "terms"], rows),
            "",
            *(line for spec in specs for line in _section(spec)),
            *_cameo(),
            *_shared(),
        ]
    )


def _section(spec: CorpusSpec) -> list[str]:
    release = spec.release or spec.name
    labels = ", ".join(_label(label) for label in release_labels(release))
    lines = [
        f"## {spec.name}",
        "",
        f"- A release folder: {markdown(RECOGNISED[release])}",
        f"- Labels, and their shared names where they differ: {labels}",
    ]
    layout = LAYOUTS.get(release)
    if layout is not None:
        known = len(set(layout.sessions.values()))
        sessions = f"{known}, of {_per_session(spec)}" if known else "each speaker is one"
        lines.append(f"- Sessions: {sessions}")
    elif release == meld.CORPUS:
        lines.append(f"- Sessions: one for each of {', '.join(meld.MAIN)}; all others are one")
    return [*lines, f"- To know: {markdown(spec.caveat)}", f"- Cite: {markdown(spec.citation)}", ""]


def _per_session(spec: CorpusSpec) -> str:
    layout = LAYOUTS[spec.release]
    sizes = [list(layout.sessions.values()).count(session) for session in set(layout.sessions.values())]
    low, high = min(sizes), max(sizes)
    if high == 1:
        return "a speaker each"
    return f"{high} speakers each" if low == high else f"{low} or {high} speakers each"


def _label(label: str) -> str:
    name = shared_name(label)
    return str(code(label)) if name == label else f"{code(label)} ({name})"


def _classes(spec: CorpusSpec) -> list[str]:
    names = dict.fromkeys(shared_name(label) for label in release_labels(spec.release or spec.name))
    return [name for name in names if name not in NO_CLASS]


def _files(spec: CorpusSpec) -> str:
    if spec.release in LAYOUTS:
        return f"{LAYOUTS[spec.release].files:,}".replace(",", " ")
    return f"{meld.FILES:,}".replace(",", " ") if spec.release == meld.CORPUS else "-"


def _speakers(spec: CorpusSpec) -> str:
    layout = LAYOUTS.get(spec.release)
    return str(len(layout.speakers)) if layout is not None and layout.speakers else "-"


def _terms(spec: CorpusSpec) -> str:
    text = markdown(spec.licence)
    return f"[{text}]({spec.licence_url})" if is_web_address(spec.licence_url) else str(text)


def _cameo() -> list[str]:
    text = (
        "The collection CAMEO brings thirteen corpora to one form on the Hub (`amu-cai/CAMEO`); each is a corpus here "
        "that `voice_input: recording` reads from the Hub or, with `--corpus NAME=PATH`, from a local copy."
    )
    rows = [
        [
            str(code(spec.name)),
            f"{CAMEO_PARTS[spec.split][0]:,}".replace(",", " "),
            spec.language,
            "" if spec.split in AS_ELSEWHERE else "unconfirmed",
        ]
        for spec in CAMEO
    ]
    known = (
        "Numbers of recordings that stand without a word are those of the original corpora, as EmoBox lists them or "
        "their releases have them; the others could not be compared with a source. The data set's splits, columns, "
        "languages and labels are as programs that read it name them; it could not be loaded here."
    )
    table = _table(["corpus", "recordings", "language", ""], rows)
    terms = f"Terms: {CAMEO[0].licence}. Cite: {CAMEO[0].citation}."
    return ["## CAMEO", "", text, "", *table, "", known, "", terms, ""]


def _shared() -> list[str]:
    rows = [[str(code(name)), ", ".join(str(code(raw)) for raw in raws)] for name, raws in SHARED.items()]
    text = (
        "What different corpora call the same, whatever its case. A label that is not in it is its own name; nothing "
        "else is merged, but that IEMOCAP's excited counts as happy where excited isn't asked for. `label_map` in a "
        "corpus has the last word."
    )
    return ["## Shared labels", "", text, "", *_table(["shared name", "labels"], rows), ""]


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _anchor(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "-_")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
