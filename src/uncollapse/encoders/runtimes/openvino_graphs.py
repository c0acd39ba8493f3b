"""OpenVINO models on the processor; only this file knows openvino."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.errors import MissingExtraError, ModelError, OutputError


def require_openvino() -> Any:
    """The package openvino.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino", "Writing or running an OpenVINO model") from error


class OpenvinoGraph:
    """A model in OpenVINO, computed in 32 bits also where the processor would rather take 16.

    Args:
        file: the .xml or .onnx file.
        threads: that compute.

    Raises:
        MissingExtraError: openvino is not installed.
        ModelError: a file that openvino does not open.
    """

    def __init__(self, file: Path, threads: int) -> None:
        library = require_openvino()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            self._model = library.Core().compile_model(file, "CPU", settings)
        except Exception as error:  # the library raises RuntimeError for everything
            raise ModelError(
                f"Expected a model that openvino opens, got {str(file)!r}: {str(error).strip()}. Export it again."
            ) from error
        self.inputs = tuple(node.get_any_name() for node in self._model.inputs)

    def __call__(self, features: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """One vector a row: float32 [texts, dim]."""
        found = self._model({name: features[name] for name in self.inputs})[0]
        return np.array(found, np.float32)  # a copy: the library writes the next result into the same place


def open_openvino(file: Path, threads: int) -> OpenvinoGraph:
    """Open an OpenVINO model; see `OpenvinoGraph`."""
    return OpenvinoGraph(file, threads)


def convert(source: Path, target: Path) -> None:
    """Write an ONNX model as OpenVINO's .xml and .bin, in 32-bit floats.

    Args:
        source: the .onnx file.
        target: the new .xml file; the weights go beside it.

    Raises:
        MissingExtraError: openvino is not installed.
        ModelError: a graph that openvino does not read.
        OutputError: the files cannot be written.
    """
    library = require_openvino()
    try:
        model = library.Core().read_model(source)
    except Exception as error:  # the library raises RuntimeError for everything
        raise ModelError(
            f"Expected a graph that openvino reads, but it says: {str(error).strip()}. Use --format onnx."
        ) from error
    try:
        library.save_model(model, target, compress_to_fp16=False)
    except Exception as error:
        raise OutputError(
            f"Could not write {str(target)!r}: {' '.join(str(error).split())}. If the disk is full, make room, or "
            "choose another place."
        ) from error
