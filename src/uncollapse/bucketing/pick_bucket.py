"""Which of the folders beside this file a text belongs to, by its number of tokens: for servers, one a folder.

    python pick_bucket.py "a text"

Needs `tokenizers` to count, and nothing else. Put the prompt before a text, if the model has one, and count then.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def buckets(place: Path = HERE) -> list[dict[str, Any]]:
    """What buckets.json says: `up_to` tokens, and the `folder` of such texts; the shortest first."""
    found: list[dict[str, Any]] = json.loads((place / "buckets.json").read_text(encoding="utf-8"))["buckets"]
    return found


def count(text: str, place: Path = HERE) -> int:
    """Tokens of a text, special tokens in, as far as the model reads."""
    from tokenizers import Tokenizer

    found = buckets(place)
    tokenizer = Tokenizer.from_file(str(place / found[0]["transformer"] / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(found[-1]["up_to"])
    return len(tokenizer.encode(text))


def pick(n_tokens: int, place: Path = HERE) -> str:
    """The folder of texts of so many tokens."""
    for bucket in buckets(place):
        if n_tokens <= bucket["up_to"]:
            return str(bucket["folder"])
    raise ValueError(f"The longest texts have {bucket['up_to']} tokens, got {n_tokens}. Cut the text off there.")


if __name__ == "__main__":
    print(pick(count(sys.argv[1])))
