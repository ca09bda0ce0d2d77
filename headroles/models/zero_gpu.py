"""Forward passes on a GPU that the Space lends for a moment (ZeroGPU), plain ones everywhere else.

ZeroGPU runs a function decorated with `spaces.GPU` in a forked process that has the GPU: arguments and results are pickled,
what was loaded before is there, and what the function changes is gone afterwards.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import nn

F = TypeVar("F", bound=Callable)

try:
    import spaces  # type: ignore[import-not-found]

    on_gpu = spaces.GPU
except ImportError:

    def on_gpu(function: F) -> F:
        """The function as it is: there is no GPU to borrow."""
        return function


_owners: WeakValueDictionary[int, object] = WeakValueDictionary()


@on_gpu
def _call(owner: int, method: str, *args: object) -> Any:
    return getattr(_owners[owner], method)(*args)


def call_on_device(owner: object, method: str, *args: object) -> Any:
    """`owner.method(*args)` where the GPU is: only a number crosses to the process that has it, with arguments and result."""
    _owners[id(owner)] = owner
    return _call(id(owner), method, *args)


def to_forward_device(model: nn.Module) -> torch.device:
    """The device that a forward of the model runs on, inside a function under `on_gpu`; moves it there."""
    if os.environ.get("SPACES_ZERO_GPU"):
        model.to("cuda")
    return next(model.parameters()).device
