"""Says on which devices models can work, and in which dtype."""

from typing import Any

from polymine.data_contracts.errors import ModelError

DTYPES = ("float32", "bfloat16", "float16")


def visible_devices() -> list[str]:
    """List the devices to work on: every CUDA device this process sees, else the CPU."""
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


def has_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 itself: emulated it is slower and less exact.

    Args:
        device: as torch names it. CUDA does from Ampere on, x86 with AVX512-BF16 or AMX.
    """
    import torch

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.device(device).type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return False


def torch_dtype(dtype: str) -> Any:
    """Return the `torch.dtype` of a name.

    Raises:
        ModelError: it is none of DTYPES.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    return getattr(torch, dtype)
