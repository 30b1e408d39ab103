"""`emomm describe`: what a corpus is, in numbers, figures and some of its recordings."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..job_folder import slug_of
from .parsing import Parser
from .parsing import add_corpus
from .parsing import corpus_paths
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .parsing import with_release
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options = _parser().parse_args([with_underscores(argument) for argument in argv])
    if options.players < 0:
        raise InputError(f"--players is {options.players}, but must be at least 0")
    say_at_once(f"{options.name}: loading")
    speak()
    from ..corpora.loading import load_corpus
    from ..recordings.recorded_corpus import holds_recordings
    from ..recordings.recorded_corpus import load_recorded_corpus
    from ..reporting.corpus_page import group_table
    from ..reporting.corpus_page import summary_line
    from ..reporting.corpus_summary import summarise
    from ..reporting.report import write_description

    spec = _spec(options)
    corpus = load_recorded_corpus(spec) if options.recordings or holds_recordings(spec) else load_corpus(spec)
    summary = summarise(corpus)
    if options.json:
        show(json.dumps(summary, indent=2, ensure_ascii=False))
        return 0
    show(f"{corpus.name}: {summary_line(summary)}")
    for note in summary["notes"]:
        show(f"note: {note}")
    for what in ("class", "session", "split"):
        table = group_table(summary, what)
        if table.rows and len(table.rows) <= _MOST_SHOWN:
            show(f"\n{_aligned([table.columns, *table.rows])}")
    output = options.output or str(Path("described") / slug_of(corpus.name))
    show(f"\n{write_description(corpus, output, options.players)}")
    return 0


_MOST_SHOWN = 40  # sessions in the terminal


def _spec(options: argparse.Namespace) -> Any:
    """The corpus that the command line names: a built-in one, a recipe's own, or a release folder."""
    from ..corpora.builtin import resolve_specs
    from ..settings.recipe import load_recipe

    name, paths = options.name, corpus_paths(options.corpora_paths)
    own: dict[str, Any] = {}
    if options.recipe:
        settings = load_recipe(options.recipe, {}).experiments[0]
        own, paths = dict(settings.corpora), {**settings.corpus, **paths}
    if name not in own:
        name, paths = with_release(name, paths)
    if options.classes:
        own[name] = {**own.get(name, {}), "classes": _classes(options.classes)}
    specs = resolve_specs(own, paths)
    if name not in specs:
        from ..errors import nearest

        raise InputError(f"there is no corpus {name!r}.{nearest(name, specs)} Known: {', '.join(specs)}")
    return specs[name] if options.split is None else replace(specs[name], split=options.split)


def _classes(text: str) -> str | list[str]:
    return text if text in ("all", "four") else [name.strip() for name in text.split(",")]


def _aligned(rows: list[list[Any]]) -> str:
    from ..reporting.table import shown

    cells = [[shown(cell).text for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    first, *others = widths
    lines = [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in cells
    ]
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="emomm describe",
        description="Say what a corpus is: rows, durations, ratings and transcripts, by class, speaker, session and "
        "split. Writes a page with figures and, of a corpus of recordings, some of them to be heard.",
    )
    parser.add_argument("name", metavar="CORPUS", help="name of a corpus, or a release folder")
    add_corpus(parser)
    parser.add_argument("--recipe", metavar="RECIPE", help="recipe whose corpora and paths count")
    parser.add_argument(
        "--classes", metavar="NAMES", help="all, four, or shared names as a,b,c (default: the corpus')"
    )
    parser.add_argument("--split", metavar="NAME", help="split of the data set (default: the corpus')")
    parser.add_argument("--recordings", action="store_true", help="read recordings, where there are features too")
    parser.add_argument("--players", type=int, default=2, metavar="N", help="recordings of each class on the page (2)")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: described/CORPUS)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, and write nothing")
    return parser


__all__ = ["command"]
