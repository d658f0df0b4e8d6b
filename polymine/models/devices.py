"""Says on which devices models can work, and in which dtype."""

from typing import Any

from polymine.data_contracts.errors import ModelError

DTYPES = ("float32", "bfloat16", "float16", "auto")


def visible_devices() -> list[str]:
    """List the devices to work on: every CUDA device this process sees, else the CPU."""
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


def resolve_dtype(dtype: str, device: str) -> str:
    """Turn 'auto' into the fastest dtype that is safe on a device; other dtypes pass through.

    Args:
        dtype: one of DTYPES.
        device: as torch names it.

    Returns:
        For auto bfloat16 where the hardware multiplies it natively (CUDA from Ampere on, x86 with
        AVX512-BF16 or AMX), else float32: emulated bfloat16 is slower and less exact.

    Raises:
        ModelError: there is no such dtype.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(
            f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}. 'auto' suits most."
        )
    if dtype != "auto":
        return dtype
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if torch.device(device).type == "cpu":
        features = torch.cpu.get_capabilities()
        native = features.get("avx512_bf16") or features.get("amx_bf16")
        return "bfloat16" if native else "float32"
    return "float32"


def torch_dtype(dtype: str, device: str) -> Any:
    """Return the `torch.dtype` that `resolve_dtype` names."""
    import torch

    return getattr(torch, resolve_dtype(dtype, device))
