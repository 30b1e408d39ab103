"""Protocols whose parts somebody else has drawn: the corpus' own split, and a manifest of folds.

Such parts are trained and tested as they were drawn. Many of them leak, so what lies on two sides is looked for, and
refused or said (see `overlap`).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..errors import nearest
from ..text_columns import coded
from .protocols import ManifestRow
from .protocols import ProtocolRows
from .protocols import Split
from .protocols import natural_key
from .protocols import register_protocol

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_CALLED = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), VALIDATION),
}
_TEST = re.compile(r"(?:test|testing|tst|eval|evaluation)(?:[ _.-]*([0-9]+|[a-z]))?")
_MOST_NAMED = 5


def part_of(name: str) -> str | None:
    """Which part a name means: `train`, `validation`, `test`, or of several tests `test1`, `test2`, ...; None where it
    means none: MSP-Podcast's `Development`, `Test1`; MELD's `dev`; `Test 2`, `valid`, `eval`."""
    plain = " ".join(name.casefold().split())
    tested = _TEST.fullmatch(plain)
    return _CALLED.get(plain) if tested is None else TEST + (tested[1] or "")


@register_protocol("published")
def published_split(rows: ProtocolRows) -> Iterator[Split]:
    """The corpus' own split: its training part is trained on, its validation part chooses the epoch, and each of its
    test parts is tested, apart from the others.

    Of a corpus of test_datasets the test parts are tested, or all rows where it has no split. Where a training corpus
    has no validation part, validation rows are taken by the recipe's rule.
    """
    parts = np.full(len(rows), "", dtype=object)
    for corpus in (*rows.training_corpora, *rows.tested_corpora):
        place = rows.places[corpus]
        parts[place] = _own_parts(rows, corpus, corpus in rows.training_corpora)
    tests = sorted({part for part in parts.tolist() if part.startswith(TEST)}, key=natural_key)
    validation = rows.may_train & (parts == VALIDATION)
    yield Split(
        "published",
        rows.may_train & (parts == TRAIN),
        {name: parts == name for name in tests},
        validation if validation.any() else None,
        chosen_on="the split's own validation part",
    )


def _own_parts(rows: ProtocolRows, corpus: str, trained: bool) -> np.ndarray:
    """(n,) what `part_of` makes of the split of a corpus' rows."""
    place = rows.places[corpus]
    told = np.full(place.stop - place.start, "") if rows.splits is None else rows.splits[place]
    if not np.any(told != ""):
        if not trained:
            return np.full(len(told), TEST, dtype=object)
        raise InputError(
            f"evaluation_mode is published, but {corpus} has no split: name the column that says train, validation "
            f'and test in the corpus\' "columns": {{"split": ...}}, or give a manifest (evaluation_mode manifest)'
        )
    if np.any(told == ""):
        row = place.start + int(np.argmax(told == ""))
        raise InputError(
            f"{int((told == '').sum())} rows of {corpus} have no split, the first of them {_shown(rows, row)}: leave "
            'them out ("leave_out": {"split": [null]} in the corpus), or complete the column'
        )
    names, codes = coded(told)
    meant = [part_of(str(name)) for name in names]
    for name, part in zip(names.tolist(), meant, strict=True):
        if part is None:
            raise InputError(
                f"the split of {corpus} has the part {name!r}{nearest(name.casefold(), [*_CALLED, TEST])}: parts are "
                "train, validation and test (or test1, test2, ...); leave the others out, as in "
                f'"leave_out": {{"split": ["{name}"]}} in the corpus'
            )
    return np.array(meant, dtype=object)[codes.reshape(-1)]


