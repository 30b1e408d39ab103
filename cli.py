"""The command line: parses, helps, hands on. The standard library and PyYAML alone, until a command runs."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING
from dataclasses import Field
from pathlib import Path
from typing import Any
from typing import NoReturn

from . import __version__
from .checking import FromText
from .checking import describe
from .checking import nearest
from .checking import parse_json
from .checking import takes_list
from .errors import InputError
from .settings import ALIASES
from .settings import FIELDS
from .settings import RECIPES
from .settings import RUN_OPTIONS
from .settings import Recipe
from .settings import check_setting
from .settings import load_recipe

# Fields with an option of their own kind, or that belong to one experiment, or that are given as themselves.
_NO_OPTION = ("name", "description", "seeds", "corpus", "training_arguments")
_GROUPS = {
    "data": "data",
    "model": "model",
    "loss": "loss",
    "curriculum": "curriculum",
    "training": "training (any other field of transformers.TrainingArguments is an option too)",
    "job": "job",
}


class _Parser(argparse.ArgumentParser):
    """Bad usage is an InputError, as every other wrong input."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}. See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code: 0, 1 (runs failed), 2 (wrong input: one message on stderr) or 130 (interrupted).

    Args:
        argv: the arguments after the program's name; default those of this process.
    """
    try:
        return _command(list(sys.argv[1:] if argv is None else argv))
    except InputError as error:
        if _is_first_process():
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if _is_first_process():
            print("interrupted", file=sys.stderr)
        return 130


def _speak() -> None:
    """Sends what EmoMM logs to stderr, from the first process alone, and quietens the progress bars of libraries."""
    logger = logging.getLogger(__package__)
    logger.setLevel(logging.INFO if _is_first_process() else logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()  # what can't be reached is said once, by us, and not at each of its retries


def _is_first_process() -> bool:
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _command(argv: list[str]) -> int:
    commands = {
        "run": _run,
        "report": _report,
        "predict": _predict,
        "push": _push,
        "recipes": _recipes,
        "space": _space,
        "live": _live,
    }
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise InputError(f"unknown command {argv[0]!r}.{nearest(argv[0], commands)} Commands: {', '.join(commands)}.")
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    parser = _Parser(
        prog="emomm",
        description="Multimodal emotion recognition from voice and words.",
        epilog="`emomm COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"emomm {__version__}")
    commands_help = parser.add_subparsers(title="commands", metavar="")
    commands_help.add_parser("run", help="train and evaluate the experiments of a recipe")
    commands_help.add_parser("report", help="write the report of a job, or of several jobs side by side")
    commands_help.add_parser("predict", help="say the emotion of recordings, or predict a corpus, with a model")
    commands_help.add_parser("push", help="share the model of an experiment on the Hub")
    commands_help.add_parser("recipes", help="list the packaged recipes")
    commands_help.add_parser("space", help="write the folder of a Hugging Face Space: a model in the browser")
    commands_help.add_parser("live", help="say the emotion of a recording, a pipe or the microphone as it comes")
    parser.parse_args(argv)
    raise InputError(f"no command. Commands: {', '.join(commands)}. See `emomm --help`.")


def _run(argv: list[str]) -> int:
    parser = _run_parser()
    named = (FIELDS.keys() | ALIASES.keys()) - set(_NO_OPTION)
    known, other = _split_unknown(argv, {"help", "seeds", "corpus", *RUN_OPTIONS, *named})
    options = vars(parser.parse_args(known))
    overrides = {key: options[key] for key in named if key in options} | other
    if options["corpora_paths"]:
        overrides["corpus"] = json.dumps(_corpus_paths(options["corpora_paths"]))
    seeds = options["seeds"] and check_setting("seeds", FromText(",".join(options["seeds"])), "command line")
    recipe = load_recipe(options["recipe"], overrides, options["experiment"], seeds)
    _check_push(options, recipe)
    _speak()
    from .job import run

    outcome = run(recipe, dry_run=options["dry_run"], overwrite=options["overwrite"])
    if _is_first_process():
        print(outcome.text)
        for failed in outcome.failed:
            print(f"failed: {failed}", file=sys.stderr)
    if not (options["no_report"] or options["dry_run"]) and _is_first_process():
        _report_job(recipe.output_dir)
    if options["push_to_hub"] and not options["dry_run"]:
        if outcome.failed:
            raise InputError("nothing is pushed, since runs failed: the same command again continues the job")
        _share(recipe.output_dir, recipe.experiments[0].name, options)
    return 1 if outcome.failed else 0


def _report_job(folder: Path) -> None:
    """The report at the end of a job, which is done with or without it."""
    from .reporting.writing import write_report

    try:
        print(write_report([folder]))
    except InputError as error:
        print(f"no report: {error}", file=sys.stderr)


def _check_push(options: dict[str, Any], recipe: Recipe) -> None:
    """Raises InputError, before anything is trained, for a push that can't be."""
    if not options["push_to_hub"]:
        given = [name for name in ("hub_model_id", "hub_private", "final_model") if options[name] is not None]
        if given:
            raise InputError(f"--{given[0]} goes with --push_to_hub.")
        return
    if options["hub_model_id"] is None:
        raise InputError("--push_to_hub needs --hub_model_id user/name.")
    if len(recipe.experiments) > 1:
        names = ", ".join(settings.name for settings in recipe.experiments)
        raise InputError(f"--push_to_hub shares one model: choose an --experiment. There are: {names}.")
    from .sharing.hub import check_destination

    check_destination(options["hub_model_id"])


