"""ONNX models on the processor; only this file knows onnxruntime."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.errors import MissingExtraError, ModelError

_ERRORS_ONLY = 3


def require_onnxruntime() -> Any:
    """The package onnxruntime.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx", "Running an ONNX model") from error


class OnnxGraph:
    """An ONNX model in onnxruntime.

    Args:
        file: the model; weights that lie in further files are found beside it.
        threads: that compute.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: a file that onnxruntime does not open.
    """

    def __init__(self, file: Path, threads: int) -> None:
        library = require_onnxruntime()
        options = library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _ERRORS_ONLY
        options.enable_mem_pattern = False  # plans memory for one shape; here every pass has another
        try:
            self._session = library.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises classes of its own, without a common base
            raise ModelError(
                f"Expected a model that onnxruntime opens, got {str(file)!r}: {str(error).strip()}. Export it again."
            ) from error
        self.inputs = tuple(node.name for node in self._session.get_inputs())

    def __call__(self, features: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """One vector a row: float32 [texts, dim]."""
        (found,) = self._session.run(None, {name: features[name] for name in self.inputs})
        return np.asarray(found, np.float32)


def open_onnx(file: Path, threads: int) -> OnnxGraph:
    """Open an ONNX model; see `OnnxGraph`."""
    return OnnxGraph(file, threads)
