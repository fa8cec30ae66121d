"""Every clip comes once per epoch, whoever computes it, and the order follows from the seed."""

from rvc_colab.training.sampler import BatchPlan, step_seed


def clips_of(plan: BatchPlan, epoch: int) -> list[int]:
    return [clip for number in range(plan.steps_per_epoch) for clip in plan.batch(epoch, number)]


def test_every_clip_comes_once_and_the_last_batch_is_filled_up() -> None:
    plan = BatchPlan(clips=10, size=4)
    order = clips_of(plan, 0)
    assert len(order) == 12 and sorted(order[:10]) == list(range(10)) and order[10:] == order[:2]


def test_fewer_clips_than_a_batch_fill_it_by_coming_again() -> None:
    assert sorted(BatchPlan(clips=3, size=8).batch(0, 0)) == [0, 0, 0, 1, 1, 1, 2, 2]


def test_epochs_differ_and_seeds_repeat() -> None:
    plan = BatchPlan(clips=50, size=5, seed=1)
    assert plan.epoch_order(0) != plan.epoch_order(1)
    assert plan.epoch_order(3) == BatchPlan(clips=50, size=5, seed=1).epoch_order(3)
    assert plan.epoch_order(0) != BatchPlan(clips=50, size=5, seed=2).epoch_order(0)


def test_processes_and_parts_share_the_same_step_without_overlap() -> None:
    together, shared = (
        BatchPlan(clips=40, size=8),
        BatchPlan(clips=40, size=2, parts=2, processes=2),
    )
    assert together.batch(2, 1) == shared.batch(2, 1)
    spans = [shared.share(part, process) for process in (0, 1) for part in (0, 1)]
    assert sorted(i for first, last in spans for i in range(first, last)) == list(range(8))


def test_steps_draw_differently() -> None:
    assert len({step_seed(seed, step) for seed in (0, 1, 1234) for step in range(1000)}) == 3000
