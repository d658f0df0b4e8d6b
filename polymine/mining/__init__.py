"""Mining, stage by stage."""
