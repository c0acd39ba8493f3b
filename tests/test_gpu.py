"""Fixes on a graphics card, where there is one; and the benchmark for it, small, where there is none."""

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from architectures import build
from uncollapse import fold, patch
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.temperature import Temperature

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card that this torch can use")
LENGTHS = [3, 17, 40]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    file = Path(__file__).parent.parent / "benchmarks/gpu.py"
    spec = importlib.util.spec_from_file_location("gpu_benchmark", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_runs_small_on_the_processor(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["--tiny"])
    printed = capsys.readouterr().out
    assert "no measurement" in printed
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith(("| Mod", "| Qwen", "| BERT"))]
    assert {row[0].removeprefix("| ") for row in rows} == {"ModernBERT-base", "Qwen3-0.6B", "BERT-large"}
    assert [row[4] for row in rows[:4]] == ["as it is", "again (noise)", "folded", "tau(n)"]
    assert sum(row[4] == "observed" for row in rows) == 3
    assert all(row[6] == "1.000 [1.000, 1.000]" for row in rows if row[4] == "as it is")
    assert all(float(row[5]) > 0 for row in rows)


def test_the_benchmark_times_passes_of_a_patched_model_and_not_the_patching(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched: list[torch.nn.Module] = []

    def counted(model, fix):
        patched.append(model)
        return patch(model, fix)

    monkeypatch.setattr(benchmark, "patch", counted)
    monkeypatch.setattr(benchmark, "run_observed", lambda *_: {"as it is": [1.0]})
    benchmark.main(["--tiny"])
    assert len(patched) == 3 * 2  # once for each model and length, however many rounds


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
def test_the_benchmark_says_that_there_is_no_graphics_card(benchmark: ModuleType) -> None:
    with pytest.raises(SystemExit, match="There is no graphics card here .* nothing was measured. --tiny"):
        benchmark.main([])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["bert", "modernbert", "qwen3"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_fixes_on_a_device_are_those_of_the_processor_in_float32(device: str, name: str, dtype: torch.dtype) -> None:
    """To rounding in 32 bits. In half precision rounding grows with every layer, so the fix itself is the measure."""
    stock = build(name, dtype=torch.float32)
    stock.set_attn_implementation("sdpa")
    there = copy.deepcopy(stock).to(device, dtype)
    ids = torch.randint(5, 90, (3, max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * n + [0] * (max(LENGTHS) - n) for n in LENGTHS])

    def states(model: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            place = next(model.parameters()).device
            found = model(input_ids=ids.to(place), attention_mask=mask.to(place)).last_hidden_state
        return found.float().cpu()[mask.bool()]  # what stands at padding is nobody's business, and may be NaN

    plain = states(stock)
    for fix in (Temperature(0.5), TemperatureLaw("log", n0=8)):
        with patch(stock, fix):
            wanted = states(stock)
        effect = float((wanted - plain).norm())
        allowed = 1e-3 * effect if dtype == torch.float32 else 0.3 * effect
        with patch(there, fix):
            assert float((states(there) - wanted).norm()) <= allowed
        assert float((states(there) - plain).norm()) <= allowed, "the patch is gone, or was never seen"
        if isinstance(fix, Temperature):
            folded = copy.deepcopy(there)
            fold(folded, fix)
            assert float((states(folded) - wanted).norm()) <= allowed
