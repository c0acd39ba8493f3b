"""What is cut off before a model reads it: tokens lost at every limit, by length, by source and by server."""

from uncollapse.diagnosis.audit.counting import BEGINNING as BEGINNING
from uncollapse.diagnosis.audit.counting import MOST_TEXTS as MOST_TEXTS
from uncollapse.diagnosis.audit.counting import Audit as Audit
from uncollapse.diagnosis.audit.counting import CutText as CutText
from uncollapse.diagnosis.audit.counting import Limits as Limits
from uncollapse.diagnosis.audit.counting import Sums as Sums
from uncollapse.diagnosis.audit.counting import lost_beginning as lost_beginning
from uncollapse.diagnosis.audit.findings import HARMFUL as HARMFUL
from uncollapse.diagnosis.audit.losses import OTHER_SOURCES as OTHER_SOURCES
from uncollapse.diagnosis.audit.losses import limit_to_hold as limit_to_hold
from uncollapse.diagnosis.audit.measurement import measure_audit as measure_audit
from uncollapse.diagnosis.audit.servers import SERVERS as SERVERS
