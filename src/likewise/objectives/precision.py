"""Losses are computed in at least float32, whatever precision surrounds them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

Products = Literal["fp32", "bf16"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function with half-precision tensors raised to float32 and autocast switched off inside.

    An exponential at temperature 0.1 turns the 8 bits of a bfloat16 similarity into errors of several per cent, and an
    autocast region would compute the similarities in bfloat16 even from float32 inputs. float64 stays float64.
    """

    def raised(value: object) -> object:
        if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
            return value.float()
        return value

    @wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device_type=device, enabled=False):
            return function(*map(raised, args), **{name: raised(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return wrapper


@contextmanager
def products_in(products: Products) -> Iterator[None]:
    """A context in which a processor multiplies float32 matrices as they are, or rounded to bfloat16.

    Sums and results are float32 either way: bfloat16 tensors would round the results as well, to 8 bits of a
    similarity. A processor without bfloat16 instructions, and a GPU, multiply float32 in both.

    Args:
        products: `"fp32"` or `"bf16"`.
    """
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16" if products == "bf16" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
