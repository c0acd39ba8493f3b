"""Graphs that multiply matrices in 8 bits: a scale for each column of weights and for each row of activations."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.exporting.tracing import require_exporter

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]

WEIGHT_TOP = 64
"""Largest code of a weight in a product: 2 * 255 * 64 fits into the 16 bits that processors without VNNI add in."""

TABLE_TOP = 127
"""Largest code of a number that is looked up: nothing is multiplied, so all 8 bits are free."""


@dataclass(frozen=True)
class Steps:
    """How shares of a row's magnitude become codes from 0 to 255: round(share * up) + zero.

    Args:
        up: steps from nought to the magnitude.
        zero: code of nought, and so the number of steps below it.
        least: smallest magnitude that a row is given.
        signed: whether the magnitude is that of the numbers of both signs, or of the largest.
    """

    up: int
    zero: int
    least: float
    signed: bool


_TINY = float(np.finfo(np.float32).tiny)
SIGNED = Steps(127, 128, _TINY, signed=True)
"""Of numbers that can be anything."""

STEPS = {"Relu": Steps(255, 0, _TINY, signed=False), "Gelu": Steps(223, 32, 0.1701 * 223 / 32, signed=False)}
"""By the operation that the numbers come out of, where it has a lower end: 0, and -0.17004 for a Gelu, which the
32 steps below nought reach from the smallest magnitude on."""

SMALL_TABLE = 2048
"""Numbers of a table that is left in 32 bits: rounding it would save nothing and cost as much as a larger one's."""

_ONE_FILE = 2_000_000_000  # bytes of weights; a file of protobuf ends at 2 GiB


