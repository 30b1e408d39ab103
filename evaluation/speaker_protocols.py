"""Protocols of who speaks and what is played: leave one speaker, script or corpus out, k folds by speaker."""

import warnings
from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from ..text_columns import coded
from .overlap import NONE
from .overlap import numbers_of
from .protocols import ProtocolRows
from .protocols import Split
from .protocols import check_sessions
from .protocols import natural_key
from .protocols import register_protocol

_DRAWS = 50


@register_protocol("leave_speaker_out")
def leave_one_speaker_out(rows: ProtocolRows) -> Iterator[Split]:
    """Leave one speaker out: a fold for each speaker of each training corpus, tested by models that are trained on
    the others.

    Validation rows are taken by the recipe's rule.
    """
    trained = rows.training_corpora
    _check_known(rows, "leave-one-speaker-out")
    names, codes = rows.coded_speakers
    for corpus in trained:
        place = rows.places[corpus]
        of_corpus = sorted(np.unique(codes[place]).tolist(), key=lambda code: natural_key(str(names[code])))
        if len(trained) == 1 and len(of_corpus) < 2:
            raise InputError(f"leave-one-speaker-out needs two speakers or more, {corpus} has {len(of_corpus)}")
        for code in of_corpus:
            test = codes == code
            test[: place.start] = test[place.stop :] = False
            speaker = str(names[code]).rpartition("/")[2]
            yield Split(
                f"speaker-{speaker}" if len(trained) == 1 else f"{corpus}-speaker-{speaker}",
                rows.may_train & (codes != code),
                test,
                description=f"trained without speaker {speaker} of {corpus}",
            )


@register_protocol("leave_script_out")
def leave_one_script_out(rows: ProtocolRows) -> Iterator[Split]:
    """Leave one script of one session out: a fold for each script (or scenario) in each session of each training
    corpus, tested by a model that is trained on the other scripts of the other sessions.

    For corpora whose sessions all play the same scripts, as IEMOCAP's: neither voices nor words are known.
    """
    trained = rows.training_corpora
    for corpus in trained:
        sessions, number = rows.coded_sessions(corpus)
        purpose = "leave-one-script-out"
        check_sessions(corpus, sessions, np.bincount(number[number >= 0]), 2, purpose)
        scripts = _scripts(rows, corpus, purpose)
        for i, session in enumerate(sessions):
            for script in sorted(coded(scripts[number == i])[0].tolist(), key=natural_key):
                test = (number == i) & (scripts == script)
                name = f"session-{session}-{script.rpartition('/')[2]}"
                yield Split(
                    name if len(trained) == 1 else f"{corpus}-{name}",
                    rows.may_train & (number != i) & (scripts != script),
                    test,
                    description=f"trained without session {session} and {script.rpartition('/')[2]} of {corpus}",
                )


def _scripts(rows: ProtocolRows, corpus: str, purpose: str) -> np.ndarray:
    """(n,) scripts, all known in this corpus. Raises InputError where they aren't, or there is one alone."""
    place = rows.places[corpus]
    scripts = np.full(len(rows), "") if rows.scripts is None else rows.scripts
    unknown, found = int((scripts[place] == "").sum()), coded(scripts[place])[0]
    if unknown:
        raise InputError(
            f"{unknown} rows of {corpus} are of no script, and {purpose} needs one for each: give the corpus a column "
            'script ("columns": {"script": ...}) or an id_pattern with that group, or leave such rows out'
        )
    if len(found) < 2:
        raise InputError(f"{purpose} needs two scripts or more, {corpus} has {len(found)} ({found[0]})")
    return scripts


@register_protocol("leave_corpus_out")
def leave_one_corpus_out(rows: ProtocolRows) -> Iterator[Split]:
    """Leave one corpus out: a fold for each training corpus, all rows of which are tested by a model that is trained
    on the others."""
    trained = rows.training_corpora
    if len(trained) < 2:
        raise InputError(
            f"leave-one-corpus-out needs two training corpora or more, there is {', '.join(trained)} alone: name "
            "others in train_dataset"
        )
    for corpus in trained:
        test = rows.corpora == corpus
        yield Split(f"corpus-{corpus}", rows.may_train & ~test, test, description=f"trained without {corpus}")


