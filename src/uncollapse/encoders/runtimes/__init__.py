"""Programs other than torch that run an exported model; the library of each is imported in one file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from uncollapse.encoders.runtimes.onnx_graphs import open_onnx
from uncollapse.encoders.runtimes.openvino_graphs import open_openvino


class Graph(Protocol):
    """A model that was opened by its runtime.

    Attributes:
        inputs: names of the matrices it asks for.
    """

    inputs: tuple[str, ...]

    def __call__(self, features: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """One vector a row: float32 [texts, dim], from int64 [texts, tokens]."""
        ...


@dataclass(frozen=True)
class Format:
    """One kind of exported model.

    Args:
        file: name of the graph in the folder.
        runtime: package that runs it.
        open: from the file and a number of threads to what runs it.
        said: what it is, for a reader.
    """

    file: str
    runtime: str
    open: Callable[[Path, int], Graph]
    said: str


FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", "onnxruntime", open_onnx, "ONNX, 32-bit floats"),
    "onnx-int8": Format("model.onnx", "onnxruntime", open_onnx, "ONNX, weights and activations of 8 bits"),
    "openvino": Format("openvino_model.xml", "openvino", open_openvino, "OpenVINO, 32-bit floats"),
}
"""What a model can be exported to, by the name the user gives."""


def route_file(file: str, route: str) -> str:
    """The name of the graph that texts of one role go through; the file itself where all texts go one way ("").

    >>> route_file("openvino_model.xml", "query"), route_file("model.onnx", "")
    ('openvino_model_query.xml', 'model.onnx')
    """
    stem, dot, suffix = file.rpartition(".")
    return f"{stem}_{route}{dot}{suffix}" if route else file
