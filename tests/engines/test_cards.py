"""Runs on GPUs by the memory that is there; the numbers are made up, since there may be no GPU here."""

import logging
from types import SimpleNamespace

import pytest
import torch

from emomm.engines import cards
from emomm.engines.cards import Cards
from emomm.engines.cards import Measuring
from emomm.engines.cards import Memory
from emomm.engines.cards import names_of
from emomm.engines.cards import visible_cards

GIB = 2**30


def taking(free, held, peak=None, total=16):
    return Memory(*(round(each * GIB) for each in (free, total, held, held if peak is None else peak)))


def test_a_run_takes_its_peak_a_margin_and_what_its_process_takes_besides():
    memory = taking(free=11.5, held=4, peak=5)  # half a GiB is taken, and isn't tensors
    assert memory.context == 0.5 * GIB
    assert memory.need == pytest.approx(6 * GIB, abs=1) and memory.room == 16 * GIB
    crowded = taking(free=2, held=4)  # others have ten
    assert crowded.context == GIB and crowded.room == 7 * GIB


def test_nothing_begins_beside_a_run_that_is_not_measured():
    here = Cards(1, jobs=3)
    assert here.has_room(0, 0) and not here.known
    here.begin(0, 0)
    assert not here.has_room(1, 0)
    here.measured(0, taking(free=12, held=3, peak=3), "voice")  # 3.3 and 1 of 16: three fit
    assert here.known and here.has_room(1, 0)
    here.begin(1, 0)
    assert here.has_room(2, 0)
    here.begin(2, 0)
    assert not here.has_room(3, 0)  # by --jobs
    here.end(1)
    assert here.has_room(1, 0)


def test_fewer_than_wanted_fit_and_that_is_said_once(caplog):
    here = Cards(1, jobs=8)
    caplog.set_level(logging.INFO, "emomm")
    here.begin(0, 0)
    for _ in range(2):
        here.measured(0, taking(free=9, held=6), "tuned")
    assert caplog.messages == ["tuned: 2 at a time on a GPU in place of 8: a run takes 7.6 GiB of 16.0"]
    here.begin(1, 0)
    assert not here.has_room(2, 0)
    here.end(0)
    here.end(1)
    here.begin(0, 1)
    here.measured(0, taking(free=1, held=14), "large")
    assert caplog.messages[1] == "large: 1 at a time on a GPU in place of 8: a run takes 16.4 GiB of 16.0"
    here.end(0)
    assert here.has_room(0, 1)  # whatever it takes, alone


def test_an_experiment_that_is_not_measured_counts_as_half_a_gpu():
    here = Cards(1, jobs=8)
    here.begin(0, 0)
    here.measured(0, taking(free=13, held=2), "voice")  # 3.2 each of 16
    here.begin(1, 0)
    assert here.has_room(2, 1)
    here.begin(2, 0)
    assert not here.has_room(3, 1) and here.has_room(3, 0)


def test_two_gpus_are_measured_for_themselves():
    here = Cards(2, jobs=4)
    assert [here.of(worker) for worker in range(4)] == [0, 1, 0, 1] and here.share == 2
    here.begin(0, 0)
    assert here.has_room(1, 0) and not here.has_room(2, 0)
    here.begin(1, 0)
    here.measured(0, taking(free=13, held=2), "voice")
    assert here.has_room(2, 0) and not here.has_room(3, 0) and not here.known
    here.measured(1, taking(free=1, held=2), "voice")  # others have 12 of it
    assert here.known and not here.has_room(3, 0)


def test_a_run_that_was_crowded_out_is_alone_and_fewer_follow():
    here = Cards(1, jobs=3)
    for worker in range(3):
        here.begin(worker, 0)
        here.measured(0, taking(free=13, held=1), "voice")
    here.crowded(2)
    assert not here.has_room(2, 0)  # two are there: three were too many
    assert not here.has_room(2, 0, alone=True)
    here.end(0)
    assert here.has_room(2, 0) and not here.has_room(2, 0, alone=True)
    here.end(1)
    here.begin(2, 0, alone=True)
    assert not here.has_room(0, 0)


def test_a_run_says_what_it_takes_after_some_steps_and_its_first_evaluation(monkeypatch):
    monkeypatch.setattr(cards, "memory_now", lambda: "measured")
    told = []
    callback = Measuring(told.append)
    for number in range(1, 41):
        callback.on_step_end(None, None, None)
        assert len(told) == (number >= 20)
    for _ in range(2):
        callback.on_evaluate(None, None, None)
    assert told == ["measured"] * 2


def test_memory_of_this_process(monkeypatch):
    assert cards.memory_now().need == 1  # it computes on no GPU
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        mem_get_info=lambda: (9, 16),
        memory_reserved=lambda: 2,
        max_memory_reserved=lambda: 3,
    )
    monkeypatch.setattr(torch, "cuda", fake)
    assert cards.memory_now() == Memory(free=9, total=16, held=2, peak=3)


@pytest.mark.parametrize(
    "named, cpu, found",
    [(None, None, ["0", "1"]), ("3,5", None, ["3", "5"]), ("GPU-a,GPU-b", "false", ["GPU-a", "GPU-b"])]
    + [(None, "true", [])],
)
def test_which_gpus_are_seen(monkeypatch, named, cpu, found):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("the driver is touched"))
    for name, value in (("CUDA_VISIBLE_DEVICES", named), ("ACCELERATE_USE_CPU", cpu)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert visible_cards() == found
    assert [names_of(found, worker).get("CUDA_VISIBLE_DEVICES") for worker in range(3)] == (
        [found[0], found[1], found[0]] if found else [None] * 3
    )
