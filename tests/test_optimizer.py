"""Adam over touched rows: Adam as published where every row is touched, and no trace where none is."""

import pytest
import torch
from torch import Tensor, nn

from semascope.training.optimizer import RowAdam


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sparse(rows: list[int], values: Tensor, like: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, like.shape, check_invariants=True)


@pytest.mark.parametrize("clip", [1e9, 0.5])
def test_it_is_adam_where_every_row_is_touched(clip: float) -> None:
    ours, theirs = ([nn.Parameter(random(7, 5)), nn.Parameter(random(7, seed=1))] for _ in range(2))
    optimizer = RowAdam([("W", ours[0]), ("b", ours[1])], clip=clip)
    published = torch.optim.Adam(theirs, lr=0.03)
    for step in range(50):
        gradients = [random(7, 5, seed=step) / 3, random(7, seed=step + 100) / 3]
        ours[0].grad, ours[1].grad = sparse(list(range(7)), gradients[0], ours[0]), gradients[1].clone()
        theirs[0].grad, theirs[1].grad = (gradient.clone() for gradient in gradients)
        expected_norm = torch.nn.utils.clip_grad_norm_(theirs, clip)
        published.step()
        torch.testing.assert_close(optimizer.step(0.03), expected_norm)
    for mine, published_one in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.data, published_one.data)


def test_rows_without_a_gradient_stay_as_they_are_moments_included() -> None:
    W = nn.Parameter(random(6, 4))
    optimizer = RowAdam([("W", W)])
    for step in range(5):
        W.grad = sparse([0, 2, 5], random(3, 4, seed=step), W)
        optimizer.step(0.1)
    before, state = W.detach().clone(), {name: t.clone() for name, t in optimizer.state().items()}
    W.grad = sparse([2], random(1, 4, seed=9), W)
    optimizer.step(0.1)
    others = torch.tensor([0, 1, 3, 4, 5])
    assert torch.equal(W[others], before[others])
    assert all(torch.equal(t[others], state[name][others]) for name, t in optimizer.state().items())
    assert not torch.equal(W[2], before[2])


def test_a_row_that_is_first_touched_late_moves_like_one_in_a_fresh_optimizer() -> None:
    late, fresh = nn.Parameter(random(2, 4)), nn.Parameter(random(2, 4))
    optimizer = RowAdam([("W", late)])
    for step in range(30):
        late.grad = sparse([0], random(1, 4, seed=step), late)
        optimizer.step(0.1)
    for parameter, its in ((late, optimizer), (fresh, RowAdam([("W", fresh)]))):
        parameter.grad = sparse([1], random(1, 4, seed=77), parameter)
        its.step(0.1)
    assert torch.equal(late[1], fresh[1])


def test_a_feature_that_is_forgotten_moves_like_a_new_one_and_the_others_as_before() -> None:
    W_FD, b_F, b_O = nn.Parameter(random(3, 4)), nn.Parameter(random(3)), nn.Parameter(random(3, seed=1))
    optimizer = RowAdam([("W_FD", W_FD), ("b_F", b_F), ("b_O", b_O)])
    for step in range(5):
        W_FD.grad, b_F.grad, b_O.grad = random(3, 4, seed=step), random(3, seed=step), random(3, seed=step)
        optimizer.step(0.1)
    before = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    optimizer.forget(torch.tensor([1]))
    for name, tensor in optimizer.state().items():
        expected = before[name]
        if not name.startswith("b_O"):
            expected[1] = 0
        assert torch.equal(tensor, expected), name


def test_unit_rows_keep_their_norm_and_ignore_what_would_only_change_it() -> None:
    W = nn.Parameter(torch.nn.functional.normalize(random(5, 4)))
    start = W.detach().clone()
    optimizer = RowAdam([("W", W)], unit_rows=["W"])
    W.grad = sparse([0, 1], 3 * start[:2], W)
    optimizer.step(0.1)
    torch.testing.assert_close(W.data, start)
    W.grad = sparse([0, 1], random(2, 4, seed=3), W)
    optimizer.step(0.1)
    torch.testing.assert_close(W.norm(dim=1), torch.ones(5, dtype=torch.float64))
    assert (W[:2] - start[:2]).norm() > 0.01


def test_gradients_of_several_uses_add_up_and_dense_ones_may_follow_sparse_ones() -> None:
    one, other = nn.Parameter(random(4, 3)), nn.Parameter(random(4, 3))
    a, b = RowAdam([("W", one)]), RowAdam([("W", other)])
    values = random(5, 3, seed=1)
    one.grad = sparse([0, 2, 3, 0, 1], values, one)
    summed = torch.zeros(4, 3, dtype=torch.float64).index_add_(0, torch.tensor([0, 2, 3, 0, 1]), values)
    other.grad = summed.clone()
    a.step(0.1)
    b.step(0.1)
    torch.testing.assert_close(one.data, other.data)
    one.grad, other.grad = random(4, 3, seed=2), sparse([0, 1, 2, 3], random(4, 3, seed=2), other)
    a.step(0.1)
    b.step(0.1)
    torch.testing.assert_close(one.data, other.data)


def test_it_goes_on_exactly_from_its_state() -> None:
    one, other = nn.Parameter(random(4, 3)), nn.Parameter(random(4, 3))
    a, b = RowAdam([("W", one)]), RowAdam([("W", other)])
    one.grad = random(4, 3, seed=1)
    a.step(0.1)
    other.data.copy_(one.data)
    b.restore({name: tensor.clone() for name, tensor in a.state().items()})
    one.grad, other.grad = random(4, 3, seed=2), random(4, 3, seed=2)
    a.step(0.1)
    b.step(0.1)
    assert torch.equal(one, other)
