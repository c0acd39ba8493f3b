"""mteb both ways: our encoders and tasks as mteb's, and mteb's tasks as ours. The only place that imports mteb."""

from uncollapse.evaluation.mteb.models import MtebModel as MtebModel
from uncollapse.evaluation.mteb.models import as_mteb_model as as_mteb_model
from uncollapse.evaluation.mteb.models import run_mteb as run_mteb
from uncollapse.evaluation.mteb.sources import from_mteb as from_mteb
from uncollapse.evaluation.mteb.tasks import as_mteb_task as as_mteb_task