@register_protocol("group_folds")
def folds_by_speaker(rows: ProtocolRows) -> Iterator[Split]:
    """Folds by speaker: the speakers of each training corpus are divided into folds with classes as even as can be,
    each tested by a model that is trained on the others.

    The folds are drawn once, for all seeds. Where `disjoint_by` names more than speakers, speakers that share a
    transcript or a recording stay together, if that leaves enough groups to divide; else rows are dropped.
    """
    _check_known(rows, "folds by speaker")
    count = rows.options.folds
    fold_of = np.full(len(rows), -1)
    regrouped = []
    for corpus in rows.training_corpora:
        place = rows.places[corpus]
        groups, joined = _groups(rows, place)
        fold_of[place] = _divided(rows, corpus, groups)
        regrouped += [f"; {joined} in {corpus} stay together, who share what disjoint_by names"] if joined else []
    for number in range(count):
        test = fold_of == number
        speakers = len(np.unique(rows.coded_speakers[1][test]))
        yield Split(
            f"fold-{number + 1}",
            rows.may_train & ~test,
            test,
            description=f"{speakers} speakers are tested, drawn with fold_seed {rows.options.fold_seed}"
            + "".join(regrouped),
        )


def _check_known(rows: ProtocolRows, purpose: str) -> None:
    for corpus in rows.training_corpora:
        unknown = int(rows.unknown_speaker[rows.places[corpus]].sum())
        if unknown:
            raise InputError(
                f"{unknown} rows of {corpus} are of an unknown speaker, and {purpose} needs one for each: give the "
                'corpus a speaker column or an id_pattern, or leave such rows out ("leave_out": {"speaker": '
                '["unknown"]} in the corpus)'
            )


def _groups(rows: ProtocolRows, place: slice) -> tuple[np.ndarray, str]:
    """(n,) what is divided, of the rows of a corpus: their speakers, or sets of these; and how many these hold."""
    speakers = np.unique(rows.coded_speakers[1][place], return_inverse=True)[1].reshape(-1)
    people = int(speakers.max()) + 1
    links = []
    for key in (key for key in rows.options.disjoint_by if key != "speaker"):
        numbers = numbers_of(rows, key)
        if np.any(numbers[place] != NONE):
            known = numbers[place] >= 0
            links.append((speakers[known], np.unique(numbers[place][known], return_inverse=True)[1].reshape(-1)))
    groups, offset = people, people
    joined: list[np.ndarray] = []
    for of_speaker, of_content in links:
        joined.append(np.stack([of_speaker, of_content + offset]))
        offset += int(of_content.max(initial=-1)) + 1
    if not joined:
        return speakers, ""
    from scipy.sparse import coo_array  # here, since most jobs don't need it, and it takes its time to import
    from scipy.sparse.csgraph import connected_components

    first, second = np.concatenate(joined, axis=1)
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(offset, offset))
    component = connected_components(graph, directed=False)[1][:people]
    groups = len(np.unique(component))
    if groups == people or groups < rows.options.folds:
        return speakers, ""
    return component[speakers], f"{people} speakers in {groups} groups"


def _divided(rows: ProtocolRows, corpus: str, groups: np.ndarray) -> np.ndarray:
    """(n,) the fold of each row of a corpus. Of several draws the first whose folds all have all of its classes, else
    the one that lacks fewest: `StratifiedGroupKFold` may leave a fold without rows."""
    count, labels = rows.options.folds, rows.labels[rows.places[corpus]]
    found = len(np.unique(groups))
    if found < count:
        raise InputError(
            f"folds is {count}, but {corpus} has {found} speaker{'s' * (found != 1)}: lower folds, or choose "
            "evaluation_mode leave_speaker_out"
        )
    occurring = np.unique(labels)
    best, fewest = np.zeros(0, np.int64), len(occurring) * count + 1
    for draw in range(_DRAWS):
        fold_of = _drawn(labels, groups, count, (rows.options.fold_seed + draw) % 2**32)
        counts = np.zeros((count, int(labels.max()) + 1), np.int64)
        np.add.at(counts, (fold_of, labels), 1)
        lacking = int((counts[:, occurring] == 0).sum()) + len(occurring) * int((counts.sum(axis=1) == 0).any())
        if lacking < fewest:
            best, fewest = fold_of, lacking
        if not lacking:
            break
    return best


def _drawn(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    fold_of = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer rows than folds: what lacks them is said
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        try:
            for number, (_, test) in enumerate(splitter.split(labels, labels, groups)):
                fold_of[test] = number
        except ValueError as error:
            raise InputError(
                f"folds is {count}, but no class has so many rows ({error}): lower folds, or choose evaluation_mode "
                "leave_speaker_out"
            ) from None
    return fold_of


__all__ = ["folds_by_speaker", "leave_one_corpus_out", "leave_one_script_out", "leave_one_speaker_out"]
