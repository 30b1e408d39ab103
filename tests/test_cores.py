"""How many cores there are, on systems that say which a process may run on and on those that don't."""

import os

import pytest

from emomm.cores import core_count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_those_that_the_process_may_run_on_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7})
    assert core_count() == 3


@pytest.mark.parametrize(("known", "cores"), [(6, 6), (None, 1)])
def test_elsewhere_all_count(monkeypatch, known, cores):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)
    assert core_count() == cores
