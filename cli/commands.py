"""The commands about recordings: `emomm predict`, `emomm live` and `emomm space`."""

import argparse
import json
import os
import re
import sys
from pathlib import Path

from ..errors import InputError
from .parsing import Parser
from .parsing import add_corpus
from .parsing import corpus_paths
from .parsing import positive
from .parsing import seconds
from .parsing import speak
from .parsing import with_underscores

# A user's or an organisation's name, and that of a model of theirs.
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def _check_model(name: str) -> None:
    """Raises InputError for what is neither a folder nor a Hub id, before the seconds that loading libraries takes."""
    if not os.path.isdir(name) and not _HUB_ID.fullmatch(name):
        kind = "is a file" if os.path.exists(name) else "is not there"
        raise InputError(
            f"model {name!r} {kind}: give the folder of an exported model, such as the model/ of a run of a job, or "
            "its Hub id, user/name"
        )


def predict_command(argv: list[str]) -> int:
    options = _predict_parser().parse_args([with_underscores(argument) for argument in argv])
    _check_model(options.model)
    recordings = [name for name in options.inputs if _is_recording(name)]
    if not recordings:
        return _predict_corpus(options)
    corpora = [name for name in options.inputs if name not in recordings]
    if corpora or options.corpora_paths:
        other = f"{corpora[0]!r} is no recording" if corpora else "--corpus goes with a corpus"
        raise InputError(f"{recordings[0]} is a recording, and {other}: predict one kind at a time.")
    if options.text and len(options.text) != len(recordings):
        raise InputError(f"--text is given {len(options.text)} times for {len(recordings)} recordings: once for each.")
    speak()
    from ..inference.predicting import predict_recordings
    from ..inference.predicting import prepare_output
    from ..inference.predicting import readable
    from ..inference.predicting import why
    from ..inference.predicting import write_results

    if options.output is not None:
        prepare_output(options.output)

    results = predict_recordings(
        options.model,
        recordings,
        texts=options.text,
        transcribe=options.transcribe,
        speech_encoder=options.speech_encoder,
        batch_size=options.batch_size or 8,
        trust_remote_code=options.trust_remote_code,
        any_sound=options.no_vad,
    )
    failed = [result for result in results if result["error"] is not None]
    if options.output is not None:
        write_results(results, options.output)
        print(f"{len(results) - len(failed)} recordings predicted: {options.output}")
    else:
        print(json.dumps(results, indent=2, ensure_ascii=False) if options.json else readable(results))
    for result in failed:
        print(f"not predicted: {why(result)}", file=sys.stderr)
    return 1 if failed else 0


def _predict_corpus(options: argparse.Namespace) -> int:
    for name in ("text", "transcribe", "speech_encoder", "no_vad", "json"):
        if getattr(options, name):
            raise InputError(
                f"--{name} goes with recordings, and {options.inputs[0]!r} is none: no URL, and no file but of data."
            )
    if len(options.inputs) > 1:
        raise InputError(f"unrecognized arguments: {' '.join(options.inputs[1:])}. One corpus is predicted at a time.")
    if options.output is None:
        raise InputError("--output FILE is missing: where the predictions of a corpus go, as parquet.")
    speak()
    from ..inference.predicting import predict

    rows = predict(
        options.model,
        options.inputs[0],
        options.output,
        paths=corpus_paths(options.corpora_paths),
        batch_size=options.batch_size or 64,
        trust_remote_code=options.trust_remote_code,
    )
    print(f"{rows} rows predicted: {options.output}")
    return 0


def _predict_parser() -> Parser:
    parser = Parser(
        prog="emomm predict",
        usage="emomm predict MODEL RECORDING [RECORDING ...] [--text WORDS ...] [--transcribe MODEL] [--json]\n"
        "       emomm predict MODEL CORPUS --output FILE [--corpus NAME=PATH ...]",
        description="Say the emotion of recordings, or predict every row of a corpus, with an exported model. The "
        "model comes first. Exit code 1: some recordings could not be read, and the results of the others are there.",
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
        "--batch_size", type=positive, metavar="N", help="rows (default 64) or recordings (default 8) at a time"
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
    recordings.add_argument(
        "--no_vad", action="store_true", help="take all but silence for speech; else what holds none has no label"
    )
    recordings.add_argument("--json", action="store_true", help="print JSON, with all weights")
    add_corpus(parser.add_argument_group("corpora"))
    return parser


_RECORDINGS = tuple(
    ".3gp .aac .aif .aiff .amr .au .flac .m4a .m4b .mka .mkv .mov .mp3 .mp4 .oga .ogg .opus .wav .webm .wma".split()
)
_DATA = (".arrow", ".csv", ".emo", ".json", ".jsonl", ".lengths", ".npy", ".parquet")


def _is_recording(name: str) -> bool:
    """Whether it names a recording, there or not, and no corpus."""
    ending = Path(name).suffix.lower()
    if name.startswith(("http://", "https://")) or ending in _RECORDINGS:
        return not os.path.isdir(name)  # unlike Path's, these don't raise for names that are too long
    return ending not in _DATA and os.path.isfile(name)


def space_command(argv: list[str]) -> int:
    parser = Parser(
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
    options = vars(parser.parse_args([with_underscores(argument) for argument in argv]))
    from ..demo.space import write_space

    print(write_space(options.pop("output"), **options))
    return 0


def live_command(argv: list[str]) -> int:
    options = vars(_live_parser().parse_args([with_underscores(argument) for argument in argv]))
    _check_model(options["model"])
    speak()
    from ..inference.live import recognize
    from ..inference.sound_sources import Pcm
    from ..voice_activity import Vad

    pcm = Pcm(options.pop("rate"), options.pop("channels"), options.pop("format"))
    vad = None if options.pop("no_vad") else Vad()
    as_json, encoder = options.pop("json"), options.pop("speech_encoder")
    try:
        for result in recognize(encoder=encoder, pcm=pcm, vad=vad, **options):
            print(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else result.readable(), flush=True)
    except BrokenPipeError:  # the reader has had enough: nothing is wrong, and Python is not to write there at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _live_parser() -> Parser:
    parser = Parser(
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
        "--window", type=seconds, default=3.0, metavar="SECONDS", help="that a line is about (default 3)"
    )
    parser.add_argument(
        "--hop",
        type=lambda text: text if text == "auto" else seconds(text),
        default=0.5,
        metavar="SECONDS",
        help="from line to line (default 0.5); auto: more, where that can't be kept",
    )
    parser.add_argument(
        "--smoothing", type=seconds, default=0.6, metavar="SHARE", help="that a hop keeps (default 0.6; 0: none)"
    )
    parser.add_argument("--text", metavar="WORDS", help="what is said, for a model that reads words too")
    parser.add_argument(
        "--speech_encoder",
        metavar="MODEL",
        help="folder or Hub id to take the model's speech encoder from (default: the one it names)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a hop")
    parser.add_argument("--silence", action="store_true", help="print a line for silent hops too")
    parser.add_argument("--no_vad", action="store_true", help="take all but silence for speech")
    parser.add_argument("--exact", action="store_true", help="encode each window whole, as a recording of its own")
    parser.add_argument("--realtime", action="store_true", help="take a file as slowly as it plays")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run the code that comes with the model or encoder"
    )
    raw = parser.add_argument_group("raw PCM")
    raw.add_argument("--rate", type=positive, default=16000, metavar="HZ", help="samples a second (default 16000)")
    raw.add_argument("--channels", type=positive, default=1, metavar="N", help="taken in turn (default 1)")
    raw.add_argument("--format", default="s16le", metavar="s16le|f32le", help="of a sample (default s16le)")
    return parser