def _push(argv: list[str]) -> int:
    parser = _Parser(
        prog="emomm push",
        description="Share the model of an experiment on the Hub, with its card and results. What is pushed is also "
        "kept in FOLDER/<experiment>/hub.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="of a finished job: runs/<recipe>")
    parser.add_argument("--experiment", required=True, metavar="NAME", help="which of its experiments")
    _add_hub(parser)
    options = vars(parser.parse_args([_with_underscores(argument) for argument in argv]))
    if options["hub_model_id"] is None:
        parser.error("--hub_model_id user/name is missing")
    _speak()
    _share(options["folder"], options["experiment"], options)
    return 0


def _share(folder: str | Path, experiment: str, options: dict[str, Any]) -> None:
    from .sharing.hub import Push
    from .sharing.hub import push

    final = options["final_model"] is not False
    wanted = Push(Path(folder), experiment, options["hub_model_id"], options["hub_private"] is True, final)
    address = push(wanted)
    if _is_first_process():
        print(f"pushed: {address}")


def _report(argv: list[str]) -> int:
    parser = _Parser(
        prog="emomm report",
        description="Write report.html, with figures (PNG, SVG) and tables (CSV, Markdown, LaTeX) beside it, from "
        "what a job has left. Nothing is trained. Several jobs are compared.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder of a job, such as runs/quickstart")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: report, in the first FOLDER)")
    options = parser.parse_args(argv)
    _speak()
    from .reporting.writing import write_report

    print(write_report(options.folders, options.output))
    return 0


def _predict(argv: list[str]) -> int:
    options = _predict_parser().parse_args([_with_underscores(argument) for argument in argv])
    recordings = [name for name in options.inputs if _is_recording(name)]
    if not recordings:
        return _predict_corpus(options)
    corpora = [name for name in options.inputs if name not in recordings]
    if corpora or options.corpora_paths:
        other = f"{corpora[0]!r} is no recording" if corpora else "--corpus goes with a corpus"
        raise InputError(f"{recordings[0]} is a recording, and {other}: predict one kind at a time.")
    if options.text and len(options.text) != len(recordings):
        raise InputError(f"--text is given {len(options.text)} times for {len(recordings)} recordings: once for each.")
    _speak()
    from .predicting import predict_recordings
    from .predicting import readable
    from .predicting import write_results

    results = predict_recordings(
        options.model,
        recordings,
        texts=options.text,
        transcribe=options.transcribe,
        speech_encoder=options.speech_encoder,
        batch_size=options.batch_size or 8,
        trust_remote_code=options.trust_remote_code,
    )
    if options.output is not None:
        write_results(results, options.output)
        print(f"{len(results)} recordings predicted: {options.output}")
    else:
        print(json.dumps(results, indent=2, ensure_ascii=False) if options.json else readable(results))
    return 0


