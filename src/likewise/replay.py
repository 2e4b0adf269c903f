"""Work on a GPU that is recorded once and then replayed, with one launch in place of hundreds: an experiment."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from likewise.progress import say
from likewise.ranks import world_size

WARM_UP = 3  # calls that run as they are, in which libraries choose their algorithms and compilers compile


def wanted() -> bool:
    """Whether to record at all."""
    return os.environ.get("LIKEWISE_CUDA_GRAPHS") == "1" and torch.cuda.is_available() and world_size() == 1


class Replayed:
    """A function of tensors, recorded in its fourth call as a CUDA graph and replayed from then on.

    A step of a small network is some eight hundred operations, each of which takes a GPU a few microseconds and Python
    many more: the GPU waits. A replay takes none of Python. The function's own Python runs no more after the recording,
    so it must do the same with tensors in every call: what it keeps in an attribute is the tensor of the recording,
    which a replay fills anew. A function that cannot be recorded runs as it is, and so does every call with other
    shapes.

    It was written after a profile on a GPU and has not run on one yet: LIKEWISE_CUDA_GRAPHS=1 turns it on, in one
    process. tests/test_replay.py compares it with what runs without it, in fp32 and without torch.compile.

    Args:
        function: From tensors to a tensor or a dictionary of tensors. It may call `backward`, if it unsets the
            gradients before; its calls must then all have the same shapes, since gradients stay where they were made.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[Tensor] = []
        self._made: Any = None
        self._possible = wanted()

    def __call__(self, *given: Tensor) -> Any:
        """What the function makes of these tensors, detached: copies, which the next call leaves alone."""
        if self._graph is None and self._possible:
            if self._calls < WARM_UP:
                self._calls += 1
                return self._aside(given)
            self._record(given)
        if self._graph is None or [_form(one) for one in given] != [_form(own) for own in self._given]:
            return _copied(self.function(*given))
        for own, one in zip(self._given, given, strict=True):
            own.copy_(one, non_blocking=True)
        self._graph.replay()
        return _copied(self._made)

    def _aside(self, given: tuple[Tensor, ...]) -> Any:
        """A call on a stream of its own, as a recording needs to find things."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            made = _copied(self.function(*given))
        here.wait_stream(aside)
        return made

    def _record(self, given: tuple[Tensor, ...]) -> None:
        self._possible = False  # a second try would fail likewise
        self._given = [one.detach().clone() for one in given]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._made = self.function(*self._given)
        except RuntimeError as error:  # it waits for the GPU somewhere, or there is not memory enough
            torch.cuda.synchronize()
            self._given, self._made = [], None
            say(f"a step could not be recorded as a CUDA graph and runs as it is: {str(error).partition(chr(10))[0]}")
            return
        self._graph = graph


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device


def _copied(made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.detach().clone()
    return {name: value.detach().clone() for name, value in made.items()}
