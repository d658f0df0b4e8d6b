"""The state of optimizer, schedule and chance in a checkpoint, as safetensors and JSON.

The library writes it by torch.save, which is a pickle: reading one can run code, and a store that
several machines write is no place for that. Tensors go into a safetensors file under their path in
the state, all else into JSON; floats keep every bit in both.
"""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

TENSORS, PLAIN, CHANCE = "optimizer.safetensors", "optimizer.json", "chance.json"


def write_optimizer(folder: Path, optimizer: Any, schedule: Any) -> None:
    """Write what an optimizer and its schedule have come to."""
    from safetensors.torch import save_file

    held = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    state: dict[str, dict[str, Any]] = {}
    for parameter, values in held["state"].items():
        state[str(parameter)] = {}
        for name, value in values.items():
            if hasattr(value, "untyped_storage"):
                tensors[f"{parameter}/{name}"] = value.detach().cpu().contiguous().clone()
            else:
                state[str(parameter)][name] = value
    plain = {"state": state, "groups": held["param_groups"], "schedule": schedule.state_dict()}
    save_file(tensors, str(folder / TENSORS))
    (folder / PLAIN).write_text(json.dumps(plain), encoding="utf-8")


def read_optimizer(folder: Path, optimizer: Any, schedule: Any) -> None:
    """Bring an optimizer and its schedule to what `write_optimizer` wrote."""
    from safetensors.torch import load_file

    plain = json.loads((folder / PLAIN).read_text(encoding="utf-8"))
    state = {int(parameter): values for parameter, values in plain["state"].items()}
    for place, tensor in load_file(str(folder / TENSORS)).items():
        parameter, _, name = place.partition("/")
        state[int(parameter)][name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
    schedule.load_state_dict(plain["schedule"])


def write_chance(folder: Path) -> None:
    """Write where the random numbers of Python, NumPy and torch stand."""
    import torch

    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "cpu": _hexadecimal(torch.random.get_rng_state()),
    }
    if torch.cuda.is_available():
        states["cuda"] = _hexadecimal(torch.cuda.random.get_rng_state())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHANCE).write_text(json.dumps(states), encoding="utf-8")


def read_chance(folder: Path) -> None:
    """Let random numbers go on where `write_chance` left them."""
    import torch

    states = json.loads((folder / CHANCE).read_text(encoding="utf-8"))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *others = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *others))
    torch.random.set_rng_state(_tensor(states["cpu"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.random.set_rng_state(_tensor(states["cuda"]))


def _hexadecimal(state: "torch.Tensor") -> str:
    return bytes(state.cpu().numpy()).hex()


def _tensor(text: str) -> "torch.Tensor":
    import torch

    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
