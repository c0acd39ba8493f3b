"""The first module of a model that has a transformer for each bucket of lengths: each text goes through its own.

Needs sentence-transformers 6 and `trust_remote_code=True`. Without, load one of the folders beside this file for the
texts of its bucket: each is an ordinary model. `pick_bucket.py` tells which.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule, Transformer

SOURCE = ("token", "cache_folder", "revision", "local_files_only")
"""What says where files are, among the arguments of `load`."""


class LengthRouter(InputModule):  # type: ignore[misc]
    """Counts the tokens of each text, special tokens in, and runs it through the transformer of its bucket.

    Args:
        buckets: the shortest first; of each, `up_to` tokens, and the `transformer` folder.
        transformers: one a bucket.
        about: whatever else buckets.json says.
    """

    config_file_name = "buckets.json"

    def __init__(self, buckets: list[dict[str, Any]], transformers: list[Any], **about: Any) -> None:
        super().__init__()
        self.buckets, self.about = buckets, about
        self.transformers = torch.nn.ModuleList(transformers)
        for one in transformers:
            one.unpad_inputs = False  # texts packed into one row could not be told apart
        _share(transformers)

    @property
    def first(self) -> Any:
        """The transformer of the shortest texts, whose tokenizer is that of all."""
        return self.transformers[0]

    @property
    def tokenizer(self) -> Any:
        """The one of all buckets."""
        return self.first.tokenizer

    @property
    def processor(self) -> Any:
        """The one of all buckets."""
        return self.first.processor

    @property
    def max_seq_length(self) -> int | None:
        """Tokens at which texts are cut."""
        limit: int | None = self.first.max_seq_length
        return limit

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        self.first.max_seq_length = value

    def get_embedding_dimension(self) -> int:
        """Width of the states."""
        width: int = self.first.get_embedding_dimension()
        return width

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokens of texts, as the transformer makes them."""
        features: dict[str, Any] = self.first.preprocess(inputs, prompt=prompt, **kwargs)
        return features

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """States of all tokens, each text's from its own transformer."""
        mask = features["attention_mask"]
        places = self._places(mask.sum(dim=1))
        states: torch.Tensor | None = None
        for place in sorted(set(places.tolist())):
            rows = (places == place).nonzero()[:, 0]
            columns = mask[rows].any(dim=0).nonzero()[:, 0]  # without what is padding in all of them
            part = {name: _take(value, mask, rows, columns) for name, value in features.items()}
            found = self.transformers[place](part, **kwargs)["token_embeddings"]
            if states is None:
                states = found.new_zeros(*mask.shape, found.shape[-1])
            states[rows[:, None], columns] = found
        return {**features, "token_embeddings": states}

    def _places(self, counts: torch.Tensor) -> torch.Tensor:
        """The bucket of each text."""
        ends = torch.tensor([bucket["up_to"] for bucket in self.buckets], device=counts.device)
        if int(counts.max()) > int(ends[-1]):
            raise ValueError(
                f"The last bucket ends at {int(ends[-1])} tokens, got a text of {int(counts.max())}. Set "
                f"model.max_seq_length to {int(ends[-1])} at most."
            )
        return torch.bucketize(counts, ends)

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the transformers, each into its folder, and buckets.json."""
        held: list[Any] = list(self.transformers)
        for bucket, transformer in zip(self.buckets, held, strict=True):
            place = Path(output_path) / bucket["transformer"]
            place.mkdir(parents=True, exist_ok=True)
            transformer.save(str(place), *args, **kwargs)
        self.save_config(output_path)

    def get_config_dict(self) -> dict[str, Any]:
        """What buckets.json holds."""
        return {**self.about, "buckets": self.buckets}

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", trust_remote_code: bool = False, **kwargs: Any
    ) -> "LengthRouter":
        """Read buckets.json and the transformer of every bucket.

        Code that the transformers' own configs name runs only where buckets.json has a `remote_code` of true, which
        says that whoever wrote the folder had read that code, too.
        """
        if not trust_remote_code:
            raise ValueError(
                f"{model_name_or_path!r} runs code of its own, length_router.py, to pick a checkpoint by the length "
                "of a text. Read it, then load with trust_remote_code=True; or load one of its folders, for the texts "
                "of its bucket alone."
            )
        where = {key: kwargs[key] for key in SOURCE if key in kwargs}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **where)
        trusted = config.get("remote_code") is True  # of the checkpoints themselves; this file is not theirs
        transformers = [
            Transformer.load(
                model_name_or_path, subfolder=bucket["transformer"], trust_remote_code=trusted, **copy.deepcopy(kwargs)
            )
            for bucket in config["buckets"]
        ]
        return cls(**config, transformers=transformers)


def _take(value: Any, mask: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> Any:
    """Some rows and columns of what has an entry a token; anything else as it is."""
    if not isinstance(value, torch.Tensor) or value.shape[:2] != mask.shape:
        return value
    return value[rows][:, columns]


def _share(transformers: list[Any]) -> None:
    """Hold once in memory what all buckets have in common: everything but what forms the logits."""
    held = dict(transformers[0].named_parameters(remove_duplicate=False))
    for other in transformers[1:]:
        for name, module in other.named_modules():
            for key, tensor in module._parameters.items():
                same = held.get(f"{name}.{key}" if name else key)
                if tensor is not None and same is not None and torch.equal(tensor, same):
                    module._parameters[key] = same
