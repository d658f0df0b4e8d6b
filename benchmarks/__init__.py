"""Claims as commands: each runs Polymine and a baseline on the same work and prints both."""
