"""The queue holds the last keys, whatever the sizes, and gives a copy."""

import pytest
import torch

from likewise.models.queue import Queue


def _queue(size):
    return Queue(torch.full((size, 1), -1.0))


def _pushed(queue, count, start=0):
    keys = torch.arange(start, start + count, dtype=torch.float32)[:, None]
    queue.push(keys)
    return start + count


@pytest.mark.parametrize("size", [1, 5, 8])
@pytest.mark.parametrize("batches", [[3], [5, 5], [3, 3, 3], [4, 1, 7], [20], [2, 17, 1], [8, 8, 8, 1]], ids=str)
def test_holds_the_last_keys(size, batches):
    queue, pushed = _queue(size), 0
    for count in batches:
        pushed = _pushed(queue, count, pushed)
        last = list(range(max(pushed - size, 0), pushed))
        assert sorted(queue().flatten().tolist()) == [-1.0] * (size - len(last)) + last
        assert queue.next_row.item() == pushed % size


def test_places_are_filled_in_turn():
    queue = _queue(5)
    pushed = _pushed(queue, 3)
    assert queue().flatten().tolist() == [0, 1, 2, -1, -1]
    pushed = _pushed(queue, 3, pushed)
    assert queue().flatten().tolist() == [5, 1, 2, 3, 4]
    _pushed(queue, 7, pushed)  # 6..12, of which the last five stay
    assert queue().flatten().tolist() == [10, 11, 12, 8, 9]


def test_backward_works_after_a_push():
    queue = Queue(torch.eye(3))
    query = torch.ones(2, 3, requires_grad=True)
    loss = (query @ queue().T).square().sum()
    queue.push(torch.full((2, 3), 7.0))
    loss.backward()
    assert torch.equal(query.grad, torch.full((2, 3), 2.0))  # of the keys before the push


def test_result_is_a_copy():
    queue = _queue(2)
    queue().fill_(9)
    assert queue().flatten().tolist() == [-1, -1]


def test_initial_keys_are_copied():
    initial = torch.zeros(2, 1)
    queue = Queue(initial)
    _pushed(queue, 2)
    assert initial.flatten().tolist() == [0, 0]


def test_state_goes_on_where_it_stopped():
    queue, resumed = _queue(5), _queue(5)
    pushed = _pushed(queue, 3)
    resumed.load_state_dict(queue.state_dict())
    assert set(queue.state_dict()) == {"keys", "next_row"}
    for each in (queue, resumed):
        _pushed(each, 4, pushed)
    assert torch.equal(queue(), resumed())


def test_keys_take_the_precision_of_the_queue():
    queue = _queue(2)
    queue.push(torch.ones(1, 1, dtype=torch.bfloat16))
    assert queue().dtype == torch.float32
    assert queue().flatten().tolist() == [1, -1]