def _predict_corpus(options: argparse.Namespace) -> int:
    for name in ("text", "transcribe", "speech_encoder", "json"):
        if getattr(options, name):
            raise InputError(
                f"--{name} goes with recordings, and {options.inputs[0]!r} is none: no URL, and no file but of data."
            )
    if len(options.inputs) > 1:
        raise InputError(f"unrecognized arguments: {' '.join(options.inputs[1:])}. One corpus is predicted at a time.")
    if options.output is None:
        raise InputError("--output FILE is missing: where the predictions of a corpus go, as parquet.")
    _speak()
    from .predicting import predict

    rows = predict(
        options.model,
        options.inputs[0],
        options.output,
        paths=_corpus_paths(options.corpora_paths),
        batch_size=options.batch_size or 64,
        trust_remote_code=options.trust_remote_code,
    )
    print(f"{rows} rows predicted: {options.output}")
    return 0


def _predict_parser() -> _Parser:
    parser = _Parser(
        prog="emomm predict",
        usage="emomm predict MODEL RECORDING [RECORDING ...] [--text WORDS ...] [--transcribe MODEL] [--json]\n"
        "       emomm predict MODEL CORPUS --output FILE [--corpus NAME=PATH ...]",
        description="Say the emotion of recordings, or predict every row of a corpus, with an exported model. The "
        "model comes first.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of an exported model, or its Hub id")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="RECORDING_OR_CORPUS",
        help="audio files and URLs; or the name of a corpus, or the path of its data",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file to write: parquet for a corpus; JSON for recordings (default: print)"
    )
    parser.add_argument(
        "--batch_size", type=_positive, metavar="N", help="rows (default 64) or recordings (default 8) at a time"
    )
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="run the code of the model, and of --speech_encoder and --transcribe, where they come with some",
    )
    recordings = parser.add_argument_group("recordings")
    recordings.add_argument(
        "--text", action="append", metavar="WORDS", help="what is said; of several recordings, once for each, in order"
    )
    recordings.add_argument(
        "--transcribe", metavar="MODEL", help="speech recognition model for missing words, as openai/whisper-base"
    )
    recordings.add_argument(
        "--speech_encoder",
        metavar="MODEL",
        help="folder or Hub id to take the model's speech encoder from (default: the one it names)",
    )
    recordings.add_argument("--json", action="store_true", help="print JSON, with all weights")
    _add_corpus(parser.add_argument_group("corpora"))
    return parser


_RECORDINGS = (".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav", ".wma")
_DATA = (".arrow", ".csv", ".emo", ".json", ".jsonl", ".lengths", ".npy", ".parquet")


def _is_recording(name: str) -> bool:
    """Whether it names a recording, there or not, and no corpus."""
    ending = Path(name).suffix.lower()
    if name.startswith(("http://", "https://")) or ending in _RECORDINGS:
        return not Path(name).is_dir()
    return ending not in _DATA and Path(name).is_file()


def _space(argv: list[str]) -> int:
    parser = _Parser(
        prog="emomm space",
        description="Write the folder of a Hugging Face Space that shows a model in the browser: record or upload, "
        "type or transcribe. It runs here too: pip install -r requirements.txt, then python app.py.",
    )
    parser.add_argument("--hub_model_id", required=True, metavar="USER/NAME", help="the model, on the Hub")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write, or a Space to write anew")
    parser.add_argument("--voice_model", metavar="USER/NAME", help="a model of the voice alone, shown beside it")
    parser.add_argument("--words_model", metavar="USER/NAME", help="a model of the words alone, shown beside it")
    parser.add_argument(
        "--speech_encoder", metavar="ID", help="where the speech encoder comes from (default: as the model says)"
    )
    parser.add_argument("--transcribe", metavar="ID", help="speech recognition model, for recordings without words")
    parser.add_argument("--title", metavar="TEXT", help="title of the Space")
    options = vars(parser.parse_args([_with_underscores(argument) for argument in argv]))
    from .recordings.space import write_space

    print(write_space(options.pop("output"), **options))
    return 0


