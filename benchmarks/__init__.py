"""Claims as commands: each runs Polymine and a peer on the same work and prints both."""
