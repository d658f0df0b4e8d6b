"""Batch-invariant linear layers: on a CPU, the other rows change no bit of a row's result.

The libraries behind a matrix product choose the order of its sums by the number of rows: in float32
a row's last bits depend on how many others there are when they are fewer than 16, and those of a
product with a vector always do. The heads of encoders see one row per text, so a text or pair
scored alone, or in another shard, would differ from the same one in a full batch. Not solved:
bfloat16 on AMX units, where that holds up to several hundred rows (docs/LOG.md).

Importing this module imports torch.
"""

import torch

LEAST_ROWS = 64  # of a product; 16 would do for what was measured


def make_batch_invariant(model: torch.nn.Module) -> None:
    """Make the plain linear layers of a model batch-invariant, in place; their weights stay.

    Args:
        model: for a CPU. Layers that its own code replaces or multiplies by hand are left alone.
    """
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = BatchInvariantLinear


class BatchInvariantLinear(torch.nn.Linear):
    """A linear layer that a plain one becomes by changing its class; pickled by its name."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply rows, repeated until they are enough that their number changes no bit.

        Args:
            input: (..., in_features); at least 64 rows are multiplied as they are.

        Returns:
            (..., out_features) in the input's dtype; with a single output, summed in float32.
        """
        if self.out_features == 1:
            product = (input.float() * self.weight[0].float()).sum(-1, keepdim=True)
            product = product if self.bias is None else product + self.bias.float()
            return product.to(input.dtype)  # rounded once, as a plain layer does
        rows = input.reshape(-1, input.shape[-1])
        if not 0 < len(rows) < LEAST_ROWS:
            return super().forward(input)
        filled = rows.repeat(-(-LEAST_ROWS // len(rows)), 1)
        product = super().forward(filled)[: len(rows)]
        return product.reshape(*input.shape[:-1], self.out_features)
