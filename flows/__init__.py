"""Prefect flows: the order of the stages, one flow per file."""
