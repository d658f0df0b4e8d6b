"""The `polymine` command line."""
