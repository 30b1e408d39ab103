"""What a stack draws: on a CPU what torch draws for a run by itself, elsewhere in one go for each run."""

import pytest
import torch
import torch.nn.functional as F

from emomm.stacking.draws import Given
from emomm.stacking.draws import Noting
from emomm.stacking.draws import Sites


def drawing(rows: int, length: int) -> tuple[torch.Tensor, ...]:
    dropped = F.dropout(torch.ones(rows, length, 3), 0.25)
    return dropped, torch.rand(rows), torch.randint(3, (rows,))


@pytest.fixture
def sites() -> Sites:
    def noted(sizes):
        with Noting() as noting:
            drawing(*sizes)
        return noting.sites

    return Sites.found(noted, 2)


def test_on_a_cpu_each_run_draws_what_it_draws_alone(sites):
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    drawn = sites.draw([*generators, None], [(4, 5), (3, 2), ()], (4, 5))
    for k, (rows, length) in enumerate([(4, 5), (3, 2)]):
        torch.manual_seed(k + 1)
        alone = drawing(rows, length)
        assert torch.equal(torch.get_rng_state(), generators[k].get_state())
        for values, own in zip(drawn, alone, strict=True):
            assert torch.equal(values[k][tuple(map(slice, own.shape))], own)
    with Given([values[0] for values in drawn]):
        torch.manual_seed(1)
        assert torch.equal(drawing(4, 5)[0], drawn[0][0])


def test_drawn_in_one_go_numbers_are_spread_as_they_should_be(sites):
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    dropped, uniform, integers = sites._at_once([*generators, None], sites.shapes((300, 30)), torch.device("cpu"))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (dropped[:4] == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert (dropped[4] > 0).all()  # of one that waits
    assert uniform[:4].mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.bincount(integers[:4].flatten(), minlength=3).div(1200).tolist() == pytest.approx(
        [1 / 3] * 3, abs=0.05
    )
    assert not torch.equal(uniform[0], uniform[1])


def test_a_model_that_draws_by_the_values_of_its_batch_is_refused():
    def noted(sizes):
        with Noting() as noting:
            torch.rand(sizes[0] ** 2)
        return noting.sites

    with pytest.raises(ValueError, match="don't grow evenly"):
        Sites.found(noted, 1)
    with Given([torch.ones(2)]), pytest.raises(ValueError, match="other shapes"):
        torch.rand(3)
