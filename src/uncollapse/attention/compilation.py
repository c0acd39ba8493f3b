"""Whether torch.compile has been at a model: a compiled graph knows nothing of what is put on a model afterwards."""

from torch import nn


def is_compiled(model: nn.Module) -> bool:
    """Whether a model or a part of it is compiled: wrapped, in place, or by its forward function alone.

    >>> is_compiled(nn.Linear(2, 2))
    False
    """
    return any(_is_compiled(module) for module in model.modules())


def _is_compiled(module: nn.Module) -> bool:
    wrapped = type(module).__name__ == "OptimizedModule"  # torch.compile(model)
    in_place = module._compiled_call_impl is not None  # model.compile()
    # model.forward = torch.compile(model.forward)
    return wrapped or in_place or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
