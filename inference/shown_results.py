"""What `emomm predict` shows and writes of its results. Without torch."""

import contextlib
import errno
import json
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_text

_AROUND = ".,;:!?…-–()[]'\"‘’‚“”„«»"  # that words are shown without


def prepare_output(output: str | Path) -> None:
    """Makes the folder of a file that is to be written. Raises InputError, before any work, where it can't be."""
    output = Path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
    except OSError as error:
        raise InputError(f"can't write {output} ({error.strerror}); give another --output") from error


@contextlib.contextmanager
def writing(output: Path) -> Iterator[None]:
    """Raises InputError where a file can't be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"can't write {output} ({error.strerror or error}); give another --output") from error


def why(result: dict[str, Any]) -> str:
    """Why a recording could not be used, with its name."""
    name, error = result["recording"], result["error"]
    return error if error.startswith(name) else f"{name}: {error}"


def readable(results: Sequence[dict[str, Any]]) -> str:
    """The results of `predict_recordings` as lines for people: classes with bars, and what counted the most."""
    lines: list[str] = []
    for result in results:
        if result["error"] is not None:
            lines.append(f"{result['recording']}: not predicted\n  error: {result['error']}")
            continue
        if result["label"] is None:
            lines.append(f"{result['recording']}: no label")
        else:
            lines.append(f"{result['recording']}: {result['label']} ({result['score']:.1%})")
        lines += [*_bars(result), *_counted(result), *(f"  note: {note}" for note in result["notes"])]
    return "\n".join(lines)


def _bars(result: dict[str, Any]) -> list[str]:
    """The classes, and the ratings of a model that gives them."""
    width = max((len(each["label"]) for each in result["scores"]), default=0)
    lines = [
        f"  {each['label']:{width}} {each['score']:6.1%}  {'#' * round(40 * each['score'])}".rstrip()
        for each in result["scores"]
    ]
    if result["vad"] is not None:
        lines.append(f"  {', '.join(f'{name} {value:.1f}' for name, value in result['vad'].items())} (of 1 to 5)")
    return lines


def _counted(result: dict[str, Any]) -> list[str]:
    """The words, and those of them and of the moments that counted the most."""
    lines = []
    if result["transcript"] is not None:
        lines.append(f"  {'heard' if result['transcribed'] else 'words'}: {result['transcript']}")
    words = [
        f"{word['word'].strip(_AROUND) or word['word']} {word['weight']:.0%}" for word in _heaviest(result["words"])
    ]
    moments = [
        f"{moment['start']:.1f}-{moment['end']:.1f} s {moment['weight']:.0%}"
        for moment in _heaviest(result["moments"])
    ]
    for what, named in (("words", words), ("moments", moments)):
        if named:
            lines.append(f"  {what} that counted ({result['weights_by']}): {', '.join(named)}")
    return lines


def _heaviest(weighed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The five with the highest weights."""
    return sorted(weighed, key=lambda each: -each["weight"])[:5]


def write_results(results: Sequence[dict[str, Any]], path: str | Path) -> None:
    """The results of `predict_recordings` as a JSON file, a list."""
    text = json.dumps(results, indent=2, ensure_ascii=False)
    with writing(Path(path)):
        write_text(Path(path), text + "\n")


__all__ = ["prepare_output", "readable", "why", "write_results", "writing"]
