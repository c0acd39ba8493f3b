"""The temperatures that were solved for, as values that `fix`, `patch` and `fold` take."""

from typing import Any

from uncollapse.attention.temperature import Temperature
from uncollapse.explanation.solving import HIGHEST, KEPT, LOWEST
from uncollapse.records import Result


def solved_temperatures(result: Result) -> dict[str, Any]:
    """For each measure kept and each length, one temperature a layer and head, as `Temperature.to_json` gives it.

    A head that no temperature keeps has 1 and is named in "unreached".

    >>> solved_temperatures(Result(about={"explanation": {}}))
    {}
    """
    about = result.about["explanation"]
    found = {measure: _by_length(result, measure) for measure in KEPT}
    if not any(found.values()):
        return {}
    return {
        "schema": "uncollapse.temperatures/1",
        "model": result.about.get("model", {}).get("name"),
        "n0": about["n0"],
        "range": [LOWEST, HIGHEST],
        "keeps": {measure: by_length for measure, by_length in found.items() if by_length},
    }


def _by_length(result: Result, measure: str) -> dict[str, Any]:
    about = result.about["explanation"]
    lengths = dict.fromkeys(row.bin for row in result.select(measure="solved_tau", view=f"keeps {measure}"))
    return {n: _at(result, measure, n, about["layers"], about["heads"]) for n in lengths}


def _at(result: Result, measure: str, n: str, layers: int, heads: int) -> dict[str, Any]:
    rows = result.select(measure="solved_tau", view=f"keeps {measure}", bin=n)
    taus = {(row.layer, row.head): round(row.value, 4) for row in rows}
    grid = [[taus.get((layer, head), 1.0) for head in range(heads)] for layer in range(layers)]
    missing = [[layer, head] for layer in range(layers) for head in range(heads) if (layer, head) not in taus]
    return {"temperature": Temperature(grid).to_json(), "unreached": missing}
