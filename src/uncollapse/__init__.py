"""Find out whether an embedding model pulls long texts together, why, and fix it in the weights."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from uncollapse.attention.folding import fold as fold
    from uncollapse.attention.patching import patch as patch
    from uncollapse.attention.temperature import Temperature as Temperature
    from uncollapse.attention.verification import verify as verify
    from uncollapse.bucketing.folders import export_buckets as export_buckets
    from uncollapse.checkpoints import fix as fix
    from uncollapse.corpora import open_corpus as open_corpus
    from uncollapse.covering.folder import export_long_texts as export_long_texts
    from uncollapse.diagnosis.settings import Settings as Settings
    from uncollapse.diagnosis.study import diagnose as diagnose
    from uncollapse.embedding import embed as embed
    from uncollapse.encoders import load as load
    from uncollapse.errors import UncollapseError as UncollapseError
    from uncollapse.evaluation.reading.layouts import open_tasks as open_tasks
    from uncollapse.evaluation.trial import evaluate as evaluate
    from uncollapse.explanation.study import explain as explain
    from uncollapse.exporting.folder import export as export
    from uncollapse.fixes import parse as parse
    from uncollapse.measures import MEASURES as MEASURES
    from uncollapse.pipelines.automatic import choose as choose
    from uncollapse.pipelines.reading import read_unlabelled as read_unlabelled
    from uncollapse.records import Result as Result
    from uncollapse.reporting import write_report as write_report
    from uncollapse.stores.folder import store as store
    from uncollapse.tuning.race import compare as compare
    from uncollapse.tuning.tune import tune as tune

_HOMES = {
    "MEASURES": "measures",
    "Result": "records",
    "Settings": "diagnosis.settings",
    "Temperature": "attention.temperature",
    "UncollapseError": "errors",
    "choose": "pipelines.automatic",
    "compare": "tuning.race",
    "diagnose": "diagnosis.study",
    "embed": "embedding",
    "evaluate": "evaluation.trial",
    "explain": "explanation.study",
    "export": "exporting.folder",
    "export_buckets": "bucketing.folders",
    "export_long_texts": "covering.folder",
    "fix": "checkpoints",
    "fold": "attention.folding",
    "load": "encoders",
    "open_corpus": "corpora",
    "open_tasks": "evaluation.reading",
    "parse": "fixes",
    "patch": "attention.patching",
    "read_unlabelled": "pipelines.reading",
    "store": "stores.folder",
    "tune": "tuning.tune",
    "verify": "attention.verification",
    "write_report": "reporting",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - names, from the table


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import uncollapse` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uncollapse' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(importlib.import_module(f"uncollapse.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
