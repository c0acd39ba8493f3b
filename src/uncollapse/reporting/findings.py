"""The verdict in its groups."""

from collections.abc import Mapping
from itertools import accumulate

from uncollapse.records import Finding, Result


def find_groups(result: Result) -> dict[str, tuple[Finding, ...]]:
    """The findings under the headings that `about["verdict_groups"]` counts out; empty where the counts do not fit.

    >>> some = tuple(Finding(title, "One.") for title in "abc")
    >>> result = Result(verdict=some, about={"verdict_groups": {"First": 1, "Then": 2}})
    >>> [(heading, len(found)) for heading, found in find_groups(result).items()]
    [('First', 1), ('Then', 2)]
    """
    sizes = result.about.get("verdict_groups")
    if not isinstance(sizes, Mapping) or not all(isinstance(n, int) and n >= 0 for n in sizes.values()):
        return {}
    if sum(sizes.values()) != len(result.verdict):
        return {}
    ends = accumulate(sizes.values())
    return {str(name): result.verdict[end - size : end] for (name, size), end in zip(sizes.items(), ends, strict=True)}
