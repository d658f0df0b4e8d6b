"""Measures what training did, and guards what is measured from what was trained on."""
