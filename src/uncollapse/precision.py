"""Numbers in the precision of what they are made from, also where a model runs under autocast."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(measure: Callable[P, R]) -> Callable[P, R]:
    """Measure without autocast, which would take products to half precision, far from what is certified.

    >>> product = in_full_precision(lambda states: states @ states)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     product(torch.eye(2)).dtype
    torch.float32
    """

    @wraps(measure)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        devices = (getattr(value, "device", None) for value in (*args, *kwargs.values()))
        kind = next((device.type for device in devices if isinstance(device, torch.device)), "cpu")
        if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
            return measure(*args, **kwargs)
        with torch.autocast(kind, enabled=False):
            return measure(*args, **kwargs)

    return measured
