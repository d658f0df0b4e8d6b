"""Finds pickles that could run code, by what files hold and not by what they are called."""

import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from transformers.trainer_pt_utils import safe_globals

# Protocol 4 and 5 begin with these two opcodes and a length; found within other files as well.
_FRAME = re.compile(rb"\x80[\x04\x05]\x95.{4}\0\0\0\0", re.DOTALL)
_NAMES = {".pkl", ".pickle", ".ckpt", ".joblib"}
_TORCH = {".pt", ".pth"}  # torch.load(weights_only=True) reads tensors and plain values alone


def find_pickles(*folders: Path) -> list[str]:
    """Name the files below that are a pickle, hold one, or are an archive of some.

    What `torch.load(weights_only=True)` reads, as the trainer does, can run no code.
    """
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files, "nothing was written, so nothing was looked at"
    return [str(path) for path in files if _is_pickle(path)]


def _is_pickle(path: Path) -> bool:
    if path.suffix in _TORCH:
        return _is_refused(path)
    content = path.read_bytes()
    if path.suffix == ".npy":  # numbers, unless they are Python objects
        return _holds_objects(path)
    if path.suffix in _NAMES or _FRAME.search(content):
        return True
    if zipfile.is_zipfile(path):
        return any(Path(name).suffix in _NAMES for name in zipfile.ZipFile(path).namelist())
    return len(content) > 1 and _parses(content)


def _is_refused(path: Path) -> bool:
    with safe_globals():  # NumPy's arrays of numbers, in the RNG state
        try:
            torch.load(path, weights_only=True)
        except UnpicklingError:
            return True
    return False


def _holds_objects(path: Path) -> bool:
    try:
        np.load(path, allow_pickle=False)
    except ValueError:
        return True
    return False


def _parses(content: bytes) -> bool:
    try:
        return sum(1 for _ in pickletools.genops(content)) > 1
    except Exception:
        return False
