"""What a process does while it trains."""

import gc
import platform
import resource

import pytest
import torch

from emomm.processes import heap_kept

PAGES = 200 * 2**20 // resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_a_step_frees_is_not_taken_from_the_system_again():
    """200 MB in pieces, as gradients are; without it the heap's end is given back from 64 MB on at the latest."""

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for piece in [torch.empty(2**20) for _ in range(50)]:
            piece.fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    gc.collect()
    with heap_kept():
        faults()
        assert faults() < PAGES // 4
    with heap_kept(), pytest.raises(KeyError):  # and once more
        raise KeyError
