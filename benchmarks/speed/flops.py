"""What a model's work is in FLOPs, and what a GPU could do at best."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Dense bf16 TFLOP/s with float32 accumulation, by words of the device's name, the first that has
# all of them. From NVIDIA's data sheets of each (where they print the figure with sparsity, half of
# it): H200, H100 (SXM, PCIe, NVL), HGX B200, A100, L40S, L4, A10; RTX 4090 and 3090 from the
# appendices of the Ada and Ampere GA102 whitepapers.
PEAKS = (
    (("B200",), 2250.0), (("GH200",), 989.4), (("H200", "NVL"), 835.5), (("H200",), 989.4),
    (("H100", "PCIe"), 756.5), (("H100", "NVL"), 835.5), (("H100",), 989.4), (("A100",), 312.0),
    (("L40S",), 362.1), (("L4",), 121.0), (("A10",), 125.0), (("4090",), 165.2), (("3090",), 71.0),
)  # fmt: skip


def find_peak(name: str) -> float | None:
    """Dense bf16 TFLOP/s of a device by the name CUDA gives it; None if the table lacks it."""
    words = set(name.replace("-", " ").split())
    return next((peak for all_of, peak in PEAKS if words.issuperset(all_of)), None)


def count_flops(encoder: Any, *, learning: bool = True) -> int:
    """Count the model FLOPs of one token, in the linear layers, as autograd would do them.

    A layer of n weights costs 2n forward, 2n backward if its input needs a gradient and 2n if its
    weights do. All weights learning, that is 6n; with LoRA about 4n, since frozen weights get no
    gradient, and the first layer's queries, keys and values pass none on. Attention itself, norms
    and activations are left out, and so is the second forward of gradient caching: that is
    recomputation, no work of the model (PaLM, arXiv 2204.02311, appendix B). A pooler sees one
    token of a text and its output is not read; it is left out, too.
    """
    import torch

    total = 0

    def count(layer: torch.nn.Linear, inputs: Sequence[torch.Tensor], _: Any) -> None:
        nonlocal total
        if inputs[0].dim() == 3:  # (texts, tokens, components): what every token passes
            gradients = int(inputs[0].requires_grad) + int(layer.weight.requires_grad)
            total += 2 * layer.weight.numel() * (1 + learning * gradients)

    with torch.set_grad_enabled(learning), _hooks(encoder, count):
        features = encoder.preprocess(["one text"])
        encoder({k: v.to(encoder.device) if hasattr(v, "to") else v for k, v in features.items()})
    return total


@contextmanager
def _hooks(encoder: Any, hook: Any) -> Iterator[None]:
    import torch

    linear = [module for module in encoder.modules() if isinstance(module, torch.nn.Linear)]
    handles = [module.register_forward_hook(hook) for module in linear]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