def _live(argv: list[str]) -> int:
    options = vars(_live_parser().parse_args([_with_underscores(argument) for argument in argv]))
    _speak()
    from .recordings.live import recognize
    from .recordings.sources import Pcm
    from .recordings.vad import Vad

    pcm = Pcm(options.pop("rate"), options.pop("channels"), options.pop("format"))
    vad = None if options.pop("no_vad") else Vad()
    as_json, encoder = options.pop("json"), options.pop("speech_encoder")
    try:
        for result in recognize(encoder=encoder, pcm=pcm, vad=vad, **options):
            print(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else result.readable(), flush=True)
    except BrokenPipeError:  # the reader has had enough: nothing is wrong, and Python is not to write there at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _live_parser() -> _Parser:
    parser = _Parser(
        prog="emomm live",
        usage="emomm live MODEL SOURCE [--window 3] [--hop 0.5 | auto] [--json] [--OPTION VALUE ...]",
        description="Say the emotion of sound as it comes: a window slides over it, and each hop gives a line. "
        "Silence is left out, and what comes too fast is said.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of an exported model, or its Hub id")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an audio file; a FIFO with raw PCM, or - for it on stdin; microphone, or microphone:NAME",
    )
    parser.add_argument(
        "--window", type=_seconds, default=3.0, metavar="SECONDS", help="that a line is about (default 3)"
    )
    parser.add_argument(
        "--hop",
        type=lambda text: text if text == "auto" else _seconds(text),
        default=0.5,
        metavar="SECONDS",
        help="from line to line (default 0.5); auto: more, where that can't be kept",
    )
    parser.add_argument(
        "--smoothing", type=_seconds, default=0.6, metavar="SHARE", help="that a hop keeps (default 0.6; 0: none)"
    )
    parser.add_argument("--text", metavar="WORDS", help="what is said, for a model that reads words too")
    parser.add_argument(
        "--speech_encoder",
        metavar="MODEL",
        help="folder or Hub id to take the model's speech encoder from (default: the one it names)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a hop")
    parser.add_argument("--silence", action="store_true", help="print a line for silent hops too")
    parser.add_argument("--no_vad", action="store_true", help="take everything for speech")
    parser.add_argument("--exact", action="store_true", help="encode each window whole, as a recording of its own")
    parser.add_argument("--realtime", action="store_true", help="take a file as slowly as it plays")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run the code that comes with the model or encoder"
    )
    raw = parser.add_argument_group("raw PCM")
    raw.add_argument("--rate", type=_positive, default=16000, metavar="HZ", help="samples a second (default 16000)")
    raw.add_argument("--channels", type=_positive, default=1, metavar="N", help="taken in turn (default 1)")
    raw.add_argument("--format", default="s16le", metavar="s16le|f32le", help="of a sample (default s16le)")
    return parser


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a number of at least 0")
    return number


