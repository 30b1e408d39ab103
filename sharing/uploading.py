"""Where a model is pushed to, and getting it there: all of it in one commit, or nothing."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd
from huggingface_hub import CommitOperationDelete
from huggingface_hub import HfApi
from huggingface_hub import constants
from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..checksums import CHECKSUMS
from ..checksums import WEIGHTS
from ..checksums import WORDS
from ..errors import InputError
from ..hub_access import patience
from ..job_folder import ExperimentFolder
from ..job_folder import JobFolder

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = (1.0, 4.0, 15.0)
"""Waits between attempts of what huggingface_hub itself tries once."""
TIMEOUT_SECONDS = 120.0
"""How long the Hub may be silent: it works on what was uploaded."""
_TRANSIENT = (408, 409, 412, 429)  # 409 and 412: another commit came in between; and all from 500 on

# Nothing but these is ever pushed.
MODEL_FILES = re.compile(
    rf"{re.escape(CHECKSUMS)}|((pre)?processor_)?config\.json|{WEIGHTS.pattern}|{WORDS.pattern}"
    r"|(speech|text)_adapter/adapter_(config\.json|model\.safetensors)"
)
FIGURES = re.compile(r"figures/[\w.-]+\.(png|svg)")


@dataclass(frozen=True)
class Push:
    """What `emomm push` is asked for.

    Args:
        folder: of a job, `runs/<recipe>`.
        experiment: name of one of its experiments.
        hub_model_id: `user/name`.
        private: whether a repository that is made is private.
        final_model: train once more on all sessions; else the run with the best validation score is pushed.
        license: of the model, an id that the Hub knows; None: that of the training data, whatever it is.
        adapter_only: LoRA's adapters in place of the encoders that they are of.
    """

    folder: Path
    experiment: str
    hub_model_id: str
    private: bool = False
    final_model: bool = True
    license: str | None = None
    adapter_only: bool = False

    @property
    def files(self) -> ExperimentFolder:
        """What the experiment's folder holds."""
        return JobFolder(self.folder).experiment(self.experiment)

    @property
    def command(self) -> str:
        """The command that does it (again)."""
        flags = " --hub_private" * self.private + " --final_model false" * (not self.final_model)
        flags += f" --hub_license {self.license}" if self.license else ""
        flags += " --adapter_only" * self.adapter_only
        return f"emomm push {self.folder} --experiment {self.experiment!r} --hub_model_id {self.hub_model_id}{flags}"


def check_destination(hub_model_id: str) -> None:
    """Raises InputError, without asking the Hub, where nothing can be pushed: a name that is none, no token."""
    if hub_model_id.count("/") != 1:
        raise InputError(f"--hub_model_id is {hub_model_id!r}, but must be user/name")
    try:
        validate_repo_id(hub_model_id)
    except HFValidationError as error:
        raise InputError(f"--hub_model_id is {hub_model_id!r}: {error}") from None
    if constants.is_offline_mode():
        raise InputError("the Hub can't be reached: HF_HUB_OFFLINE is set; unset it to push")
    if not get_token():
        raise InputError(
            "there is no token for the Hub: `hf auth login` keeps one, or set HF_TOKEN; it needs write access"
        )


def upload(wanted: Push, folder: Path) -> str:
    """Makes the repository if there is none, and commits the folder: all of it at once, or nothing.

    Model files of an earlier push that are not in the folder are deleted by the same commit.

    Returns the address. Raises InputError that says what failed, where, and how to try again.
    """
    api, repo = HfApi(), wanted.hub_model_id
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def commit() -> None:
        there = set(api.list_repo_files(repo))
        stale = sorted(name for name in there - files.keys() if MODEL_FILES.fullmatch(name) or FIGURES.fullmatch(name))
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        api.create_commit(
            repo,
            [*operations, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
            commit_message="EmoMM: model, card and results",
        )

    steps = (
        ("making the repository", lambda: api.create_repo(repo, private=wanted.private or None, exist_ok=True)),
        ("making sure that it is private", lambda: wanted.private and _refuse_public(api, repo)),
        ("uploading", commit),
    )
    for what, step in steps:
        try:
            _insist(what, step)
        except InputError:
            raise
        except (
            HfHubHTTPError, httpx2.HTTPError, OSError, OfflineModeIsEnabled, ValueError, KeyError, RuntimeError
        ) as error:  # fmt: skip
            raise InputError(
                f"{repo} was not pushed: {what} failed ({_reason(error, repo)}). The Hub takes a push whole or "
                f"not at all; what would be there is in {folder}. Try again: {wanted.command}"
            ) from error
    return f"{api.endpoint}/{repo}"


def _refuse_public(api: HfApi, repo: str) -> None:
    if not api.repo_info(repo).private:
        raise InputError(
            f"{repo} is there already, and public: --hub_private makes only a new repository private. Nothing was "
            "uploaded; set it to private in its settings on the Hub, or leave out --hub_private"
        )


def _insist(what: str, step: Callable[[], T]) -> T:
    """Calls `step` again after what may pass: 5xx, time-outs, cut connections."""
    for wait in (*RETRY_SECONDS, None):
        try:
            with patience(TIMEOUT_SECONDS):
                return step()
        except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            if wait is None or not _may_pass(error):
                raise
            logger.warning("%s failed (%s); trying again in %g s", what, _reason(error, ""), wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        code = None if error.response is None else error.response.status_code
        return code is not None and (code in _TRANSIENT or code >= 500)
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _reason(error: Exception, repo: str) -> str:
    """The error in a few words, without the token."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of an upload that was given up
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if status == 401:
        return "401: the Hub does not know the token; `hf auth login` keeps another, or set HF_TOKEN"
    if status == 403:
        return f"403: the token may not write to {repo}; it needs write access there"
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}"
    if status is not None:
        text = f"{status} {error.response.reason_phrase}"
        said = getattr(error, "server_message", None)
        text += f": {said}" if said else ""
    token = get_token()
    return text.replace(token, "…") if token else text


__all__ = ["FIGURES", "MODEL_FILES", "Push", "check_destination", "upload"]
