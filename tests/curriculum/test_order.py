"""The order of an epoch, as numbers and as the plain iterator that several processes share."""

import hashlib
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from emomm.curriculum.order import epoch_batches
from emomm.curriculum.order import epoch_order
from emomm.curriculum.order import epoch_order as ordered
from emomm.curriculum.order import padding_share
from emomm.curriculum.pool import Curriculum


def corpus_of(rows):
    """Speakers of unequal size, names that do not sort by size, and one with a single row."""
    speakers = np.random.default_rng(rows).choice(["d", "a", "c", "b"], rows, p=[0.1, 0.2, 0.3, 0.4])
    speakers[rows // 2] = "one row"
    return speakers


def pools_of(rows):
    """The whole, three quarters, and one smaller than a batch; the one-row speaker in each."""
    shuffled = np.random.default_rng(1).permutation(np.delete(np.arange(rows), rows // 2))
    return [np.sort(np.append(shuffled[: size - 1], rows // 2)) for size in (rows, rows * 3 // 4, 9)]


def lengths_of(rows, grouped):
    """Lengths as recordings have them, many alike; None where rows are not put together by them."""
    return np.random.default_rng(3).integers(1, rows // 3, rows) * 100 if grouped else None


COMBINATIONS = list(product((203, 339, 1001), (16, 64), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("rows", "batch_size", "world", "accumulation"), COMBINATIONS)
def test_order_without_speakers(rows, batch_size, world, accumulation, grouped):
    lengths = lengths_of(rows, grouped)
    batches = epoch_batches(rows, batch_size, world * accumulation)
    least = -(-rows // batch_size)
    assert batches % (world * accumulation) == 0 and 0 <= batches - least < world * accumulation
    for pool in pools_of(rows):
        order = epoch_order(pool, batches, batch_size, seed=7, epoch=2, lengths=lengths)
        assert order.shape == (batches * batch_size,) and order.dtype == np.int64  # constant, whatever the pool
        ranks = [order.reshape(batches, batch_size)[rank::world] for rank in range(world)]
        assert {len(rank) for rank in ranks} == {batches // world}
        assert np.array_equal(np.unique(np.concatenate(ranks)), pool)  # the whole pool, nothing else
        for start in range(0, len(order), len(pool)):  # a pass: each row once, so on one rank
            of_pass = order[start : start + len(pool)]
            assert len(np.unique(of_pass)) == len(of_pass)
        if len(order) >= 2 * len(pool):
            assert not np.array_equal(order[: len(pool)], order[len(pool) : 2 * len(pool)])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("rows", "batch_size", "world", "accumulation"), COMBINATIONS)
def test_order_with_speakers(rows, batch_size, world, accumulation, grouped):
    lengths, speakers = lengths_of(rows, grouped), corpus_of(rows)
    batches = epoch_batches(rows, batch_size, world * accumulation, speakers)
    least = sum(-(-np.sum(speakers == speaker) // batch_size) for speaker in np.unique(speakers))
    assert batches % (world * accumulation) == 0 and 0 <= batches - least < world * accumulation
    for pool in pools_of(rows):
        order = epoch_order(pool, batches, batch_size, 7, 2, speakers, lengths)
        assert order.shape == (batches * batch_size,) and order.dtype == np.int64
        held = order.reshape(batches, batch_size)
        assert (speakers[held] == speakers[held][:, :1]).all()  # one speaker a batch
        counts = np.unique(speakers[pool], return_counts=True)[1]
        of_pass = int(np.sum(-(-counts // batch_size)))
        assert np.array_equal(np.unique(held[:of_pass]), pool)  # the whole pool, before any is seen again
        rank_of = np.arange(batches) % world
        for start in range(0, batches, of_pass):
            part, ranks = held[start : start + of_pass], rank_of[start : start + of_pass]
            distinct = [set(batch.tolist()) for batch in part]
            assert sum(map(len, distinct)) == len(set().union(*distinct))  # no row in two batches
            seen = [set(part[ranks == rank].ravel().tolist()) for rank in range(world)]
            assert sum(map(len, seen)) == len(set().union(*seen))  # nor on two ranks
        if batches >= 2 * of_pass and len(pool) > 16:
            assert not np.array_equal(held[:of_pass], held[of_pass : 2 * of_pass])


def test_short_batches_go_round_their_own_rows():
    speakers = np.array(["a"] * 10 + ["b"])
    held = epoch_order(np.arange(11), 4, 4, 0, 0, speakers).reshape(4, 4)
    sizes = sorted(len(set(batch.tolist())) for batch in held)
    assert sizes == [1, 2, 4, 4]
    for batch in held:
        own = len(set(batch.tolist()))
        assert np.array_equal(batch, np.resize(batch[:own], 4))  # so its mean loss is that of its own rows
    assert np.array_equal(held[[len(set(batch.tolist())) == 1 for batch in held]], [[10] * 4])


def test_every_row_has_its_turn_in_the_full_and_in_the_short_batch():
    speakers = np.array([0] * 5)
    short = {int(epoch_order(np.arange(5), 2, 4, 0, epoch, speakers).reshape(2, 4)[0, 0]) for epoch in range(40)}
    assert short == set(range(5))
    firsts = [len(set(epoch_order(np.arange(5), 2, 4, 0, epoch, speakers)[:4])) for epoch in range(40)]
    assert set(firsts) == {1, 4}  # the batches are shuffled too


@pytest.mark.parametrize("by_speaker", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_order_follows_from_seed_and_epoch(by_speaker, grouped):
    speakers, lengths = corpus_of(203) if by_speaker else None, lengths_of(203, grouped)
    pool = np.arange(203)

    def epoch_order(*arguments):
        return ordered(*arguments[:5], speakers=arguments[5], lengths=lengths)

    order = epoch_order(pool, 18, 16, 5, 3, speakers)
    np.random.seed(0)  # nobody's global generator matters
    assert np.array_equal(order, epoch_order(pool, 18, 16, 5, 3, speakers))
    assert not np.array_equal(order, epoch_order(pool, 18, 16, 5, 4, speakers))
    assert not np.array_equal(order, epoch_order(pool, 18, 16, 6, 3, speakers))
    assert np.array_equal(order, epoch_order(pool, 24, 16, 5, 3, speakers)[: len(order)])  # longer: the same head
    if by_speaker:
        codes = np.unique(speakers, return_inverse=True)[1]
        assert np.array_equal(order, epoch_order(pool, 18, 16, 5, 3, codes))


@pytest.mark.parametrize("by_speaker", [False, True])
def test_rows_of_alike_length_are_together(by_speaker):
    """With less than half the padding; in other company in each epoch; and by no length with a place in the epoch."""
    generator = np.random.default_rng(0)
    rows = 4000
    lengths = np.clip(generator.lognormal(np.log(4), 0.5, rows), 1, 10) * 16000
    speakers = np.arange(rows) % 5 if by_speaker else None
    batches = epoch_batches(rows, 16, 1, speakers)
    any_order = padding_share(epoch_order(np.arange(rows), batches, 16, 0, 0, speakers), 16, lengths)
    companies, places = [], []
    for epoch in range(3):
        order = epoch_order(np.arange(rows), batches, 16, 0, epoch, speakers, lengths)
        share = padding_share(order, 16, lengths)
        assert any_order > 0.4 and share < any_order / 5
        companies.append({frozenset(batch.tolist()) for batch in order.reshape(-1, 16)})
        places.append(np.corrcoef(np.arange(batches), lengths[order].reshape(-1, 16).mean(axis=1))[0, 1])
    assert len(companies[0] & companies[1]) < 5 and np.abs(places).max() < 0.2


@pytest.mark.parametrize("multiple", [2, 4])
def test_accumulated_batches_hold_the_rows_of_the_large_batch(multiple):
    """Also where rows are put together by length, over several passes; the shorter ones first."""
    lengths, pool = lengths_of(203, True), np.arange(0, 203, 2)
    large = epoch_order(pool, 13, 16, 3, 1, lengths=lengths)
    small = epoch_order(pool, 13 * multiple, 16 // multiple, 3, 1, lengths=lengths, multiple=multiple)
    assert np.array_equal(large, small)
    share = padding_share(small, 16 // multiple, lengths)
    assert share < padding_share(large, 16, lengths)


def test_padding_of_batches_by_hand():
    """Of the last batch too, where it is short."""
    lengths = np.array([4, 2, 1, 3, 5])
    assert padding_share(np.array([0, 1, 2, 3]), 2, lengths) == 1 - 10 / 14
    assert padding_share(np.array([0, 1, 2, 3, 4]), 2, lengths) == 1 - 15 / 19
    assert padding_share(np.array([2, 2]), 2, np.zeros(3, int)) == 0


def test_every_row_has_its_turn_in_batches_that_are_short_or_begun():
    """Whatever its length."""
    lengths = np.arange(10)
    last = [epoch_order(np.arange(10), 3, 4, 0, epoch, lengths=lengths)[8:10] for epoch in range(60)]
    assert set(np.concatenate(last).tolist()) == set(range(10))
    begun = [epoch_order(np.arange(10), 3, 4, 0, epoch, lengths=lengths)[10:] for epoch in range(60)]
    assert set(np.concatenate(begun).tolist()) == set(range(10))
    short = set()
    for epoch in range(60):
        held = epoch_order(np.arange(10), 3, 4, 0, epoch, np.zeros(10), lengths).reshape(3, 4)
        short |= next(set(batch.tolist()) for batch in held if len(set(batch.tolist())) == 2)
    assert short == set(range(10))


def test_same_order_in_another_process():
    root = Path(__file__).resolve().parent.parent.parent
    program = (
        "import hashlib, numpy as np, conftest\n"
        "from emomm.curriculum.order import epoch_order\nfrom emomm.curriculum.pool import Curriculum\n"
        "speakers = np.arange(339) % 7\n"
        "pool = Curriculum('random', 'sqrt', 9, seed=11).pool(4, speakers)\n"
        "for s in (None, speakers):\n"
        "    print(hashlib.sha256(epoch_order(pool, 36, 16, 11, 4, s).tobytes()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root / "tests",
        capture_output=True,
        text=True,
        check=True,
    )
    speakers = np.arange(339) % 7
    pool = Curriculum("random", "sqrt", 9, seed=11).pool(4, speakers)
    here = [hashlib.sha256(epoch_order(pool, 36, 16, 11, 4, s).tobytes()).hexdigest() for s in (None, speakers)]
    assert done.stdout.split() == here


def test_order_and_batches_refuse():
    with pytest.raises(ValueError, match="0 rows"):
        epoch_order(np.array([], dtype=int), 3, 16, 0, 0)
    with pytest.raises(ValueError, match="0 batches"):
        epoch_order(np.arange(3), 0, 16, 0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        epoch_batches(0, 16, 1)
    with pytest.raises(ValueError, match="at least 1"):
        epoch_batches(10, 16, 0)
    with pytest.raises(ValueError, match="9 speakers for 10 rows"):
        epoch_batches(10, 16, 1, np.arange(9))


def test_number_of_batches():
    assert epoch_batches(203, 16, 1) == 13
    assert epoch_batches(208, 16, 1) == 13
    assert epoch_batches(203, 16, 6) == 18
    assert epoch_batches(203, 16, 1, np.array(["a"] * 17 + ["b"] + ["c"] * 185)) == 2 + 1 + 12
    assert epoch_batches(203, 16, 4, np.array(["a"] * 17 + ["b"] + ["c"] * 185)) == 16