def _recipes(argv: list[str]) -> int:
    parser = _Parser(prog="emomm recipes", description="List the packaged recipes: `emomm run NAME` runs one.")
    parser.parse_args(argv)
    paths = sorted(RECIPES.glob("*.json"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        recipe = parse_json(path.read_text(encoding="utf-8"))
        names = ", ".join(entry["name"] for entry in recipe["experiments"])
        print(f"{path.stem:{width}}  {recipe['description']}")
        print(f"{'':{width}}  Experiments: {names}.")
    return 0


def _run_parser() -> _Parser:
    """The parser of `run`: its own options, and one for each field of Settings."""
    parser = _Parser(
        prog="emomm run",
        usage="emomm run RECIPE [--experiment NAME | --all] [--seeds N ...] [--corpus NAME=PATH ...] [--dry_run]\n"
        "                 [--overwrite] [--FIELD VALUE ...]",
        description="Train and evaluate the experiments of a recipe. The same command again continues where it "
        "stopped. `run_emomm.py RECIPE ...`, by python, accelerate or torchrun, is the same.",
        epilog="Lists are given as a,b,c or a b c; objects as JSON; null as none.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    parser.add_argument("recipe", metavar="RECIPE", help="file (.json or .yaml), or the name of a packaged recipe")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--experiment", metavar="NAME", help="run one experiment: its name, or its number from 0")
    which.add_argument("--all", action="store_true", help="run all experiments (the default)")
    parser.add_argument("--seeds", nargs="+", metavar="N", help=_field_help(FIELDS["seeds"]))
    _add_corpus(parser)
    parser.add_argument("--dry_run", action="store_true", help="say what would run, and train nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace runs whose settings or data have changed")
    parser.add_argument("--no_report", action="store_true", help="don't write a report once the job is done")
    sharing = parser.add_argument_group("sharing")
    sharing.add_argument("--push_to_hub", action="store_true", help="share the model once the job is done")
    _add_hub(sharing)
    for group, title in _GROUPS.items():
        options = parser.add_argument_group(title)
        for field in FIELDS.values():
            if field.metadata["group"] == group and field.name not in _NO_OPTION:
                names = [field.name, *(alias for alias, name in ALIASES.items() if name == field.name)]
                for name in names:
                    options.add_argument(
                        f"--{name}",
                        nargs="*" if takes_list(field.type) else "?",
                        action=_Once,
                        default=argparse.SUPPRESS,
                        metavar="VALUE",
                        help=_field_help(field) if name == field.name else argparse.SUPPRESS,
                    )
    return parser


class _Once(argparse.Action):
    """Keeps the text of an option: several values as a JSON list, none as None.

    An option that is given twice is refused, not silently replaced.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            parser.error(f"{option} is given twice")
        several = isinstance(values, list) and len(values) > 1
        setattr(namespace, self.dest, json.dumps(values) if several else "".join(values or ()) or None)


def _add_hub(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--hub_model_id", metavar="USER/NAME", help="where on the Hub; made if it isn't there")
    parser.add_argument(
        "--hub_private", action="store_const", const=True, help="a repository that is made can be seen by you alone"
    )
    parser.add_argument(
        "--final_model",
        type=_boolean,
        metavar="true|false",
        help="share a model that is trained once more, on all sessions, for as many epochs as validation chose (the "
        "default); false: the run with the best validation UAR",
    )


def _with_underscores(argument: str) -> str:
    """`--some-name` is `--some_name`."""
    option, equals, value = argument.partition("=")
    return f"{option.replace('-', '_').replace('__', '--', 1)}{equals}{value}" if option.startswith("--") else argument


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be true or false")
    return text.lower() == "true"


def _add_corpus(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        dest="corpora_paths",
        metavar="NAME=PATH",
        help="take a corpus from a local copy (repeatable)",
    )


def _field_help(field: Field) -> str:
    """Help, what is allowed, and the default of a field."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    allowed = describe(field.type, field.metadata)
    return f"{field.metadata['help']} ({allowed}; default {json.dumps(default)})".replace("%", "%%")


def _split_unknown(argv: list[str], known: set[str]) -> tuple[list[str], dict[str, str | None]]:
    """Takes `--name value` of names that the parser doesn't know (fields of TrainingArguments) out of `argv`.

    `--some-name` is `--some_name`, known or not.
    """
    rest: list[str] = []
    other: dict[str, str | None] = {}
    open_name = None  # of an option that may still take a value
    for argument in argv:
        if not argument.startswith("--") or argument == "--":
            if open_name is None:
                rest.append(argument)
            else:
                other[open_name] = argument
            open_name = None
            continue
        option, equals, value = argument.partition("=")
        name, open_name = option[2:].replace("-", "_"), None
        if name in known:
            rest.append(f"--{name}{equals}{value}")
        elif name in other:
            raise InputError(f"--{name} is given twice.")
        else:
            other[name] = value if equals else None
            open_name = None if equals else name
    return rest, other


def _corpus_paths(pairs: list[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise InputError(f"--corpus is {pair!r}, but must be NAME=PATH, as in --corpus IEMO=data/iemocap.parquet.")
        if name in paths:
            raise InputError(f"--corpus {name} is given twice: {paths[name]} and {path}.")
        paths[name] = path
    return paths


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be a whole number of at least 1")
    return int(text)
