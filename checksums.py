"""What was written into a model's folder, file by file: a folder that holds something else is refused. Travels.

Every export, and every `save_pretrained` of a model or processor, notes the SHA-256 of what it wrote in
`checksums.json`; every `from_pretrained` of one looks. A folder without that file is loaded without a look: so it is
with models from before, and whoever changes a file on purpose deletes it, or the line of that file in it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file
from transformers.utils.hub import extract_commit_hash

CHECKSUMS = "checksums.json"
"""The file that holds them."""
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")
"""Names of files with weights."""
WORDS = re.compile(
    r"tokenizer(_config)?\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt"
    r"|(spiece|tokenizer|sentencepiece\.bpe)\.model"
)
"""Names of a tokenizer's files."""

_ABOUT = (
    "SHA-256 of the files as they were written: one that has become another is refused on loading. If you changed it "
    "on purpose, delete this file, or its line here."
)
_CONFIG, _PROCESSOR = "config.json", "processor_config.json"
_TEXT = (".json", ".py", ".txt")  # whose line ends git changes, on Windows
_FOR_PUSH = ("repo_id", "commit_message", "commit_description", "private", "create_pr", "revision", "tags")
_FROM_HUB = ("cache_dir", "proxies", "token", "revision", "local_files_only", "subfolder")

_known: dict[tuple[int, ...], str] = {}  # digests by device, inode, size and time of change


class ChangedFiles(Exception):
    """A model's folder does not hold what was written into it.

    No ValueError or OSError: `transformers.pipeline` takes those for "another class may load it", and buries them.
    """


class CheckedFiles:
    """What a model adds to `PreTrainedModel`, before it in the bases: its files are noted on saving, and looked at on
    loading."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any):
        """As in transformers. Raises `ChangedFiles` for a folder whose files are not those that were written there."""
        if pretrained_model_name_or_path is not None:
            refuse_changed_model(pretrained_model_name_or_path, kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """As in transformers."""
        pushing = {name: kwargs.pop(name) for name in _FOR_PUSH if name in kwargs}
        super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        if is_main_process:
            note_checksums(save_directory, files_like(save_directory, WEIGHTS))
        if push_to_hub:  # by itself, so that the checksums are pushed too
            token = {"token": kwargs["token"]} if "token" in kwargs else {}
            self.push_to_hub(pushing.pop("repo_id", Path(save_directory).name), **pushing, **token)


def note_checksums(folder: str | Path, names: Iterable[str]) -> None:
    """Notes files that were just written into a folder, and forgets those that are gone."""
    folder = Path(folder)
    try:
        noted = _noted(folder / CHECKSUMS)
    except (OSError, ChangedFiles):
        noted = {}
    noted |= {name: _digest(folder / name) for name in names}
    noted = {name: noted[name] for name in sorted(noted) if (folder / name).is_file()}
    text = json.dumps({"about": _ABOUT, "sha256": noted}, indent=2)
    (folder / CHECKSUMS).write_text(f"{text}\n", encoding="utf-8")


def files_like(folder: str | Path, pattern: re.Pattern[str]) -> list[str]:
    """Names of the files in a folder whose whole name fits."""
    return sorted(path.name for path in Path(folder).iterdir() if pattern.fullmatch(path.name) and path.is_file())


def refuse_changed_model(model: str | os.PathLike, options: Mapping[str, Any] | None = None) -> None:
    """Raises ChangedFiles where configuration, weights, or the code that runs, are not what was written.

    Of the code nothing runs where this is the installed package, and no copy that travelled with a model.

    Args:
        model: a folder, or an id on the Hub.
        options: of `from_pretrained`; those are taken that say where on the Hub it lies, and where it is kept.
    """
    travelled = __name__.startswith("transformers_modules")
    _refuse(model, options or {}, WEIGHTS, lambda name: name == _CONFIG or (travelled and name.endswith(".py")))


def refuse_changed_processor(model: str | os.PathLike, options: Mapping[str, Any] | None = None) -> None:
    """The same for the processor's configuration and the tokenizer."""
    _refuse(model, options or {}, WORDS, lambda name: name == _PROCESSOR)


def refuse_changed_export(folder: str | Path) -> None:
    """The same for all that was written into a folder, the code included: before it is handed on."""
    _refuse(folder, {}, re.compile(f"{WEIGHTS.pattern}|{WORDS.pattern}"), lambda name: True)


def _refuse(model: str | os.PathLike, options: Mapping[str, Any], pattern: re.Pattern[str], also: Any) -> None:
    where = {name: options[name] for name in _FROM_HUB if options.get(name) is not None}
    listed = cached_file(
        model,
        CHECKSUMS,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **where,
    )
    if listed is None:
        return
    noted = _noted(Path(listed))
    if not os.path.isdir(model):  # all of one commit, which is asked for once
        where["revision"] = extract_commit_hash(listed, None) or where.get("revision")
    elif any(map(pattern.fullmatch, noted)):
        added = set(files_like(Path(listed).parent, pattern)) - set(noted)
        noted |= dict.fromkeys(sorted(added), "")
    wrong = []
    for name, digest in noted.items():
        if not (pattern.fullmatch(name) or also(name)):
            continue
        path = cached_file(model, name, _raise_exceptions_for_missing_entries=False, **where)
        if path is None or not os.path.isfile(path):
            wrong.append(f"{name} is missing")
        elif not digest:
            wrong.append(f"{name} was added")
        elif _digest(Path(path)) != digest:
            wrong.append(f"{name} has changed")
    if wrong:
        raise ChangedFiles(
            f"{model} is not what was written there: {', '.join(wrong)}. Fetch, copy or export it again; or, if that "
            f"was on purpose, delete {CHECKSUMS} from it, and it is loaded as it is"
        )


def _noted(path: Path) -> dict[str, str]:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        return {name: str(digest) for name, digest in noted.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ChangedFiles(f"{path} can't be read ({error}); fetch, copy or export the model again") from error


def _digest(path: Path) -> str:
    """Of a file's content; once for each state of the file, as long as the process lasts."""
    found = path.stat()
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if state not in _known:
        with path.open("rb") as file:
            if path.suffix in _TEXT:
                _known[state] = hashlib.sha256(file.read().replace(b"\r\n", b"\n")).hexdigest()
            else:
                _known[state] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[state]


__all__ = [
    "CHECKSUMS",
    "WEIGHTS",
    "WORDS",
    "ChangedFiles",
    "CheckedFiles",
    "files_like",
    "note_checksums",
    "refuse_changed_export",
    "refuse_changed_model",
    "refuse_changed_processor",
]
