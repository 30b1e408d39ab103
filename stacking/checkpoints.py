"""What a stack that was killed goes on from: all of its runs, as they were at the end of an epoch."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..files import read_json
from ..files import write_json
from ..resuming.resume_states import newest_state
from ..resuming.resume_states import resume_states
from ..resuming.resume_states import seal

_MEMBERS, _STATE, _STAGING = "members.json", "state.pt", ".state"


class StackFolder:
    """The states of one stack, in a folder of its experiment's; the two newest are kept.

    Args:
        path: of the folder.
        members: identities of its runs.
    """

    def __init__(self, path: Path, members: Sequence[str]):
        self.path, self.members = path, list(members)
        self._name = hashlib.sha256("\n".join(self.members).encode()).hexdigest()

    @classmethod
    def new(cls, folder: Path, members: Sequence[str]) -> "StackFolder":
        """Of a stack that begins."""
        made = cls(folder, members)
        made.path = folder / made._name[:12]
        made.path.mkdir(parents=True, exist_ok=True)
        write_json(made.path / _MEMBERS, {"members": made.members})
        return made

    @classmethod
    def found(cls, folder: Path) -> list["StackFolder"]:
        """Those of stacks that were not done."""
        listed = [(path.parent, read_json(path, "members")) for path in sorted(folder.glob(f"*/{_MEMBERS}"))]
        return [cls(path, members["members"]) for path, members in listed if members is not None]

    def save(self, epoch: int, runs: Sequence[dict[str, Any]]) -> None:
        """Writes a state beside the others, and renames it when it is whole.

        Args:
            epoch: how many are done.
            runs: of each member, `Stack.saved`.
        """
        staging, place = self.path / _STAGING, self.path / f"checkpoint-{epoch}"
        for path in [staging, place, *resume_states(self.path)[1:]]:
            shutil.rmtree(path, ignore_errors=True)
        staging.mkdir()
        # Numbers as JSON has them: what is read back may hold no object but tensors.
        tensors = [{**run, "run": _each(run["run"], json.dumps)} for run in runs]
        torch.save(tensors, staging / _STATE)
        seal(staging, self._name)
        os.rename(staging, place)

    def newest(self) -> list[dict[str, Any]] | None:
        """What `save` was given last, on the CPU; None where there is nothing to go on from."""
        state = newest_state(self.path, self._name)
        if state is None:
            return None
        found = torch.load(state / _STATE, map_location="cpu", weights_only=True)
        return [{**run, "run": _each(run["run"], json.loads)} for run in found]

    def remove(self) -> None:
        """The stack is done; its folder goes, and that of all stacks with the last of them."""
        shutil.rmtree(self.path, ignore_errors=True)
        if not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _each(values: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """All of them but tensors changed."""
    return {key: value if torch.is_tensor(value) else change(value) for key, value in values.items()}


__all__ = ["StackFolder"]
