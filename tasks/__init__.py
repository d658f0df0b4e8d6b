"""One module per stage: read and check, call the core, check and write."""
