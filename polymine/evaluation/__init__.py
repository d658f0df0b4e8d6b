"""Measures models: what is relevant to what, rankings, numbers and their intervals."""
