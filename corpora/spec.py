"""What a corpus is, as data: where it lies, what its columns are called, which label means which class."""

from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..modalities import get_modality
from ..modalities import own_modalities
from ..speech_features import SpeechFeatures
from .names import spelling
from .releases.release_folders import RECOGNISED
from .releases.release_folders import release_labels
from .shared_labels import SHARED
from .shared_labels import shared_classes
from .synthetic import Generator
from .synthetic import nearest

DEFAULT_LABELS = ["neutral", "happy", "sad", "anger"]
# Raw labels that need no label map: class numbers, class names, and the short names of the emotion2vec `.emo` files.
SHORT_NAMES = {"neu": "neutral", "hap": "happy", "sad": "sad", "ang": "anger"}

LONGEST_NAME = 100
"""Characters in a corpus' name, which files are called by."""

_PLAIN = str | int | float | bool

# Role -> names to try, in this order; a name matches by its spelling first, then whatever its case.
DEFAULT_COLUMNS: dict[str, list[str]] = {
    "utterance_id": ["utterance_id"],
    "speaker": ["speaker", "speaker_id", "speakerID", "SpkrID"],
    "label": ["label", "emotion", "emotion_label", "EmoClass"],
    "transcript": ["transcript", "text"],
    "features": ["audio_features", "emotion2vec_features"],
    "valence": ["valence", "EmoVal"],
    "arousal": ["arousal", "EmoAct"],
    "dominance": ["dominance", "domination", "consensus_dominance", "EmoDom"],
    "session": ["session"],
    "split": ["split", "Split_Set", "split_set", "partition"],
    "script": ["script"],
    "difficulty": ["difficulty"],
    "curriculum_order": ["curriculum_order"],
    "audio": ["audio"],
}


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus, described. Every field can be given in a recipe, for an own corpus or to change a built-in one.

    Args:
        name: the corpus' name in recipes and results.
        hub_id: data set on the Hub, with features.
        hub_id_audio: data set on the Hub, with features and recordings.
        path: local folder or file, read in place of the Hub: a `save_to_disk` folder, a folder of parquet, arrow,
            jsonl or csv files or one such file, or an emotion2vec triple (folder, or path without its endings).
        revision: revision on the Hub.
        split: split to read.
        columns: role -> column name, or names to try; null: there is none, whatever the data have. Roles not given
            keep their usual names. A modality of the user's own is a role by its name, `{"gaze": "eye_tracking"}`.
        required: roles whose column must be there. `speaker` is required besides, unless `test_only`.
        labels: class names, in the order of the class numbers.
        label_map: raw label -> class name. Default: class numbers and class names stand for themselves.
        dropped_labels: raw labels that are known and left out. Any other label is an error.
        leave_out: column (a role, or the name of any column of the data) -> values; rows that have one of them are
            left out before anything is asked of them. Null among the values: rows where there is none. As in
            `{"speaker": ["Unknown", null], "label": [null]}`.
        audio_dim: width of a feature vector; None takes the first row's.
        vad_scale: lowest and highest rating; brought to 1-5 linearly.
        id_pattern: regular expression (RE2) with the groups `speaker`, `session` or both, which each utterance id
            tells by matching it; they are then taken from there, and from no column.
        session_rule: `{"first": f, "size": s}`: session = (speaker - f) // s + 1. None: the session column.
        speakers_of: the corpus whose people these are, for corpora made of another's recordings. Default: its own.
        test_only: never trained on; may lack speakers.
        licence, licence_url, extractor, language: for cards and results; the extractor is what made the features.
        speech_encoder: what made the features, as `SpeechFeatures.to_dict` says it, so that models trained on them
            take recordings. Data from `extract_features.py` brings its own, which holds.
        vad_of: what valence, arousal and dominance rate, in words, where it is not the whole row; for reports.
        caveat: what limits the meaning of numbers on the corpus; a sentence or more, for reports and cards.
        citation: whom users of the corpus cite.
        generator: parameters of `synthetic.Generator`: the corpus is generated, not read.
        release: the corpus whose release folder `path` may be, as its authors ship it: `EmoDB`, `RAVDESS`, ...

    Raises:
        InputError: a field with a wrong type or value.
    """

    name: str
    hub_id: str | None = None
    hub_id_audio: str | None = None
    path: str | None = None
    revision: str | None = None
    split: str = "train"
    columns: dict[str, str | list[str] | None] = field(default_factory=dict)
    required: list[str] = field(default_factory=lambda: ["label"])
    labels: list[str] = field(default_factory=list)
    label_map: dict[str | int, str] = field(default_factory=dict)
    dropped_labels: list[str | int] = field(default_factory=list)
    leave_out: dict[str, list[str | float | bool | None]] = field(default_factory=dict)
    audio_dim: int | None = None
    vad_scale: list[float] = field(default_factory=lambda: [1, 5])
    id_pattern: str | None = None
    session_rule: dict[str, int] | None = None
    speakers_of: str = ""
    test_only: bool = False
    licence: str = "not stated"
    licence_url: str = ""
    extractor: str = "not stated"
    language: str = "not stated"
    speech_encoder: dict[str, Any] | None = None
    vad_of: str = ""
    caveat: str = ""
    citation: str = ""
    generator: dict[str, Any] | None = None
    release: str = ""

    def __post_init__(self) -> None:
        self._check_types()
        fill = object.__setattr__  # the class is frozen: what is derived is filled in once, here
        if not self.labels:
            mapped = list(dict.fromkeys(self.label_map.values()))
            generated = list(Generator.from_dict(self.name, self.generator).classes) if self.generator else []
            fill(self, "labels", mapped or generated or list(DEFAULT_LABELS))
        fill(self, "labels", [spelling(name) if isinstance(name, str) else name for name in self.labels])
        if self.speech_encoder is not None and self.extractor == "not stated":
            fill(self, "extractor", self._made_by().in_words())
        # JSON knows only string keys, so raw labels are compared as strings throughout.
        fill(self, "label_map", self._spelled_map() or _own_names(self.labels))
        fill(self, "dropped_labels", [spelling(str(raw)) for raw in self.dropped_labels])
        fill(self, "speakers_of", spelling(self.speakers_of or self.name))
        self._check_values()

    @classmethod
    def from_dict(cls, name: str, given: Mapping[str, Any], base: "CorpusSpec | None" = None) -> "CorpusSpec":
        """The spec that a recipe describes, alone or as changes to `base`.

        `given["classes"]` says by the shared names of `shared_labels` which classes there are: "four", "all", or a
        list; a label map beside it has the last word for its labels.

        A role that `given["columns"]` names must then be in the data. A new label map on top of a base leaves out
        the base's other labels; generator settings are laid over the base's; a session column replaces the base's
        session rule.

        Raises:
            InputError: an unknown key (the nearest name is offered), a wrong type or value.
        """
        known = [*(f.name for f in fields(cls) if f.name != "name"), "classes"]
        if not isinstance(given, Mapping):
            raise InputError(f"corpus {name}: {given!r} is no set of fields; known fields: {', '.join(known)}")
        for key in given:
            if key not in known:
                raise InputError(
                    f"corpus {name}: unknown field {key!r}{nearest(str(key), known)}; known: {', '.join(known)}"
                )
        if "classes" in given:
            given = _with_classes(name, given, base)
        merged = {f.name: getattr(base, f.name) for f in fields(cls)} if base else {}
        merged |= {**given, "name": name}
        columns = given.get("columns", {})
        if isinstance(columns, dict):  # any other type is refused by the constructor
            merged["columns"] = {**(base.columns if base else {}), **columns}
            required = _default(merged, "required")
            if isinstance(required, list):
                required = [*required, *(role for role in columns if role not in required)]
                merged["required"] = [role for role in required if columns.get(str(role), "") is not None]
            if "session" in columns and "session_rule" not in given:
                merged["session_rule"] = None
        if "extractor" in given and "speech_encoder" not in given:
            merged["speech_encoder"] = None  # the base's made other features
        if "speech_encoder" in given and "extractor" not in given:
            merged["extractor"] = _default({}, "extractor")
        if isinstance(given.get("generator"), dict):
            merged["generator"] = {**(base.generator or {} if base else {}), **given["generator"]}
        if {"labels", "label_map", "generator"} & set(given):
            merged["labels"] = given.get("labels", [])
            merged["label_map"] = given.get("label_map", {})
        if base and isinstance(given.get("label_map"), dict) and "dropped_labels" not in given:
            mapped = {spelling(str(raw)) for raw in given["label_map"]}
            merged["dropped_labels"] = [raw for raw in [*base.label_map, *base.dropped_labels] if raw not in mapped]
        return cls(**merged)

    @property
    def maps_by_default(self) -> bool:
        """Whether nobody said which raw label is which class: numbers then count `labels`, names are themselves."""
        return self.label_map == _own_names(self.labels)

    def candidates(self, role: str) -> list[str]:
        """Column names to try for `role`, the likeliest first."""
        names = self.columns.get(role, DEFAULT_COLUMNS.get(role))
        if names is None and role not in self.columns:  # a modality of the user's own
            names = get_modality(role).column
        return [names] if isinstance(names, str) else list(names or ())

    def _spelled_map(self) -> dict[str, str]:
        spelled: dict[str, str] = {}
        for raw, name in self.label_map.items():
            name = spelling(name)
            if spelled.setdefault(spelling(str(raw)), name) != name:
                raise self._wrong("label_map", f"one class for each raw label; {spelling(str(raw))!r} has two")
        return spelled

    def _wrong(self, key: str, right: str) -> InputError:
        return InputError(f"corpus {self.name}: {key} is {getattr(self, key)!r}; it must be {right}")

    def _check_types(self) -> None:
        optional = ("hub_id", "hub_id_audio", "path", "revision", "id_pattern")
        texts = ("name", "split", "speakers_of", "licence", "licence_url", "extractor", "language")
        for key in (*texts, "vad_of", "caveat", "citation", "release", *optional):
            value = getattr(self, key)
            if not isinstance(value, str) and not (value is None and key in optional):
                raise self._wrong(key, "a string")
        for key in ("columns", "label_map", "leave_out"):
            if not isinstance(getattr(self, key), dict):
                raise self._wrong(key, "a dictionary")
        for key in ("required", "labels", "dropped_labels"):
            value = getattr(self, key)
            if not isinstance(value, list) or not all(isinstance(each, str | int | float) for each in value):
                raise self._wrong(key, "a list of names")
        if not all(isinstance(name, str) for name in self.label_map.values()):
            raise self._wrong("label_map", "raw label -> the name of a class")
        if self.generator is not None and not isinstance(self.generator, dict):
            raise self._wrong("generator", "a dictionary of generator settings")
        if self.speech_encoder is not None:
            if not isinstance(self.speech_encoder, dict):
                raise self._wrong("speech_encoder", "a dictionary that describes it")
            self._made_by()
        if not isinstance(self.test_only, bool):
            raise self._wrong("test_only", "true or false")

    def _made_by(self) -> SpeechFeatures:
        try:
            return SpeechFeatures.from_dict(self.speech_encoder)
        except ValueError as error:
            raise InputError(f"corpus {self.name}: speech_encoder: {error}") from error

    def _check_values(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > LONGEST_NAME:
            raise InputError(f"corpus {self.name[:LONGEST_NAME]!r}: its name must be 1 to {LONGEST_NAME} characters")
        self._check_columns()
        self._check_labels()
        self._check_numbers()
        self._check_rows()
        if self.generator is not None:
            classes = list(Generator.from_dict(self.name, self.generator).classes)
            if any(self.label_map.get(raw) is None and raw not in self.dropped_labels for raw in classes):
                raise self._wrong("labels", f"those of the generator: {classes}")

    def _check_columns(self) -> None:
        roles = [*DEFAULT_COLUMNS, *own_modalities()]
        for role in [*self.columns, *self.required]:
            if role not in roles:
                raise InputError(
                    f"corpus {self.name}: unknown column role {role!r}{nearest(str(role), roles)}; "
                    f"known: {', '.join(roles)}"
                )
        for role, names in self.columns.items():
            listed = [names] if isinstance(names, str) else names
            if names is None:
                continue
            if not isinstance(listed, list) or not listed or not all(isinstance(n, str) for n in listed):
                raise self._wrong("columns", f"role -> a column name, names to try, or null; {role} is {names!r}")

    def _check_labels(self) -> None:
        if not all(isinstance(name, str) and name for name in self.labels) or len(set(self.labels)) < len(self.labels):
            raise self._wrong("labels", "a list of class names, each once")
        if len(self.labels) < 2:
            raise self._wrong("labels", "at least two class names")
        strangers = [name for name in self.label_map.values() if name not in self.labels]
        if strangers:
            raise self._wrong("label_map", f"raw label -> one of {self.labels}; {strangers[0]!r} is none of them")
        both = sorted(set(self.label_map) & set(self.dropped_labels))
        if both:
            raise self._wrong("dropped_labels", f"labels outside the label map; {both[0]!r} is in both")

    def _check_numbers(self) -> None:
        if self.audio_dim is not None and (type(self.audio_dim) is not int or self.audio_dim < 1):
            raise self._wrong("audio_dim", "a positive whole number, or null")
        scale = self.vad_scale
        numbers = isinstance(scale, list | tuple) and all(type(x) in (int, float) for x in scale)
        if not numbers or len(scale) != 2 or not scale[0] < scale[1]:
            raise self._wrong("vad_scale", "[lowest, highest] rating, such as [1, 7]")
        rule = self.session_rule
        if rule is not None and (
            not isinstance(rule, dict)
            or set(rule) != {"first", "size"}
            or not all(type(x) is int for x in rule.values())
            or rule["size"] < 1
        ):
            raise self._wrong("session_rule", '{"first": number of the first speaker, "size": speakers a session}')

    def _check_rows(self) -> None:
        for column, values in self.leave_out.items():
            plain = isinstance(values, list) and all(isinstance(value, _PLAIN | None) for value in values)
            if not plain or not values or not isinstance(column, str):
                raise self._wrong(
                    "leave_out", f"column -> a list of values, null for rows that have none; {column} is {values!r}"
                )
        if self.leave_out.get("features", [None]) != [None]:
            raise self._wrong("leave_out", 'of "features" [null], the rows that have none')
        if self.id_pattern is None:
            return
        try:
            groups = pc.extract_regex(pa.array([], pa.string()), self.id_pattern).type
        except pa.ArrowException as error:
            right = "a regular expression with any of the named groups speaker, session, script, such as"
            raise self._wrong("id_pattern", f'{right} "^(?P<speaker>[^_]+)_" ({error})') from error
        names = {group.name for group in groups}
        if not names or names - {"speaker", "session", "script"}:
            raise self._wrong(
                "id_pattern", f"of the groups speaker, session, script; it has {sorted(names) or 'none'}"
            )


def _with_classes(name: str, given: Mapping[str, Any], base: CorpusSpec | None) -> dict[str, Any]:
    """`given` with labels, label map and dropped labels in place of its classes."""
    given = dict(given)
    classes, own = given.pop("classes"), given.get("label_map", {})
    if "labels" in given:
        raise InputError(f"corpus {name}: classes and labels both say what classes there are; give one of them")
    if not isinstance(own, dict):
        return given  # refused by the constructor
    known, dropped = (base.label_map, base.dropped_labels) if base else ({}, [])
    there = release_labels(base.release or name) if (base and base.release or name) in RECOGNISED else dropped
    raw = [*known, *(label for label in dropped if label in there)]
    raw = raw or [label for labels in SHARED.values() for label in labels]
    never = [label for label in dropped if label not in there]  # other corpora's
    merged = {**known, **{spelling(str(label)): spelling(str(meant)) for label, meant in own.items()}}
    try:
        labels, label_map, left_out = shared_classes([*raw, *map(str, own)], classes, merged)
    except InputError as error:
        raise InputError(f"corpus {name}: {error}") from None
    label_map |= {spelling(str(label)): meant for label, meant in own.items()}
    labels += [meant for meant in dict.fromkeys(own.values()) if meant not in labels]
    left_out = [label for label in [*left_out, *never] if label not in label_map]
    return {"dropped_labels": left_out, **given, "labels": labels, "label_map": label_map}


def _own_names(labels: list[str]) -> dict[str, str]:
    """Class numbers and names as raw labels for themselves, and the emotion2vec short names of those classes."""
    short = {raw: name for raw, name in SHORT_NAMES.items() if name in labels}
    return {**{str(i): name for i, name in enumerate(labels)}, **short, **{name: name for name in labels}}


def _default(given: Mapping[str, Any], key: str) -> Any:
    """`given[key]`, or the field's default value."""
    if key in given:
        return given[key]
    found = next(f for f in fields(CorpusSpec) if f.name == key)
    return found.default if found.default_factory is MISSING else found.default_factory()


__all__ = ["DEFAULT_COLUMNS", "DEFAULT_LABELS", "SHORT_NAMES", "CorpusSpec"]
