"""Models behind a URL that speaks the `/v1/embeddings` protocol of OpenAI."""
