import io
import logging
import sys
from types import SimpleNamespace

from emomm.experiments.progress import JobProgress


def shown(monkeypatch, terminal):
    """What two runs of three epochs, and a line that is logged meanwhile, leave on stderr."""
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    logger = logging.getLogger("emomm.progress_test")
    handler = logging.StreamHandler(stream)
    parent = logging.getLogger("emomm")
    monkeypatch.setattr(parent, "handlers", [handler])
    monkeypatch.setattr(parent, "propagate", False)
    with JobProgress("quickstart", 2, shown=True) as progress:
        for run, score in (("both · seed 1", 0.5), ("both · seed 2", None)):
            progress.begin(run)
            for epoch in range(3):
                state = SimpleNamespace(epoch=epoch + (0.5 if epoch == 2 else 0))
                progress.callback().on_epoch_begin(SimpleNamespace(num_train_epochs=3), state, None)
                if epoch == 1:
                    logger.warning("a line of the log")
            progress.end({"status": "done", "validation": {"uar": score}} if score else {"status": "failed"})
    assert parent.handlers == [handler]
    return stream.getvalue()


def test_runs_and_their_epochs_are_shown_and_lines_stand_above_the_bar(monkeypatch):
    drawn = shown(monkeypatch, terminal=True)
    states = [line.strip() for line in drawn.replace("\n", "\r").split("\r") if "%|" in line]
    assert any("run 1/2, both · seed 1, epoch 1/3" in state and "  0%" in state for state in states)
    assert any("run 2/2, both · seed 2, epoch 3/3" in state and " 83%" in state for state in states)
    assert "100%" in states[-1] and "best validation UAR 0.500" in states[-1]
    # The bar is wiped before a line, and drawn again below it.
    assert drawn.count("a line of the log\n") == 2 and all(
        before.endswith("\r") for before in drawn.split("a line of the log\n")[:-1]
    )


def test_without_a_terminal_there_is_no_bar(monkeypatch):
    assert shown(monkeypatch, terminal=False) == 2 * "a line of the log\n"
