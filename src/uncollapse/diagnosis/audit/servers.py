"""What servers and libraries do with too long a text."""

from typing import NamedTuple


class Server(NamedTuple):
    """What a way of serving a model does with too long a text unless told otherwise.

    Args:
        server: its name, with the version where that matters.
        cuts: True where the end is cut off and an ordinary vector comes back, False where the text is refused.
        default: the same in words.
        advice: how to change it, or what to do before.
        address: where it is documented; docs/truncation.md says more.
    """

    server: str
    cuts: bool
    default: str
    advice: str
    address: str


_GITHUB = "https://github.com"
SERVERS = (
    Server("sentence-transformers", True, "cuts at max_seq_length and says nothing", "count tokens before",
           f"{_GITHUB}/huggingface/sentence-transformers/issues/4060"),
    Server("text-embeddings-inference 1.9", True, "cuts", "start it with --auto-truncate false",
           f"{_GITHUB}/huggingface/text-embeddings-inference/blob/main/docs/source/en/cli_arguments.md"),
    Server("text-embeddings-inference up to 1.8", False, "refuses", "cut texts into pieces before",
           f"{_GITHUB}/huggingface/text-embeddings-inference/issues/356"),
    Server("vLLM /v1/embeddings", False, "refuses", "cut texts into pieces before",
           f"{_GITHUB}/vllm-project/vllm/issues/19798"),
    Server("vLLM /v2/embed", True, "cuts the end", "ask with truncate NONE",
           f"{_GITHUB}/vllm-project/vllm/blob/main/docs/models/pooling_models/embed.md"),
    Server("Ollama /api/embed", True, "cuts; some versions refuse all the same", "ask with truncate false",
           f"{_GITHUB}/ollama/ollama/blob/main/docs/api.md"),
    Server("Infinity", True, "cuts at the limit of the tokenizer", "count tokens before",
           f"{_GITHUB}/michaelfeil/infinity/issues/561"),
    Server("fastembed", True, "cuts at a limit of its own, which may be below the model's", "count tokens before",
           f"{_GITHUB}/qdrant/fastembed/issues/689"),
    Server("llama.cpp llama-server", False, "refuses beyond 512 tokens", "raise --ubatch-size to the model's limit",
           f"{_GITHUB}/ggml-org/llama.cpp/pull/7389"),
    Server("OpenAI API", False, "refuses beyond 8,192 tokens of its own models", "cut texts into pieces before",
           "https://cookbook.openai.com/examples/embedding_long_inputs"),
)  # fmt: skip
"""What public documentation and issues say; docs/truncation.md has the dates and the doubts."""
