"""How closely numbers must agree, by the dtype they were computed in. Looser needs a comment where it is used."""

import numpy as np
import numpy.typing as npt

FLOAT64 = 1e-10
FLOAT32 = 1e-5
ACCELERATOR = 1e-3
HALF = 1e-2


def assert_close(actual: npt.ArrayLike, expected: npt.ArrayLike, tolerance: float = FLOAT64) -> None:
    """Every entry within `tolerance`, absolutely or relative to the expected one; NaN only where expected."""
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
