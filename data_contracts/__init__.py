"""What travels between the stages: table schemas, references, manifests, settings, errors."""
