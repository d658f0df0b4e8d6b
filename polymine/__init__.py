"""Hard negatives for semantic search: mined by several teachers, cleaned of false ones."""
