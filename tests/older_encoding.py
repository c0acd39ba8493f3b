"""Encodes texts with whatever sentence-transformers is installed beside the Python that runs this.

    OTHER_PYTHON tests/older_encoding.py TEXTS.json OUT FOLDER...

Prints its version. Writes OUT/NAME.npz for each folder, or what went wrong into OUT/NAME.txt. Where a model has no
encode_query, only plain vectors are written.
"""

import json
import sys
from pathlib import Path

import numpy as np
import sentence_transformers


def encode(folder: Path, texts: list[str]) -> dict[str, object]:
    code = (folder / "long_texts.py").exists()
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", trust_remote_code=code)
    found = {"text": model.encode(texts)}
    for role in ("document", "query"):
        if hasattr(model, f"encode_{role}"):
            found[role] = getattr(model, f"encode_{role}")(texts)
    return found


def main(texts: Path, out: Path, *folders: Path) -> None:
    print(sentence_transformers.__version__, flush=True)
    given = json.loads(texts.read_text(encoding="utf-8"))
    for folder in folders:
        try:
            np.savez(out / f"{folder.name}.npz", **encode(folder, given))
        except Exception as error:
            (out / f"{folder.name}.txt").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
