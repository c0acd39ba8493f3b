"""Models behind a URL that speaks the `/v1/embeddings` protocol of OpenAI."""

from uncollapse.encoders.endpoint.addresses import is_url as is_url
from uncollapse.encoders.endpoint.exchange import Sending as Sending
from uncollapse.encoders.endpoint.model import Endpoint as Endpoint
