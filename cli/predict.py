"""`emomm predict`: the emotion of recordings, or of every row of a corpus."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from .parsing import Parser
from .parsing import add_corpus
from .parsing import add_model
from .parsing import add_speech_encoder
from .parsing import add_trust
from .parsing import check_model
from .parsing import corpus_paths
from .parsing import positive
from .parsing import speak
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options = _predict_parser().parse_args([with_underscores(argument) for argument in argv])
    check_model(options.model)
    recordings = [name for name in options.inputs if _is_recording(name)]
    words = next((name for name in options.inputs if any(map(str.isspace, name)) and not os.path.lexists(name)), None)
    if words is not None and words not in recordings:
        raise InputError(f"there is no {words!r}. Words are given beside a recording: RECORDING --text {words!r}")
    if not recordings:
        return _predict_corpus(options)
    corpora = [name for name in options.inputs if name not in recordings]
    if corpora or options.corpora_paths:
        other = f"{corpora[0]!r} is no recording" if corpora else "--corpus goes with a corpus"
        raise InputError(f"{recordings[0]} is a recording, and {other}: predict one kind at a time.")
    if options.text and len(options.text) != len(recordings):
        raise InputError(f"--text is given {len(options.text)} times for {len(recordings)} recordings: once for each.")
    results = _recordings(options, recordings)
    from ..inference.shown_results import readable
    from ..inference.shown_results import why
    from ..inference.shown_results import write_results

    failed = [result for result in results if result["error"] is not None]
    if options.output is not None:
        write_results(results, options.output)
        print(f"{len(results) - len(failed)} recordings predicted: {options.output}")
    else:
        print(json.dumps(results, indent=2, ensure_ascii=False) if options.json else readable(results))
    for result in failed:
        print(f"not predicted: {why(result)}", file=sys.stderr)
    return 1 if failed else 0


def _recordings(options: argparse.Namespace, recordings: list[str]) -> list[dict[str, Any]]:
    """The results of recordings, by torch or, for the folder of an ONNX model, without."""
    speak(libraries=not _is_onnx(options))
    from ..inference.shown_results import prepare_output

    if options.output is not None:
        prepare_output(options.output)
    asked = {"texts": options.text, "batch_size": options.batch_size or 8, "any_sound": options.no_vad}
    if _is_onnx(options):
        from ..inference import onnx_predicting

        return onnx_predicting.predict_recordings(options.model, recordings, **asked)
    from ..inference.predicting import predict_recordings

    return predict_recordings(
        options.model,
        recordings,
        transcribe=options.transcribe,
        speech_encoder=options.speech_encoder,
        trust_remote_code=options.trust_remote_code,
        **asked,
    )


def _is_onnx(options: argparse.Namespace) -> bool:
    """Whether the model is one that `emomm export --format onnx` wrote. Raises InputError for an option that goes with
    other models alone."""
    if not os.path.isfile(os.path.join(options.model, "emomm_onnx.json")):
        return False
    for name in ("transcribe", "speech_encoder", "trust_remote_code"):
        if getattr(options, name):
            raise InputError(
                f"--{name} doesn't go with {options.model!r}, which is an ONNX model and runs without torch."
            )
    return True


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
    speak(libraries=not _is_onnx(options))
    asked = {"paths": corpus_paths(options.corpora_paths), "batch_size": options.batch_size or 64}
    if _is_onnx(options):
        from ..inference import onnx_rows

        rows = onnx_rows.predict(options.model, options.inputs[0], options.output, **asked)
    else:
        from ..inference.predicting import predict

        asked["trust_remote_code"] = options.trust_remote_code
        rows = predict(options.model, options.inputs[0], options.output, **asked)
    print(f"{rows} rows predicted: {options.output}")
    return 0


def _predict_parser() -> Parser:
    parser = Parser(
        prog="emomm predict",
        usage="emomm predict MODEL RECORDING [RECORDING ...] [--text WORDS ...] [--transcribe MODEL] [--json]\n"
        "       emomm predict MODEL CORPUS --output FILE [--corpus NAME=PATH ...]",
        description="Say the emotion of recordings, or predict every row of a corpus, with an exported model, also "
        "one of `emomm export`. The model comes first. Exit code 1: some recordings could not be read, and the "
        "results of the others are there.",
    )
    add_model(parser)
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
    add_trust(parser, "the model, and of --speech_encoder and --transcribe, where they come with some")
    recordings = parser.add_argument_group("recordings")
    recordings.add_argument(
        "--text", action="append", metavar="WORDS", help="what is said; of several recordings, once for each, in order"
    )
    recordings.add_argument(
        "--transcribe", metavar="MODEL", help="speech recognition model for missing words, as openai/whisper-base"
    )
    add_speech_encoder(recordings)
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


__all__ = ["command"]
