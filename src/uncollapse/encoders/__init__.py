"""Models that turn texts into vectors and say how many tokens they saw."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uncollapse.corpora.embedded import Columns as Columns
    from uncollapse.corpora.shards import is_vector_file as is_vector_file
    from uncollapse.encoders.cached import CachedEncoder as CachedEncoder
    from uncollapse.encoders.endpoint.addresses import is_url as is_url
    from uncollapse.encoders.endpoint.exchange import Sending as Sending
    from uncollapse.encoders.endpoint.model import Endpoint as Endpoint
    from uncollapse.encoders.exported import ExportedEncoder as ExportedEncoder
    from uncollapse.encoders.exported import Scorable as Scorable
    from uncollapse.encoders.limits import MaxTokens as MaxTokens
    from uncollapse.encoders.limits import position_reach as position_reach
    from uncollapse.encoders.loading import Dtype as Dtype
    from uncollapse.encoders.loading import inside as inside
    from uncollapse.encoders.loading import load as load
    from uncollapse.encoders.loading import load_model as load_model
    from uncollapse.encoders.loading import load_scorable as load_scorable
    from uncollapse.encoders.loading import quiet as quiet
    from uncollapse.encoders.protocol import TextEncoder as TextEncoder
    from uncollapse.encoders.reading import applied as applied
    from uncollapse.encoders.reading import limit_note as limit_note
    from uncollapse.encoders.reading import limit_under as limit_under
    from uncollapse.encoders.reading import reading_under as reading_under
    from uncollapse.encoders.sentence import Prepared as Prepared
    from uncollapse.encoders.sentence import Role as Role
    from uncollapse.encoders.sentence import SentenceEncoder as SentenceEncoder
    from uncollapse.encoders.sources import BUNDLED as BUNDLED
    from uncollapse.encoders.sources import WEIGHT_FILES as WEIGHT_FILES
    from uncollapse.encoders.sources import check_source as check_source
    from uncollapse.encoders.sources import find_source as find_source
    from uncollapse.encoders.sources import fingerprint as fingerprint
    from uncollapse.encoders.states import require_states as require_states
    from uncollapse.encoders.vectors import VectorFile as VectorFile

_NAMES = {
    "cached": ("CachedEncoder",),
    "endpoint.addresses": ("is_url",),
    "endpoint.exchange": ("Sending",),
    "endpoint.model": ("Endpoint",),
    "exported": ("ExportedEncoder", "Scorable"),
    "limits": ("MaxTokens", "position_reach"),
    "loading": ("Dtype", "inside", "load", "load_model", "load_scorable", "quiet"),
    "protocol": ("TextEncoder",),
    "reading": ("applied", "limit_note", "limit_under", "reading_under"),
    "sentence": ("Prepared", "Role", "SentenceEncoder"),
    "sources": ("BUNDLED", "WEIGHT_FILES", "check_source", "find_source", "fingerprint", "is_vector_file"),
    "states": ("require_states",),
    "vectors": ("Columns", "VectorFile"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: whoever only asks where a model lies need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uncollapse.encoders' has no attribute {name!r}")
    return getattr(importlib.import_module(f"uncollapse.encoders.{_HOMES[name]}"), name)