@register_protocol("manifest")
def folds_of_manifest(rows: ProtocolRows) -> Iterator[Split]:
    """Folds of a manifest: a file that puts each utterance into the training, validation or test part of each fold.

    Where no fold has a validation part, validation rows are taken by the recipe's rule.
    """
    by_fold: dict[str, list[ManifestRow]] = defaultdict(list)
    for each in rows.options.manifest:
        by_fold[each.fold].append(each)
    if not by_fold:
        raise InputError("evaluation_mode is manifest, but the manifest has no rows")
    ids = _Ids(rows)
    for fold in sorted(by_fold, key=natural_key):
        found, skipped = ids.rows(by_fold[fold])
        parts = _parts(rows, fold, by_fold[fold], found)
        tests = sorted({part for part in parts.tolist() if part.startswith(TEST)}, key=natural_key)
        validation = parts == VALIDATION
        said = f"{skipped} utterances of the manifest are left out of the corpus" if skipped else ""
        yield Split(
            fold if fold.casefold().startswith("fold") else f"fold-{fold}",
            parts == TRAIN,
            {name: parts == name for name in tests},
            validation if validation.any() else None,
            description=said,
            chosen_on="the manifest's validation part",
        )


class _Ids:
    """Where the utterances of a manifest are among the rows."""

    def __init__(self, rows: ProtocolRows):
        self.rows_of, self.left_out = {}, rows.left_out
        ids = np.asarray(rows.utterance_ids if rows.utterance_ids is not None else np.full(len(rows), ""), dtype=str)
        for corpus, place in rows.places.items():
            self.rows_of[corpus] = dict(zip(ids[place].tolist(), range(place.start, place.stop), strict=True))

    def rows(self, told: Sequence[ManifestRow]) -> tuple[np.ndarray, int]:
        """(n,) the row of each, -1 of one that the recipe leaves out; and how many these are.

        Raises InputError for utterances that are in no corpus, or in several.
        """
        found = np.full(len(told), -1)
        skipped, unknown = 0, []
        for number, each in enumerate(told):
            corpora = [each.corpus] if each.corpus else list(self.rows_of)
            if each.corpus and each.corpus not in self.rows_of:
                raise InputError(
                    f"{each.where}: {each.corpus!r} is none of the experiment's corpora "
                    f"({', '.join(self.rows_of)}){nearest(each.corpus, list(self.rows_of))}"
                )
            for name in each.names:
                places = [place[name] for corpus in corpora if name in (place := self.rows_of[corpus])]
                if places or any(name in self.left_out.get(corpus, ()) for corpus in corpora):
                    break
            else:
                unknown.append(each)
                continue
            if len(places) > 1:
                raise InputError(
                    f"{each.where}: utterance {each.names[0]!r} is in several corpora ({', '.join(corpora)}): give "
                    "the manifest a column corpus"
                )
            found[number] = places[0] if places else -1
            skipped += not places
        if unknown:
            shown = ", ".join(repr(each.names[0]) for each in unknown[:_MOST_NAMED])
            raise InputError(
                f"{unknown[0].where}: utterance {unknown[0].names[0]!r} of fold {unknown[0].fold} is in no corpus of "
                f"the experiment ({', '.join(self.rows_of)}); {len(unknown)} such utterances of "
                f"{len(told)} in the fold: {shown}{', ...' * (len(unknown) > _MOST_NAMED)}"
            )
        return found, skipped


def _parts(rows: ProtocolRows, fold: str, told: Sequence[ManifestRow], found: np.ndarray) -> np.ndarray:
    """(rows,) the part of each row in a fold, "" where the manifest says none."""
    parts = np.full(len(rows), "", dtype=object)
    first: dict[int, ManifestRow] = {}
    for each, row in zip(told, found.tolist(), strict=True):
        part = part_of(each.part)
        if part is None:
            hint = nearest(each.part.casefold(), [*_CALLED, TEST])
            raise InputError(
                f"{each.where}: the part {each.part!r} of fold {fold} must be train, validation or test (or test1, "
                f"test2, ...){hint}"
            )
        if row < 0:
            continue
        if row in first:
            before = part_of(first[row].part)
            what = f"in both {before} and {part}" if before != part else f"twice in {part}"
            raise InputError(
                f"{each.where}: {_shown(rows, row)} is {what} of fold {fold} (before in {first[row].where}): an "
                "utterance must be in one part of a fold, once"
            )
        first[row], parts[row] = each, part
    return parts


def _shown(rows: ProtocolRows, row: int) -> str:
    name = "" if rows.utterance_ids is None else f" {str(rows.utterance_ids[row])!r}"
    return f"row{name} of {rows.corpora[row]}"


__all__ = ["folds_of_manifest", "part_of", "published_split"]
