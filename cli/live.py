"""`emomm live`: the emotion of sound as it comes."""

import json
import os
import sys

from .parsing import Parser
from .parsing import add_model
from .parsing import add_speech_encoder
from .parsing import add_trust
from .parsing import check_model
from .parsing import positive
from .parsing import seconds
from .parsing import speak
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options = vars(_live_parser().parse_args([with_underscores(argument) for argument in argv]))
    check_model(options["model"])
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
    add_model(parser)
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
    add_speech_encoder(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object a hop")
    parser.add_argument("--silence", action="store_true", help="print a line for silent hops too")
    parser.add_argument("--no_vad", action="store_true", help="take all but silence for speech")
    parser.add_argument("--exact", action="store_true", help="encode each window whole, as a recording of its own")
    parser.add_argument("--realtime", action="store_true", help="take a file as slowly as it plays")
    add_trust(parser, "the model, and of --speech_encoder, where they come with some")
    raw = parser.add_argument_group("raw PCM")
    raw.add_argument("--rate", type=positive, default=16000, metavar="HZ", help="samples a second (default 16000)")
    raw.add_argument("--channels", type=positive, default=1, metavar="N", help="taken in turn (default 1)")
    raw.add_argument("--format", default="s16le", metavar="s16le|f32le", help="of a sample (default s16le)")
    return parser


__all__ = ["command"]
