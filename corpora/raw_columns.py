"""A raw corpus' columns in the schema's form, one by one; what is wrong in a row that stays is said with its id."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from ..errors import nearest
from ..features.sequences import Sequences
from ..modalities import EMPTY_TRANSCRIPT
from ..modalities import get_modality
from ..modalities import own_modalities
from .arrow_features import check_finite
from .arrow_features import read_features
from .as_dataset import RATINGS
from .names import as_text
from .names import names_or_presence
from .names import spelled
from .names import spelling
from .names import texts
from .reading import RawCorpus
from .spec import DEFAULT_COLUMNS
from .spec import DEFAULT_LABELS
from .spec import CorpusSpec

UNKNOWN = "unknown"

# Words for "no number here"; in a column of numbers none of them can be a value.
_NO_NUMBER = {"", "na", "n/a", "nan", "null", "none", "-"}
# Ratings off the scale that are taken for slips: so many rows, or where that is more, this share of those rated.
_SLIPS, _SLIPS_SHARE = 3, 0.01
# Of the scale's length: IEMOCAP has a few 5.5 on 1-5. What is further off, as 0 or 99, would weigh as no rating can.
_NEAR = 1 / 8
# Scales that are in use, the narrowest first: one is offered where the declared one isn't theirs.
_SCALES = (0, 1), (-1, 1), (1, 3), (1, 4), (1, 5), (0, 4), (-2, 2), (0, 5), (1, 7), (0, 6), (-3, 3), (1, 9), (0, 10)
_SHOWS_NOTHING = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"
_MOST_NAMED = 12


class RawColumns:
    """The columns of a corpus on their way into the schema.

    `kept` says which rows stay: what the recipe leaves out first, then what the labels leave out. Only of these rows
    is anything asked. Each column is as long as the data, so that rows can be named by their number.

    Args:
        spec: what the corpus is.
        raw: what was found.

    Raises:
        InputError: a column that must be there and isn't, no rows, none that stays, an utterance id that is missing or
            given twice.
    """

    def __init__(self, spec: CorpusSpec, raw: RawCorpus):
        self.spec, self.raw, self.rows = spec, raw, raw.rows
        self.notes: list[str] = list(raw.notes)
        for role in spec.required:
            if role not in own_modalities():  # `vectors` is asked for those that are used
                self._refuse_lacking(role)
        if not self.rows:
            raise InputError(f"corpus {spec.name}: empty: no rows in {raw.source}")
        self.kept = np.ones(self.rows, dtype=bool)
        self.ids = self._utterance_ids()
        self._leave_out()
        self._check_ids()

    # ---- columns of the schema

    def labels(self) -> np.ndarray:
        """(n,) class numbers, -1 for rows that are left out; from here on those with a dropped label don't stay."""
        raw = self._names("label")
        self._refuse_nulls(raw, "label")
        encoded = raw.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        places = encoded.indices.fill_null(len(values)).to_numpy()
        meaning = self._meaning(values)
        numbers = np.full(len(values) + 1, -1)
        for i, value in enumerate(values):
            if meaning[value] in self.spec.label_map:
                numbers[i] = self.spec.labels.index(self.spec.label_map[meaning[value]])
            elif meaning[value] not in self.spec.dropped_labels and (self.kept & (places == i)).any():
                raise self._unknown_label(value, int(np.argmax(self.kept & (places == i))), values)
        self._check_numbers_of_classes([values[i] for i in np.unique(places[self.kept]) if numbers[i] >= 0])
        label_ids = np.where(self.kept, numbers[places], -1)
        dropped = self.kept & (label_ids < 0)
        if dropped.any():
            names = sorted({values[place] for place in np.unique(places[dropped])})
            self.notes.append(f"{dropped.sum()} of {self.rows} rows left out, labelled {', '.join(names)}")
        self.kept &= ~dropped
        if not self.kept.any():
            raise InputError(f"corpus {self.spec.name}: empty: every label in {self.raw.source} is left out")
        return label_ids

    def speakers(self) -> pa.Array:
        """(n,) speakers, unique across corpora: `IEMO/3`."""
        people = self._people()
        if people is None:
            self.notes.append("speakers are not known")
            return pa.array([f"{self.spec.speakers_of}/{UNKNOWN}"] * self.rows)
        return pc.binary_join_element_wise(self.spec.speakers_of, people, "/")

    def sessions(self) -> pa.Array:
        """(n,) sessions: from the ids, by the session rule, or from their column."""
        told, rule = self._from_ids("session"), self.spec.session_rule
        # The emotion2vec triple's sessions come from its ids: its speakers are no numbers.
        by_column = rule is None or self.raw.audio is not None
        if told is None and by_column and "session" in self.raw.names:
            told = self._names("session")
        if told is not None:
            self._refuse_nulls(told, "session")
            return told
        if rule is None:
            self.notes.append("sessions are not known")
            return pa.array([UNKNOWN] * self.rows)
        return self._ruled_sessions(rule)

    def splits(self) -> np.ndarray | None:
        """(n,) strings, the part that the data put each row into, "" where they say none; None where they have no
        such column, or one that holds no names and that nobody asked for."""
        return self._told("split")

    def scripts(self) -> np.ndarray | None:
        """(n,) strings, the script or scenario of each row, unique across corpora, "" where none is known; None where
        neither ids nor a column say any, or that column holds no names and nobody asked for it."""
        found = self._from_ids("script")
        told = self._told("script") if found is None else texts(found)
        return told if told is None else np.where(told == "", "", np.char.add(f"{self.spec.speakers_of}/", told))

    def _told(self, role: str) -> np.ndarray | None:
        if role not in self.raw.names:
            return None
        try:
            told = texts(self._names(role))
        except InputError as error:
            if role in self.spec.columns:
                raise
            self.notes.append(f"passed over: {error}")
            return None
        return told if np.any(told != "") else None

    def voices(self) -> Sequences:
        """The voice features, length 0 where there are none; where the recipe leaves such rows out, they don't stay
        from here on."""
        audio = self.raw.audio
        if audio is None:
            pieces = self.raw.column("features") or []
            due = ' (the corpus\' "audio_dim")' if self.spec.audio_dim else ""
            audio = read_features(pieces, self.rows, self.spec.audio_dim, self.wrong, self.kept, due)
        silent = self.kept & (audio.length == 0)
        if "features" in self.spec.leave_out:
            self.kept &= ~silent
            self.notes.append(f"{silent.sum()} of {self.rows} rows left out by leave_out: without features")
            if not self.kept.any():
                raise InputError(f"corpus {self.spec.name}: empty: no row that stays has features")
        check_finite(audio, self.wrong, self.kept)
        return audio

    def vectors(self, modality: str) -> Sequences:
        """Those of a modality of the user's own, length 0 where there are none."""
        self._refuse_lacking(modality)
        dim, column = get_modality(modality).dim, self.raw.names[modality]

        def wrong(row: int, what: str) -> InputError:
            return self.wrong(row, f"{modality} (column {column}): {what}")

        due = f" (the dim of {modality})" if dim else ""
        found = read_features(self.raw.column(modality), self.rows, dim, wrong, self.kept, due)
        check_finite(found, wrong, self.kept)
        return found

    def transcripts(self) -> pa.Array:
        """(n,) words, `[EMPTY]` where there are none."""
        if "transcript" not in self.raw.names:
            return pa.array([EMPTY_TRANSCRIPT] * self.rows)
        text = pc.fill_null(pc.utf8_trim_whitespace(self._each("transcript", as_text)), "")
        return pc.if_else(pc.match_substring_regex(text, _SHOWS_NOTHING), EMPTY_TRANSCRIPT, text)

    def floats(self, role: str) -> np.ndarray | None:
        """(n,) float64 of a column of numbers, NaN where missing; None where there is no such column."""
        pieces = self.raw.column(role)
        if pieces is None:
            return None
        found: list[np.ndarray] = []
        for piece in pieces:
            found.append(self._numbers(role, piece, sum(map(len, found))))
        values = np.concatenate(found)
        infinite = np.flatnonzero(np.isinf(values) & self.kept)
        if len(infinite):
            raise self.wrong(int(infinite[0]), f"{role} is {values[infinite[0]]}; it must be a number or missing")
        return values

    def vad(self) -> np.ndarray:
        """(n, 3) float32 valence, arousal and dominance, brought to 1-5."""
        low, high = self.spec.vad_scale
        columns = [self.floats(role) for role in RATINGS]
        rated = np.stack([np.full(self.rows, np.nan) if each is None else each for each in columns], axis=1)
        rated = self._on_scale(rated)
        return ((rated - low) * (4 / (high - low)) + 1).astype(np.float32)

    def wrong(self, row: int, what: str) -> InputError:
        """The error of one row."""
        return InputError(f"corpus {self.spec.name}, row {self.ids[row].as_py()!r} (number {row}): {what}")

    # ---- rows that stay

    def _leave_out(self) -> None:
        """Takes out what the recipe leaves out, and notes how many rows that is, by what."""
        told = []
        for column, values in self.spec.leave_out.items():
            if column == "features":  # `voices` knows which rows have none
                continue
            found = self._values(column)
            for value in values:
                name = (
                    None if value is None else spelling(str(value).lower() if isinstance(value, bool) else str(value))
                )
                mask = found.is_null() if name is None else pc.fill_null(pc.equal(found, name), False)
                mask = mask.to_numpy(zero_copy_only=False)
                what = f"without {column}" if name is None else f"of {column} {name}"
                told.append(f"{mask.sum()} {what}")
                if not mask.any() and name is not None:
                    told[-1] += nearest(name, found.unique().drop_null().to_pylist())
                self.kept &= ~mask
        if told:
            gone = f"{(~self.kept).sum()} of {self.rows} rows left out by leave_out"
            self.notes.append(f"{gone}: {', '.join(told)}")
        if not self.kept.any():
            raise InputError(f"corpus {self.spec.name}: empty: {self.notes[-1]}")

    def _values(self, column: str) -> pa.Array:
        """(n,) strings of a column that `leave_out` names, null where there is nothing."""
        if column not in self.raw.names:
            there = [*self.raw.there, *DEFAULT_COLUMNS]
            raise InputError(
                f"corpus {self.spec.name}: leave_out names the column {column!r}, which isn't in {self.raw.source}."
                f"{nearest(column, there)} Columns there: {', '.join(self.raw.there)}"
            )
        return self._each(column, names_or_presence)

    def _utterance_ids(self) -> pa.Array:
        if "utterance_id" in self.raw.names:
            return _blank_as_null(self._each("utterance_id", as_text))
        return pc.binary_join_element_wise(self.spec.name, as_text(pa.array(np.arange(self.rows))), "/")

    def _check_ids(self) -> None:
        ids, rows = self.ids.filter(pa.array(self.kept)), np.flatnonzero(self.kept)
        if ids.null_count:
            row = rows[int(np.argmax(ids.is_null().to_numpy(zero_copy_only=False)))]
            raise InputError(f"corpus {self.spec.name}: row number {row} of {self.raw.source} has no utterance_id")
        if pc.any(pc.match_substring(ids, "\0")).as_py():
            row = int(rows[pc.index(pc.match_substring(ids, "\0"), True).as_py()])
            raise self.wrong(row, "its utterance_id holds a NUL character, which no file may")
        counts = ids.value_counts()
        more = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(more):
            twice = more[0]["values"].as_py()
            first = rows[pc.equal(ids, twice).to_numpy(zero_copy_only=False)]
            raise InputError(
                f"corpus {self.spec.name}: utterance_id {twice!r} is given to rows {first[0]} and {first[1]} of "
                f"{self.raw.source}; each must be there once ({len(more)} ids are not)"
            )

    # ---- names

    def _refuse_lacking(self, role: str) -> None:
        told = role in ("speaker", "session") and self.spec.id_pattern is not None
        if role in self.raw.names or told or (role == "features" and self.raw.audio is not None):
            return
        more = ""
        if role == "speaker":
            more = ', or say how the utterance ids tell it, as in "id_pattern": "^(?P<speaker>[^_]+)_"'
        raise InputError(
            f"corpus {self.spec.name}: no column for {role} (tried {', '.join(self.spec.candidates(role))}) in "
            f"{self.raw.source}; columns there: {', '.join(self.raw.there)}. Name it in the corpus' "
            f'"columns": {{"{role}": ...}}{more}'
        )

    def _names(self, role: str) -> pa.Array:
        """(n,) strings, each name as it is spelled; null where there is none."""
        return self._each(role, spelled)

    def _each(self, role: str, convert: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Array:
        try:
            return pa.concat_arrays([convert(piece) for piece in self.raw.column(role)])
        except (ValueError, pa.ArrowException) as error:
            name = self.raw.names[role]
            raise InputError(f"corpus {self.spec.name}: column {name} ({role}): {error}") from error

    def _refuse_nulls(self, column: pa.Array, role: str) -> None:
        lacking = column.is_null().to_numpy(zero_copy_only=False) & self.kept
        if lacking.any():
            how = json.dumps({role: [None]})
            raise self.wrong(
                int(np.argmax(lacking)),
                f'no {role} ({lacking.sum()} such rows); give one, or leave such rows out: "leave_out": {how} in the '
                "corpus",
            )

    def _meaning(self, values: list[str]) -> dict[str, str]:
        """What each label is called in the label map. Class numbers are names by now; where the map holds numbers
        alone and the data say which class has which, they are looked up by number."""
        known, classes = {*self.spec.label_map, *self.spec.dropped_labels}, self.raw.classes
        if not classes or known & set(classes) or not all(name.isdecimal() for name in known):
            return {value: value for value in values}
        told = ", ".join(f"{i} ({name})" for i, name in enumerate(classes))
        self.notes.append(f"labels are mapped by their numbers, which the data set calls {told}")
        return {value: str(classes.index(value)) for value in values}

    def _check_numbers_of_classes(self, labels: list[str]) -> None:
        """Says that class numbers whose order nobody told are a guess; one that isn't made where other rows have
        names."""
        names = [label for label in labels if not label.isdecimal() or label in self.spec.labels]
        numbers = sorted(label for label in labels if label not in names)
        if self.spec.maps_by_default and names and numbers:
            known = self.spec.label_map[names[0]]
            raise InputError(
                f"corpus {self.spec.name}: the labels are numbers in some rows ({', '.join(numbers)}) and names in "
                f"others ({', '.join(names[:_MOST_NAMED])}): which class {numbers[0]} is can't be told; say it in the "
                f'corpus\' "label_map": {{"{numbers[0]}": (its class), "{names[0]}": "{known}", ...}}'
            )
        if self.spec.maps_by_default and numbers and self.spec.labels == DEFAULT_LABELS:
            told = ", ".join(f"{i} ({name})" for i, name in enumerate(self.spec.labels))
            self.notes.append(f'labels are numbers, taken for {told}; "labels" in the corpus gives another order')

    def _unknown_label(self, value: str, row: int, values: list[str]) -> InputError:
        known = [*self.spec.label_map, *self.spec.dropped_labels]
        unknown = [name for name in values if name not in known]
        shown = ", ".join(unknown[:_MOST_NAMED]) + (", ..." if len(unknown) > _MOST_NAMED else "")
        others = f" ({len(unknown)} labels there are not: {shown})" if len(unknown) > 1 else ""
        return self.wrong(
            row,
            f"label {value!r} is not in the label map ({', '.join(self.spec.label_map)}){others};"
            f"{nearest(value, known)} map it to one of {self.spec.labels} in the corpus' "
            '"label_map", or leave it out with "dropped_labels"',
        )

    def _people(self) -> pa.Array | None:
        """(n,) speakers as the corpus calls them; None where it doesn't tell."""
        told = self._from_ids("speaker")
        if told is None and "speaker" not in self.raw.names:
            if not self.spec.test_only:
                self._refuse_lacking("speaker")
            return None
        told = self._names("speaker") if told is None else told
        self._refuse_nulls(told, "speaker")
        return told

    def _from_ids(self, group: str) -> pa.Array | None:
        """(n,) what the utterance ids say by the spec's pattern; None where it doesn't ask for that."""
        pattern = self.spec.id_pattern
        found = None if pattern is None else pc.extract_regex(self.ids, pattern)
        if found is None or group not in (each.name for each in found.type):
            return None
        lacking = found.is_null().to_numpy(zero_copy_only=False) & self.kept
        if lacking.any():
            raise self.wrong(int(np.argmax(lacking)), f'its utterance id doesn\'t match "id_pattern", {pattern!r}')
        return spelled(found.field(group))

    def _ruled_sessions(self, rule: dict[str, int]) -> pa.Array:
        speakers = self._people()
        if speakers is None:
            self._refuse_lacking("speaker")
        number = pc.fill_null(pc.match_substring_regex(speakers, r"^\d{1,18}$"), False)
        wrong = ~number.to_numpy(zero_copy_only=False) & self.kept
        if wrong.any():
            row = int(np.argmax(wrong))
            name = speakers[row].as_py()
            raise self.wrong(
                row,
                f"speaker {name!r} is no number ({wrong.sum()} such rows), and the session rule {rule} needs one; "
                f'leave such rows out with "leave_out": {json.dumps({"speaker": [name]})}, or name a session column '
                'in the corpus\' "columns": {"session": ...}',
            )
        numbers = pc.fill_null(pc.cast(pc.if_else(number, speakers, None), pa.int64()), rule["first"]).to_numpy()
        below = (numbers < rule["first"]) & self.kept
        if below.any():
            row = int(np.argmax(below))
            raise self.wrong(row, f"speaker {numbers[row]}: the session rule {rule} counts from {rule['first']}")
        return as_text(pa.array((numbers - rule["first"]) // rule["size"] + 1))

    # ---- numbers

    def _numbers(self, role: str, piece: pa.ChunkedArray, before: int) -> np.ndarray:
        """(n,) float64 of one file's column, NaN where missing. `before` rows are in the files before."""
        try:
            text = as_text(piece) if not pa.types.is_floating(piece.type) else None
            column = piece if text is None else pc.if_else(_is_no_number(text), None, pc.utf8_trim_whitespace(text))
            return pc.cast(column, pa.float64()).to_numpy()
        except (ValueError, pa.ArrowException):
            pass
        values = piece.to_pylist()
        numbers = np.full(len(values), np.nan)
        for i, value in enumerate(values):
            try:
                numbers[i] = np.nan if str(value).strip().lower() in _NO_NUMBER else float(value)
            except (TypeError, ValueError):
                if self.kept[before + i]:
                    raise self.wrong(
                        before + i,
                        f"{role} is {value!r}; column {self.raw.names[role]} must hold numbers, or nothing. Where it "
                        f'is another thing, "columns": {{"{role}": null}} in the corpus passes it over',
                    ) from None
        return numbers

    def _on_scale(self, rated: np.ndarray) -> np.ndarray:
        """The same; of a few rows off the scale it is noted, and what is far off is no rating. Of more rows, the
        declared scale isn't theirs."""
        low, high = self.spec.vad_scale
        slack = 1e-6 * (high - low)
        off = ((rated < low - slack) | (rated > high + slack)) & self.kept[:, None]
        rows, there = int(off.any(axis=1).sum()), int((~np.isnan(rated[self.kept])).any(axis=1).sum())
        if not rows:
            return rated
        scale = json.dumps(self.spec.vad_scale)
        if rows <= max(_SLIPS, _SLIPS_SHARE * there) and 2 * rows <= there:
            reach = _NEAR * (high - low) + slack
            far = (rated < low - reach) | (rated > high + reach)
            gone = int((far & off).any(axis=1).sum())
            more = f"; of {gone} it is so far outside that it counts as not rated" if gone else ""
            self.notes.append(f"{rows} of {self.kept.sum()} rows have a rating outside the scale {scale}{more}")
            return np.where(far, np.nan, rated)
        row, column = np.argwhere(off)[0]
        lowest, highest = np.nanmin(rated[self.kept]), np.nanmax(rated[self.kept])
        likely = next(
            (list(each) for each in _SCALES if each[0] <= lowest and highest <= each[1]), "[lowest, highest]"
        )
        raise self.wrong(
            int(row),
            f"{RATINGS[column]} is {rated[row, column]:g}: {rows} of {there} rated rows are off the scale {scale}; "
            f'ratings run from {lowest:g} to {highest:g}. Write their scale into the corpus, as in "vad_scale": '
            f'{likely}; where a number stands for "not rated", leave it empty; "columns": '
            f'{{"{RATINGS[column]}": null}} passes a column over',
        )


def _is_no_number(text: pa.Array) -> pa.Array:
    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), pa.array(sorted(_NO_NUMBER)))


def _blank_as_null(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(text, _SHOWS_NOTHING), pa.scalar(None, pa.string()), text)


__all__ = ["EMPTY_TRANSCRIPT", "RATINGS", "UNKNOWN", "RawColumns"]
