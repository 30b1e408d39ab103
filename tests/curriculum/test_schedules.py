"""Each schedule against its closed form, and against torch's own where there is one."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR
from torch.optim.lr_scheduler import ExponentialLR
from torch.optim.lr_scheduler import StepLR

from emomm.curriculum.schedules import SCHEDULES
from emomm.curriculum.schedules import build_schedule
from emomm.curriculum.schedules import curriculum_schedule
from emomm.curriculum.schedules import cyclic_schedule
from emomm.curriculum.schedules import exponential_schedule
from emomm.curriculum.schedules import step_schedule

STEPS = 7  # steps an epoch


def optimizer(learning_rate=0.01):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)


def of_torch(scheduler, epochs):
    """The learning rates of a scheduler of torch that is stepped once an epoch."""
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def ours(multiplier, epochs, learning_rate=0.01):
    """The learning rate of each epoch, which must not change within it."""
    rates = []
    for epoch in range(epochs):
        within = {learning_rate * multiplier(epoch * STEPS + step) for step in range(STEPS)}
        assert len(within) == 1, f"epoch {epoch}: {within}"
        rates += within
    return rates


@pytest.mark.parametrize(
    ("multiplier", "of_step"),
    [
        (step_schedule(STEPS, 10, 0.1), {0: 1.0, 69: 1.0, 70: 0.1, 139: 0.1, 140: 0.01, 299: 1e-4}),
        (step_schedule(STEPS, step_size=2, gamma=0.5), {0: 1.0, 13: 1.0, 14: 0.5, 28: 0.25}),
        (exponential_schedule(STEPS), {0: 1.0, 6: 1.0, 7: 0.95, 14: 0.95**2, 209: 0.95**29}),
        (exponential_schedule(STEPS, gamma=0.5), {20: 0.25, 21: 0.125}),
        # lr 0.01 to 0.05 in 4 epochs and back
        (cyclic_schedule(STEPS, 0.01, 0.05, 4), {0: 1, 6: 1, 7: 2, 14: 3, 28: 5, 35: 4, 55: 2, 56: 1, 63: 2, 84: 5}),
        (curriculum_schedule(STEPS, 10), {0: 1.0, 35: 0.55, 70: 1.0, 500: 1.0}),
        (curriculum_schedule(STEPS, 10), {69: 1 - 0.9 * (1 - math.cos(math.pi * 69 / 70)) / 2}),
        (
            curriculum_schedule(STEPS, 10, 2.0, 1.0, 0.5, "linear"),
            {0: 2.0, 35: 1.5, 63: 1.1, 69: 2 - 69 / 70, 70: 0.5},
        ),
        (curriculum_schedule(STEPS, 10, 1.0, 0.0, 0.1, "sqrt"), {0: 1.0, 35: 1 - math.sqrt(0.5), 70: 0.1}),
        (curriculum_schedule(STEPS, 0, post=0.3), {0: 0.3, 100: 0.3}),
    ],
)
def test_closed_forms(multiplier, of_step):
    assert {step: multiplier(step) for step in of_step} == pytest.approx(of_step, abs=1e-12)


@pytest.mark.parametrize(("up", "top"), [(10, 1e-3), (3, 0.2), (1, 0.05)])
def test_cyclic_is_torchs_stepped_once_an_epoch(up, top):
    theirs = CyclicLR(optimizer(), base_lr=0.01, max_lr=top, step_size_up=up, cycle_momentum=False)
    assert ours(cyclic_schedule(STEPS, 0.01, top, up), 35) == pytest.approx(of_torch(theirs, 35), abs=1e-12)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.AdamW])
def test_cycled_momentum_is_torchs(kind):
    """Against the rate: .9, down to .8 and back; in AdamW the first beta. The rate is as without it."""

    def new():
        options = {"momentum": 0.9} if kind is torch.optim.RMSprop else {}
        return kind([torch.nn.Parameter(torch.zeros(1))], lr=5e-4, **options)

    def momentum(of):
        group = of.param_groups[0]
        return group["momentum"] if "momentum" in group else group["betas"][0]

    mine, theirs = new(), new()
    kwargs = {"max_lr": 1e-3, "step_size_up_epochs": 10, "cycle_momentum": True}
    scheduler = build_schedule("cyclic", mine, STEPS, 5e-4, 0, kwargs)
    reference = CyclicLR(theirs, base_lr=5e-4, max_lr=1e-3, step_size_up=10)
    seen = []
    for epoch in range(45):
        for _ in range(STEPS):
            assert mine.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9), epoch
            assert momentum(mine) == pytest.approx(momentum(theirs), rel=1e-9), epoch
            seen.append(momentum(mine))
            mine.step(), scheduler.step()
        theirs.step(), reference.step()
    assert (seen[0], min(seen), seen[10 * STEPS]) == pytest.approx((0.9, 0.8, 0.8))
    assert len(set(mine.param_groups[0].get("betas", ())[1:])) <= 1  # the second beta stays


def test_momentum_cycles_where_there_is_one():
    kwargs = {"cycle_momentum": True}
    with pytest.raises(ValueError, match="needs an optimiser with momentum or betas"):
        build_schedule("cyclic", torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))]), STEPS, 0.01, 0, kwargs)
    assert kwargs == {"cycle_momentum": True}
    off = build_schedule("cyclic", optimizer(), STEPS, 0.01, 0, {"cycle_momentum": False, "max_lr": 0.05})
    assert type(off).__name__ == "LambdaLR"


def test_step_and_exponential_are_torchs_stepped_once_an_epoch():
    assert ours(step_schedule(STEPS, 10, 0.1), 35) == pytest.approx(of_torch(StepLR(optimizer(), 10), 35), rel=1e-9)
    theirs = ExponentialLR(optimizer(), 0.95)
    assert ours(exponential_schedule(STEPS), 35) == pytest.approx(of_torch(theirs, 35), rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_built_schedules_drive_every_group(name):
    """Each group keeps its own learning rate; all change by the same factor."""
    two = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.01, 0.002)], lr=0.01
    )
    kwargs = {"step": {"step_size": 1}, "cyclic": {"max_lr": 0.05, "step_size_up_epochs": 2}}.get(name, {})
    scheduler = build_schedule(name, two, STEPS, 0.01, 2, kwargs)
    closed = {
        "step": 0.1,
        "exponential": 0.95,
        "cyclic": 3.0,
        "curriculum": 1 - 0.9 * (1 - math.cos(math.pi * 0.5)) / 2,
    }[name]
    for _ in range(STEPS):
        two.step()
        scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.01 * closed, 0.002 * closed], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("steps", {}, "step, exponential, cyclic, curriculum"),
        ("step", {"step_sise": 3}, "step_sise"),
        ("curriculum", {"decay": "cubic"}, "'cubic' is not known; it can be cosine, linear, sqrt"),
    ],
)
def test_wrong_schedules_are_refused(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build_schedule(name, optimizer(), STEPS, 0.01, 5, kwargs)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warm_up_rises_from_0_and_then_leaves_the_schedule_as_it_is(name):
    plain, warm = (build_schedule(name, optimizer(), STEPS, 0.01, 3, {}, warmup_steps=steps) for steps in (0, 5))
    rates = {}
    for scheduler in (plain, warm):
        rates[scheduler] = []
        for _ in range(3 * STEPS):
            rates[scheduler].append(scheduler.optimizer.param_groups[0]["lr"])
            scheduler.optimizer.step()
            scheduler.step()
    factor = [min(1.0, step / 5) for step in range(3 * STEPS)]
    assert rates[warm] == pytest.approx([rate * by for rate, by in zip(rates[plain], factor, strict=True)])
