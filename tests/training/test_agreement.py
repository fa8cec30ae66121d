"""Gradients in one row, and what processes say before they use them."""

import pytest
import torch

from rvc_colab.training.agreement import Agreement, Gradients, NotApplied, OtherFailed, Trouble


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process always has the same gradients."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda row: row.mul_(2))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)])


@pytest.mark.usefixtures("doubled")
def test_gradients_add_up_in_the_row_and_are_averaged() -> None:
    plain, shared = network(), network()
    gradients = Gradients(shared, 2)
    for number in range(2):  # the second time nothing is left of the first
        gradients.clear()
        plain.zero_grad()
        for passes in range(2):
            for each in (plain, shared):
                each[1](each[0](torch.ones(4, 3) * (number + passes))).square().sum().backward()
        gradients.average()
        for one, two in zip(plain.parameters(), shared.parameters(), strict=True):
            assert two.grad is not None and torch.equal(one.grad, two.grad)
            assert (
                two.grad.untyped_storage().data_ptr() == gradients.row.untyped_storage().data_ptr()
            )


@pytest.mark.usefixtures("doubled")
def test_what_no_pass_reaches_has_no_gradient() -> None:
    """AdamW would let it decay otherwise, which it does not in one process."""
    shared = network()
    gradients = Gradients(shared, 2)
    gradients.clear()
    shared[0](torch.ones(1, 3)).sum().backward()
    gradients.average()
    assert [parameter.grad is None for parameter in shared.parameters()] == [False] * 2 + [True] * 2


def test_nothing_is_applied_when_another_one_has_no_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agreement, gradients = Agreement(), Gradients(network(), 1)
    monkeypatch.setattr(agreement, "say", lambda trouble: (Trouble.MEMORY, 3))
    monkeypatch.setattr(gradients, "average", lambda: pytest.fail("sent"))
    with pytest.raises(OtherFailed) as failed, agreement.applying(gradients):
        pytest.fail("applied")
    assert (failed.value.trouble, failed.value.process) == (Trouble.MEMORY, 3)


@pytest.mark.usefixtures("doubled")
def test_what_fails_while_it_is_applied_is_not_taken_again() -> None:
    """The others have applied it: the memory ladder must not answer."""
    with (
        pytest.raises(NotApplied, match="Process 1 could not apply"),
        Agreement().applying(Gradients(network(), 1)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_the_worst_is_told_with_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = Agreement(process=2)
    assert agreement.say(Trouble.NONE) == (Trouble.NONE, 0)
    assert agreement.say(Trouble.MEMORY) == (Trouble.MEMORY, 2)
    assert agreement.any_of([True, False]) == [True, False] and agreement.gather("a") == ["a"]
