"""Find out whether an embedding model pulls long texts together, why, and fix it in the weights."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from uncollapse.attention.calibration import Calibration as Calibration
    from uncollapse.attention.folding import fold as fold
    from uncollapse.attention.highpass import AttnScale as AttnScale
    from uncollapse.attention.highpass import FeatScale as FeatScale
    from uncollapse.attention.highpass import IdentityMix as IdentityMix
    from uncollapse.attention.highpass import LocalGlobal as LocalGlobal
    from uncollapse.attention.laws import TemperatureLaw as TemperatureLaw
    from uncollapse.attention.patching import patch as patch
    from uncollapse.attention.positions import Positions as Positions
    from uncollapse.attention.positions import Rope as Rope
    from uncollapse.attention.positions import SelfExtend as SelfExtend
    from uncollapse.attention.temperature import Temperature as Temperature
    from uncollapse.attention.verification import verify as verify
    from uncollapse.bucketing.folders import export_buckets as export_buckets
    from uncollapse.checkpoints import fix as fix
    from uncollapse.corpora import open_corpus as open_corpus
    from uncollapse.corpora.texts import Corpus as Corpus
    from uncollapse.covering.folder import export_long_texts as export_long_texts
    from uncollapse.diagnosis.profiling import TextSink as TextSink
    from uncollapse.diagnosis.profiling import TextSource as TextSource
    from uncollapse.diagnosis.settings import Settings as Settings
    from uncollapse.diagnosis.study import diagnose as diagnose
    from uncollapse.embedding import Layout as Layout
    from uncollapse.embedding import embed as embed
    from uncollapse.encoders import load as load
    from uncollapse.encoders.exported import ExportedEncoder as ExportedEncoder
    from uncollapse.encoders.protocol import TextEncoder as TextEncoder
    from uncollapse.encoders.sentence import SentenceEncoder as SentenceEncoder
    from uncollapse.errors import UncollapseError as UncollapseError
    from uncollapse.evaluation.comparison import Plan as Plan
    from uncollapse.evaluation.reading.layouts import open_tasks as open_tasks
    from uncollapse.evaluation.tasks import Classification as Classification
    from uncollapse.evaluation.tasks import Clustering as Clustering
    from uncollapse.evaluation.tasks import PairClassification as PairClassification
    from uncollapse.evaluation.tasks import Retrieval as Retrieval
    from uncollapse.evaluation.tasks import Similarity as Similarity
    from uncollapse.evaluation.tasks import SummaryEvaluation as SummaryEvaluation
    from uncollapse.evaluation.trial import Sink as Sink
    from uncollapse.evaluation.trial import evaluate as evaluate
    from uncollapse.explanation.settings import Settings as _ExplainSettings
    from uncollapse.explanation.study import HeadSink as HeadSink
    from uncollapse.explanation.study import explain as explain
    from uncollapse.exporting.folder import export as export
    from uncollapse.fixes import Fix as Fix
    from uncollapse.fixes import parse as parse
    from uncollapse.measures import MEASURES as MEASURES
    from uncollapse.pipelines.automatic import Chosen as Chosen
    from uncollapse.pipelines.automatic import choose as choose
    from uncollapse.pipelines.encoder import encode as encode
    from uncollapse.pipelines.fitting import Unlabelled as Unlabelled
    from uncollapse.pipelines.reading import read_unlabelled as read_unlabelled
    from uncollapse.progress import Reporter as Reporter
    from uncollapse.records import Result as Result
    from uncollapse.reporting import write_report as write_report
    from uncollapse.searching import search as search
    from uncollapse.stores.folder import Plan as _StorePlan
    from uncollapse.stores.folder import store as store
    from uncollapse.tuning.contenders import Contender as Contender
    from uncollapse.tuning.race import compare as compare
    from uncollapse.tuning.rules import Rules as Rules
    from uncollapse.tuning.tune import tune as tune

    ExplainSettings = _ExplainSettings
    StorePlan = _StorePlan

_HOMES = {
    "AttnScale": "attention.highpass",
    "Calibration": "attention.calibration",
    "Chosen": "pipelines.automatic",
    "Classification": "evaluation.tasks",
    "Clustering": "evaluation.tasks",
    "Contender": "tuning.contenders",
    "Corpus": "corpora.texts",
    "ExplainSettings": "explanation.settings:Settings",
    "ExportedEncoder": "encoders.exported",
    "FeatScale": "attention.highpass",
    "Fix": "fixes",
    "HeadSink": "explanation.study",
    "IdentityMix": "attention.highpass",
    "Layout": "embedding",
    "LocalGlobal": "attention.highpass",
    "MEASURES": "measures",
    "PairClassification": "evaluation.tasks",
    "Plan": "evaluation.comparison",
    "Positions": "attention.positions",
    "Reporter": "progress",
    "Result": "records",
    "Retrieval": "evaluation.tasks",
    "Rope": "attention.positions",
    "Rules": "tuning.rules",
    "SelfExtend": "attention.positions",
    "SentenceEncoder": "encoders.sentence",
    "Settings": "diagnosis.settings",
    "Similarity": "evaluation.tasks",
    "Sink": "evaluation.trial",
    "StorePlan": "stores.folder:Plan",
    "SummaryEvaluation": "evaluation.tasks",
    "Temperature": "attention.temperature",
    "TemperatureLaw": "attention.laws",
    "TextEncoder": "encoders.protocol",
    "TextSink": "diagnosis.profiling",
    "TextSource": "diagnosis.profiling",
    "UncollapseError": "errors",
    "Unlabelled": "pipelines.fitting",
    "choose": "pipelines.automatic",
    "compare": "tuning.race",
    "diagnose": "diagnosis.study",
    "embed": "embedding",
    "encode": "pipelines.encoder",
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
    "search": "searching",
    "store": "stores.folder",
    "tune": "tuning.tune",
    "verify": "attention.verification",
    "write_report": "reporting",
}
"""Where each public name lives, and after a colon what it is called there, if that is another name."""

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - names, from the table


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import uncollapse` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uncollapse' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    home, _, there = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"uncollapse.{home}"), there or name)


def __dir__() -> list[str]:
    return sorted(__all__)
