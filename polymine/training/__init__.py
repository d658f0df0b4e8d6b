"""Trains what Polymine's stages use."""
