"""A module of a sentence-transformers model that is our own, kept as the library keeps its own."""

from __future__ import annotations

from typing import Any, Self

from sentence_transformers.base.modules.module import Module


class StoredModule(Module):
    """Its `config_keys` name what `__init__` takes; weights and buffers lie beside them."""

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **_: Any) -> None:
        """Write config.json and model.safetensors into a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(  # type: ignore[override]  # what is not used here has no name
        cls, model_name_or_path: str, subfolder: str = "", **options: Any
    ) -> Self:
        """Read what `save` wrote; arguments are those of sentence-transformers' modules."""
        names = ("token", "cache_folder", "revision", "local_files_only")
        place: dict[str, Any] = {name: options[name] for name in names if name in options}
        place["subfolder"] = subfolder
        module = cls(**cls.load_config(model_name_or_path, **place))
        cls.load_torch_weights(model_name_or_path, model=module, **place)
        return module