def quantise(source: Path, target: Path) -> None:
    """Write a copy of an ONNX model that multiplies matrices in 8 bits.

    A product x @ W of activations and stored weights becomes r * (round(x / r) @ round(W / s)) * s, where s is a scale
    for each column of W and r one for each row of x, taken from that row as it comes. So no row depends on the rows
    beside it. Weights have 7 bits, because processors without VNNI add products in 16 bits, where 8 overflow: the same
    file would give other vectors on other machines. Inputs that come out of a Gelu or Relu need few codes below nought
    or none, and get more above it (`STEPS`). Tables that are looked up get a scale for each row.
    All operations are standard ONNX.

    Args:
        source: the model in 32-bit floats, opset 18 or newer.
        target: the new file; weights of 2 GB and more go into a file beside it, named after it with ".data".

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    require_exporter()
    ir = importlib.import_module("onnx_ir")
    model = ir.load(source)
    round_graph(model)
    large = sum(value.const_value.nbytes for value in model.graph.initializers.values()) > _ONE_FILE
    if not large:
        ir.external_data.load_to_model(model)
    ir.save(model, target, external_data=f"{target.name}.data" if large else None)


def round_graph(model: Any) -> None:
    """Put 8-bit products and tables into an ONNX model, in place; see `quantise`.

    Products of two activations (attention's), of weights that are no matrix, and of weights on the left stay in 32
    bits, and so does whatever is inside a branch or loop.

    Args:
        model: an `onnx_ir.Model`.
    """
    ir = importlib.import_module("onnx_ir")
    rewriting = _Rewriting(ir, model.graph)
    for kind, rewrite in (
        ("Gemm", rewriting.split_gemm),
        ("MatMul", rewriting.round_product),
        ("Gather", rewriting.round_lookup),
    ):
        for node in [one for one in model.graph if one.op_type == kind and not one.domain]:
            rewrite(node)
    passes = importlib.import_module("onnx_ir.passes.common")
    passes.RemoveUnusedNodesPass()(model)
    passes.NameFixPass()(model)


def round_to(numbers: Floats, top: int, axis: int) -> tuple[Codes, Floats]:
    """Whole numbers from -top to top, and scales that give the numbers back: max |numbers| / top along an axis.

    What is not finite makes its scale not finite; what is too small for a scale becomes nought.

    Args:
        numbers: of any shape.
        top: largest code.
        axis: along which numbers share a scale; it has length 1 in the scales.

    >>> codes, scales = round_to(np.float32([[1, -2], [0, 0]]), 64, 1)
    >>> codes.tolist(), scales.tolist()
    ([[32, -64], [0, 0]], [[0.03125], [1.0]])
    """
    largest = np.abs(numbers).max(axis=axis, keepdims=True)
    scales = np.where(largest < _TINY, np.float32(1), largest / np.float32(top))
    with np.errstate(invalid="ignore"):
        codes = np.nan_to_num(np.round(numbers / scales), nan=0.0).clip(-top, top)
    return codes.astype(np.int8), scales.astype(np.float32)


class _Rewriting:
    """One graph that is being rewritten, and what several of its products share."""

    def __init__(self, ir: Any, graph: Any) -> None:
        self.ir, self.graph = ir, graph
        self._inputs: dict[Any, tuple[Any, Any]] = {}
        self._weights: dict[Any, tuple[Any, Any]] = {}
        self._constants: dict[str, Any] = {}

    def split_gemm(self, node: Any) -> None:
        """Write x @ W + b as two nodes, where W is stored and nothing is scaled."""
        x, stored, *bias = node.inputs
        said = {name: node.attributes[name].value for name in node.attributes}
        plain = not said.get("transA", 0) and said.get("alpha", 1.0) == 1.0 == said.get("beta", 1.0)
        if not plain or (weights := _stored(stored)) is None:
            return
        turned = self._constant(f"{stored.name}_turned", lambda: weights.T) if said.get("transB", 0) else stored
        tape = self.ir.tape.Tape()
        found = tape.op("MatMul", [x, turned])
        if bias and bias[0] is not None:
            found = tape.op("Add", [found, bias[0]])
        self._put(node, tape, found)

    def round_product(self, node: Any) -> None:
        """Write a product with a stored matrix in 8 bits."""
        x, stored = node.inputs
        weights = _stored(stored)
        if weights is None or weights.ndim != 2:
            return
        if x not in self._inputs:
            self._inputs[x] = self._round_rows(x, node)
        if stored not in self._weights:
            self._weights[stored] = self._round_weights(stored.name, weights)
        (rows, radius), (codes, scales) = self._inputs[x], self._weights[stored]
        tape = self.ir.tape.Tape()
        columns = tape.op("DequantizeLinear", [codes, scales], {"axis": 1})
        self._put(node, tape, tape.op("Mul", [tape.op("MatMul", [rows, columns]), radius]))

    def round_lookup(self, node: Any) -> None:
        """Look rows up in 8 bits, and their scales beside them."""
        stored, places = node.inputs
        table = _stored(stored)
        axis = node.attributes["axis"].value if "axis" in node.attributes else 0
        if table is None or table.ndim != 2 or axis != 0 or table.size <= SMALL_TABLE:
            return
        codes, scales = round_to(table, TABLE_TOP, 1)
        tape = self.ir.tape.Tape()
        rows = tape.op("Gather", [self._constant(f"{stored.name}_row_codes", lambda: codes), places])
        steps = tape.op("Gather", [self._constant(f"{stored.name}_row_steps", lambda: scales), places])
        found = tape.op("Mul", [tape.op("Cast", [rows], {"to": self.ir.DataType.FLOAT}), steps])
        self._put(node, tape, found)

    def _round_rows(self, x: Any, before: Any) -> tuple[Any, Any]:
        """The rows of an input as 8-bit shares of their magnitude, and these magnitudes.

        onnxruntime's maximum passes over what is not a number, a sum does not: nought times the sum of a row's shares
        takes it along. Shares are 1 at most, so that no sum of finite ones overflows.
        """
        tape, steps = self.ir.tape.Tape(), _steps(x)
        last = self._number("last_axis", np.array([-1]))
        largest = tape.op("ReduceMax", [tape.op("Abs", [x]) if steps.signed else x, last], {"keepdims": 1})
        magnitude = tape.op("Max", [largest, self._number(f"least_{steps.up}", np.float32(steps.least))])
        shares = tape.op("Div", [x, magnitude])
        total = tape.op("ReduceSum", [shares, last], {"keepdims": 1})
        nought = tape.op("Mul", [total, self._number("nought", np.float32(0))])
        radius = tape.op("Add", [magnitude, nought])
        code = (
            self._number(f"step_{steps.up}", np.float32(1 / steps.up)),
            self._number(f"zero_{steps.zero}", np.uint8(steps.zero)),
        )
        rows = tape.op("DequantizeLinear", [tape.op("QuantizeLinear", [shares, *code]), *code])
        self.graph.insert_before(before, tape.nodes)
        return rows, radius

    def _round_weights(self, name: str, weights: Floats) -> tuple[Any, Any]:
        codes, scales = round_to(weights, WEIGHT_TOP, 0)
        return self._constant(f"{name}_codes", lambda: codes), self._constant(f"{name}_steps", lambda: scales[0])

    def _put(self, node: Any, tape: Any, found: Any) -> None:
        """Let new nodes take a node's place, and its name for the result."""
        (old,) = node.outputs
        self.ir.convenience.replace_nodes_and_values(self.graph, node, [node], tape.nodes, [old], [found])

    def _constant(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> Any:
        """A stored array of our own, made once, under a name that nothing in the file has."""
        if name not in self._constants:
            free = f"uncollapse_{name}"
            while free in self.graph.initializers:
                free += "_"
            array = self.ir.tensor(np.ascontiguousarray(make()), name=free)
            self._constants[name] = self.ir.tape.Tape(self.graph).initializer(array)
        return self._constants[name]

    def _number(self, name: str, value: Any) -> Any:
        return self._constant(name, lambda: np.asarray(value))


def _steps(value: Any) -> Steps:
    """What is known of the numbers that an operation gives."""
    maker = value.producer()
    return SIGNED if maker is None or maker.domain else STEPS.get(maker.op_type, SIGNED)


def _stored(value: Any) -> Floats | None:
    """The 32-bit floats of a value that lies in the file."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    found = value.const_value.numpy()
    return found if found.dtype == np.float32 else None
