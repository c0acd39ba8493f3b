"""Products in 8 bits: what they compute, and what they promise about rows, zeros and numbers that are none."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export_examples import made_models
from uncollapse.encoders.exported import ExportedEncoder
from uncollapse.encoders.runtimes.onnx_graphs import open_onnx
from uncollapse.exporting import rounding
from uncollapse.exporting.rounding import SIGNED, STEPS, WEIGHT_TOP, Steps, quantise, round_to

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Floats]

WIDTH, OUT = 48, 40
KINDS: dict[str, Steps] = {"": SIGNED, **STEPS}


def numbers(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WEIGHTS, BIAS = numbers(WIDTH, OUT, seed=1), numbers(OUT, seed=2)


def write(folder: Path, nodes: Sequence[Any], stored: dict[str, Any], kind: int = TensorProto.FLOAT) -> Path:
    """A graph from x to y."""
    ends = [helper.make_tensor_value_info(name, of, None) for name, of in (("x", kind), ("y", TensorProto.FLOAT))]
    initial = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "plain.onnx")
    return folder / "plain.onnx"


def opened(file: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def rounded(folder: Path, nodes: Sequence[Any], stored: dict[str, Any], kind: int = TensorProto.FLOAT) -> Run:
    quantise(write(folder, nodes, stored, kind), folder / "rounded.onnx")
    return opened(folder / "rounded.onnx")


def operations(folder: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / "rounded.onnx").graph.node)


def after(kind: str, name: str = "w", found: str = "y") -> list[Any]:
    """A product with stored weights, its input out of an operation."""
    first = [helper.make_node(kind, ["x"], ["made"])] if kind else []
    return [*first, helper.make_node("MatMul", ["made" if kind else "x", name], [found])]


def by_numpy(x: Floats, steps: Steps) -> Floats:
    """The same arithmetic, in whole numbers."""
    codes, scales = round_to(WEIGHTS, WEIGHT_TOP, 0)
    largest = (np.abs(x) if steps.signed else x).max(axis=-1, keepdims=True)
    radius = np.maximum(largest, np.float32(steps.least))
    shares = np.rint(x / radius * steps.up).astype(np.int64)
    assert -steps.zero <= shares.min() <= shares.max() <= 255 - steps.zero, "nothing is cut off"
    return np.asarray((shares @ codes.astype(np.int64)) * scales * (radius / steps.up), np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, WIDTH), (2, 7, WIDTH)])
def test_the_arithmetic_is_that_of_whole_numbers(kind: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = numbers(*shape) * np.float32(2)
    x[..., :2, :] *= np.float32([[0.01], [100]])
    given = opened(write(tmp_path, [helper.make_node(kind, ["x"], ["y"])], {}))(x) if kind else x
    found = rounded(tmp_path, after(kind), {"w": WEIGHTS})(x)
    np.testing.assert_allclose(found, by_numpy(given, KINDS[kind]), rtol=1e-5, atol=1e-5 * np.abs(given).max())
    assert np.abs(found - given @ WEIGHTS).max() > 1e-4, "rounded at all"
    assert np.linalg.norm(found - given @ WEIGHTS) < 0.03 * np.linalg.norm(given @ WEIGHTS)


def test_the_lower_end_of_each_operation_has_a_code(tmp_path: Path) -> None:
    x = np.linspace(-6, 6, 10_001, dtype=np.float32)
    for kind, steps in STEPS.items():
        for form in ({}, {"approximate": "tanh"}) if kind == "Gelu" else ({},):
            lowest = opened(write(tmp_path, [helper.make_node(kind, ["x"], ["y"], **form)], {}))(x).min()
            assert round(float(lowest) / steps.least * steps.up) >= -steps.zero, (kind, form)
        assert steps.up + steps.zero == 255


def test_onnxruntime_multiplies_whole_numbers(tmp_path: Path) -> None:
    """Operations are standard ones; that they are taken together is what makes the format fast."""
    nodes = [*after("Gelu", found="z"), helper.make_node("Add", ["z", "b"], ["y"])]
    rounded(tmp_path, nodes, {"w": WEIGHTS, "b": BIAS})
    assert {node.domain for node in onnx.load(tmp_path / "rounded.onnx").graph.node} == {""}
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "rounded.onnx"), options, providers=["CPUExecutionProvider"])
    run = Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    assert run["MatMulIntegerToFloat"] == 1
    assert run["MatMul"] == run["DequantizeLinear"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_what_it_is_alone_whatever_lies_beside_it(kind: str, tmp_path: Path) -> None:
    run, x = rounded(tmp_path, after(kind), {"w": WEIGHTS}), numbers(9, WIDTH)
    x[3] *= 1000
    together = run(x)
    for row in range(9):
        np.testing.assert_array_equal(run(x[row : row + 1])[0], together[row])


def test_a_row_that_is_scaled_scales_its_result_exactly(tmp_path: Path) -> None:
    run, x = rounded(tmp_path, after(""), {"w": WEIGHTS}), numbers(4, WIDTH)
    for scale in (2.0**-40, 0.5, 4.0, 2.0**60):
        np.testing.assert_array_equal(run(x * np.float32(scale)), run(x) * np.float32(scale))
    np.testing.assert_allclose(run(x * np.float32(-3)), run(x) * np.float32(-3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_zeros_gives_zeros(kind: str, tmp_path: Path) -> None:
    x = numbers(3, WIDTH)
    x[1] = 0
    found = rounded(tmp_path, after(kind), {"w": WEIGHTS})(x)
    np.testing.assert_array_equal(found[1], np.zeros(OUT, np.float32))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_finite_number_never_becomes_one(kind: str, bad: float, tmp_path: Path) -> None:
    run, x = rounded(tmp_path, after(kind), {"w": WEIGHTS}), numbers(3, WIDTH)
    before = run(x)
    for place in range(WIDTH):
        broken = x.copy()
        broken[1, place] = bad
        found = run(broken)
        assert not np.isfinite(found[1]).any(), place
        np.testing.assert_array_equal(found[[0, 2]], before[[0, 2]])


def test_a_row_whose_sum_is_too_large_for_a_number_is_multiplied_all_the_same(tmp_path: Path) -> None:
    weights, scale = WEIGHTS * np.float32(2.0**-20), np.float32(2.0**125)
    run, x = rounded(tmp_path, after(""), {"w": weights}), np.abs(numbers(3, WIDTH))
    with np.errstate(over="ignore"):
        assert not np.isfinite((x * scale).sum(-1)).any()
    np.testing.assert_array_equal(run(x * scale), run(x) * scale)
    x[1, :2] = np.finfo(np.float32).min
    wanted = x[1] @ weights
    assert np.linalg.norm(run(x)[1] / scale - wanted / scale) < 0.03 * np.linalg.norm(wanted / scale)


def gemm(bias: Sequence[str] = ("b",), **said: Any) -> list[Any]:
    return [helper.make_node("Gemm", ["x", "w", *bias], ["y"], **said)]


def added(*order: str) -> list[Any]:
    return [*after("", found="z"), helper.make_node("Add", list(order), ["y"])]


def lookup(found: str = "y", **said: Any) -> list[Any]:
    return [helper.make_node("Gather", ["t", "x"], [found], **said)]


FORMS: dict[str, tuple[list[Any], bool, bool]] = {
    "no bias": (after(""), False, False),
    "bias on the right": (added("z", "b"), True, False),
    "bias on the left": (added("b", "z"), True, False),
    "Gemm": (gemm(), True, False),
    "Gemm, turned": (gemm(transB=1), True, True),
    "Gemm without bias": (gemm((), transB=1), False, True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_a_product_with_a_bias(form: str, tmp_path: Path) -> None:
    nodes, with_bias, turned = FORMS[form]
    stored = {"w": WEIGHTS.T.copy() if turned else WEIGHTS, **({"b": BIAS} if with_bias else {})}
    x = numbers(6, WIDTH)
    found = rounded(tmp_path, nodes, stored)(x)
    np.testing.assert_allclose(found, by_numpy(x, SIGNED) + (BIAS if with_bias else 0), rtol=1e-5, atol=1e-4)
    assert operations(tmp_path)["QuantizeLinear"] == 1
    names = {one.name for one in onnx.load(tmp_path / "rounded.onnx").graph.initializer}
    assert names.isdisjoint({"w", "w_turned", "uncollapse_w_turned"}), "nothing is kept twice"


def test_what_is_shared_is_rounded_once(tmp_path: Path) -> None:
    """One input for queries, keys and values; one matrix for two products."""
    nodes = [*(helper.make_node("MatMul", ["x", name], [name + "x"]) for name in ("w", "v", "u"))]
    nodes += [helper.make_node("Relu", ["wx"], ["r"]), helper.make_node("MatMul", ["r", "s"], ["rs"])]
    nodes += [helper.make_node("MatMul", ["vx", "s"], ["vs"]), helper.make_node("Sum", ["rs", "vs", "ux"], ["y"])]
    stored = {name: numbers(WIDTH, WIDTH, seed=seed) for seed, name in enumerate("wvus")}
    x, (w, v, u, s) = numbers(3, WIDTH), stored.values()
    found = rounded(tmp_path, nodes, stored)(x)
    wanted = np.maximum(x @ w, 0) @ s + x @ v @ s + x @ u
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)
    counts = operations(tmp_path)
    assert (counts["MatMul"], counts["QuantizeLinear"]) == (5, 3)
    codes = [
        one for one in onnx.load(tmp_path / "rounded.onnx").graph.initializer if one.data_type == TensorProto.INT8
    ]
    assert len(codes) == 4


OURS = ("w_codes", "w_steps", "w_turned", "uncollapse_w_codes", "uncollapse_w_steps", "uncollapse_nought")
"""Names that are given to what is stored anew, or were."""


@pytest.mark.parametrize("name", OURS)
def test_a_file_may_have_our_names(name: str, tmp_path: Path) -> None:
    w, other, x = numbers(WIDTH, WIDTH), numbers(WIDTH, WIDTH, seed=1), numbers(3, WIDTH)
    nodes = [helper.make_node("Gemm", ["x", "w"], ["z"], transB=1), helper.make_node("MatMul", ["x", name], ["v"])]
    nodes += [helper.make_node("MatMul", ["z", "w"], ["u"]), helper.make_node("Add", ["u", "v"], ["y"])]
    found = rounded(tmp_path, nodes, {"w": w, name: other})(x)
    wanted = x @ w.T @ w + x @ other
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


def test_a_table_that_is_multiplied_by_too_has_scales_for_both(tmp_path: Path) -> None:
    table = numbers(WIDTH, WIDTH) * np.logspace(-2, 2, WIDTH, dtype=np.float32)[:, None]
    nodes = [*lookup(found="z"), helper.make_node("MatMul", ["z", "t"], ["y"])]
    places = np.array([0, 7, 47])
    found = rounded(tmp_path, nodes, {"t": table}, TensorProto.INT64)(places)
    wanted = table[places] @ table
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


STAYING: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "weights of three dimensions": (after(""), {"w": numbers(2, WIDTH, OUT)}),
    "weights on the left": ([helper.make_node("MatMul", ["w", "x"], ["y"])], {"w": numbers(OUT, 5)}),
    "two activations": ([helper.make_node("MatMul", ["x", "t"], ["y"])], {}),
    "Gemm of a scaled product": (gemm(alpha=0.5), {"w": WEIGHTS, "b": BIAS}),
}


def test_what_stays_in_32_bits(tmp_path: Path) -> None:
    for name, (nodes, stored) in STAYING.items():
        turn = [helper.make_node("Transpose", ["x"], ["t"])] if not stored else []
        x = numbers(5, WIDTH)
        plain = opened(write(tmp_path, [*turn, *nodes], stored))(x)
        np.testing.assert_array_equal(rounded(tmp_path, [*turn, *nodes], stored)(x), plain, err_msg=name)
        assert operations(tmp_path)["QuantizeLinear"] == 0


def test_tables_are_rounded_row_by_row_and_small_ones_are_not(tmp_path: Path) -> None:
    table = numbers(60, WIDTH) * np.logspace(-3, 3, 60, dtype=np.float32)[:, None]
    table[7] = 0
    places = np.array([[0, 7, 59], [7, 7, 1]])
    found = rounded(tmp_path, lookup(), {"t": table}, TensorProto.INT64)(places)
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - table[places]) <= 0.501 * step[places]).all()
    assert not np.array_equal(found, table[places])
    assert (found[1, :2] == 0).all()
    for said, kept in (({}, table[:20]), ({"axis": 1}, table)):
        same = rounded(tmp_path, lookup(**said), {"t": kept}, TensorProto.INT64)(np.array([0, 7]))
        np.testing.assert_array_equal(same, kept.take([0, 7], axis=said.get("axis", 0)))


def test_codes_and_scales_give_the_numbers_back() -> None:
    given = numbers(30, 20) * np.logspace(-20, 20, 20, dtype=np.float32)
    given[:, 3], given[:, 4] = 0, 1e-43
    codes, scales = round_to(given, WEIGHT_TOP, 0)
    assert np.abs(codes.astype(np.int64)).max() == WEIGHT_TOP
    assert (np.abs(codes * scales - given) <= 0.5001 * scales).all()
    assert (codes[:, 3:5] == 0).all()
    np.testing.assert_array_equal(round_to(-given, WEIGHT_TOP, 0)[0], -codes)
    assert 2 * 255 * WEIGHT_TOP < 2**15, "two products fit into the 16 bits that they are added in"
    given[0, 5], given[0, 6] = np.nan, np.inf
    codes, scales = round_to(given, WEIGHT_TOP, 0)
    assert not np.isfinite(scales[0, 5:7]).any()
    assert np.isfinite(np.delete(scales, [5, 6])).all()


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = rounded(tmp_path, after(""), {"w": WEIGHTS})(numbers(2, WIDTH))
    assert not (tmp_path / "rounded.onnx.data").exists()
    monkeypatch.setattr(rounding, "_ONE_FILE", 0)
    np.testing.assert_array_equal(rounded(tmp_path, after(""), {"w": WEIGHTS})(numbers(2, WIDTH)), wanted)
    assert (tmp_path / "rounded.onnx.data").stat().st_size >= WEIGHTS.size


def test_weights_that_lie_beside_the_source_lie_beside_a_large_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "_ONE_FILE", 0)
    stored, x = {"w": WEIGHTS, "v": numbers(3, OUT, OUT)}, numbers(2, WIDTH)
    nodes = [*after("", found="z"), helper.make_node("MatMul", ["z", "v"], ["y"])]
    wanted = rounded(tmp_path, nodes, stored)(x)
    apart = write_apart(tmp_path, nodes, stored)
    quantise(apart / "plain.onnx", tmp_path / "copy.onnx")
    shutil.rmtree(apart)
    assert (tmp_path / "copy.onnx.data").stat().st_size >= WEIGHTS.size + 4 * stored["v"].size
    np.testing.assert_array_equal(opened(tmp_path / "copy.onnx")(x), wanted)


def write_apart(folder: Path, nodes: Sequence[Any], stored: dict[str, Any]) -> Path:
    """A folder of a graph whose weights lie beside it."""
    plain, apart = write(folder, nodes, stored), folder / "apart"
    apart.mkdir()
    onnx.save(
        onnx.load(plain),
        apart / "plain.onnx",
        save_as_external_data=True,
        location="plain.onnx.data",
        size_threshold=0,
    )
    return apart


def test_weights_that_lie_beside_the_source_go_into_the_copy(tmp_path: Path) -> None:
    """Also those that are not rounded, which would be looked for where the source was."""
    stored = {"w": WEIGHTS, "v": numbers(3, OUT, OUT)}
    apart = write_apart(tmp_path, [*after("", found="z"), helper.make_node("MatMul", ["z", "v"], ["y"])], stored)
    quantise(apart / "plain.onnx", tmp_path / "rounded.onnx")
    shutil.rmtree(apart)
    assert opened(tmp_path / "rounded.onnx")(numbers(2, WIDTH)).shape == (3, 2, OUT)


TEXTS = ["ab", "a text of a middling length", "x1 y2, " * 5, "", "no 42: this, and that."]


def test_a_texts_vector_is_the_same_alone_and_beside_others_and_nearer_than_with_a_scale_a_pass(
    tmp_path: Path,
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = made_models() / "onnx"
    quantise(source / "model.onnx", tmp_path / "rows.onnx")
    onnx.checker.check_model(tmp_path / "rows.onnx", full_check=True)
    quantize_dynamic(
        source / "model.onnx", tmp_path / "pass.onnx", per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
    )
    encoder = ExportedEncoder(source)
    wanted, errors, moved = encoder.vectors(TEXTS), {}, {}
    for kind in ("rows", "pass"):
        encoder._graphs[""] = open_onnx(tmp_path / f"{kind}.onnx", 1)
        together = np.concatenate([encoder.run_once(TEXTS)])
        alone = np.concatenate([encoder.run_once([text]) for text in TEXTS])
        errors[kind] = float(np.linalg.norm(together - wanted, axis=1).mean())
        moved[kind] = float(np.abs(together - alone).max())
    assert moved["rows"] < 1e-5 < 1e-3 < moved["pass"]
    assert 0 < errors["rows"] < errors["pass"]
