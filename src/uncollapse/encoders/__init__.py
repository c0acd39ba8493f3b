"""Models that turn texts into vectors and say how many tokens they saw."""

from uncollapse.corpora.embedded import Columns as Columns
from uncollapse.encoders.cached import CachedEncoder as CachedEncoder
from uncollapse.encoders.endpoint import Endpoint as Endpoint
from uncollapse.encoders.endpoint import Sending as Sending
from uncollapse.encoders.endpoint import is_url as is_url
from uncollapse.encoders.exported import ExportedEncoder as ExportedEncoder
from uncollapse.encoders.exported import Scorable as Scorable
from uncollapse.encoders.limits import MaxTokens as MaxTokens
from uncollapse.encoders.limits import position_reach as position_reach
from uncollapse.encoders.loading import inside as inside
from uncollapse.encoders.loading import load as load
from uncollapse.encoders.loading import load_model as load_model
from uncollapse.encoders.loading import load_scorable as load_scorable
from uncollapse.encoders.loading import quiet as quiet
from uncollapse.encoders.protocol import TextEncoder as TextEncoder
from uncollapse.encoders.sentence import Prepared as Prepared
from uncollapse.encoders.sentence import Role as Role
from uncollapse.encoders.sentence import SentenceEncoder as SentenceEncoder
from uncollapse.encoders.sources import BUNDLED as BUNDLED
from uncollapse.encoders.sources import WEIGHT_FILES as WEIGHT_FILES
from uncollapse.encoders.sources import find_source as find_source
from uncollapse.encoders.sources import fingerprint as fingerprint
from uncollapse.encoders.states import require_states as require_states
from uncollapse.encoders.vectors import VectorFile as VectorFile
from uncollapse.encoders.vectors import is_vector_file as is_vector_file
