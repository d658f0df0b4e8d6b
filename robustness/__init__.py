"""Proofs that nothing is lost: faults, bad input, services as plain processes, pictures of runs."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
