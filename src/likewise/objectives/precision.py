"""Losses are computed in at least float32, whatever precision surrounds them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function with half-precision tensors raised to float32 and autocast switched off inside.

    An exponential at temperature 0.1 turns the 8 bits of a bfloat16 similarity into errors of several per cent, and an
    autocast region would compute the similarities in bfloat16 even from float32 inputs. float64 stays float64.
    """

    def prepared(value: object) -> object:
        return raised(value) if isinstance(value, Tensor) and value.is_floating_point() else value

    @wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device_type=device, enabled=False):
            return function(*map(prepared, args), **{name: prepared(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return wrapper


def raised(values: Tensor) -> Tensor:
    """The same values in at least float32; float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
