"""Look inside a model while it runs: its attention logits and its residual stream, one layer at a time."""

from uncollapse.attention.observing.heads import Heads as Heads
from uncollapse.attention.observing.heads import Logits as Logits
from uncollapse.attention.observing.heads import upcast as upcast
from uncollapse.attention.observing.observation import Support as Support
from uncollapse.attention.observing.observation import find_support as find_support
from uncollapse.attention.observing.observation import observe as observe
from uncollapse.attention.observing.states import States as States
