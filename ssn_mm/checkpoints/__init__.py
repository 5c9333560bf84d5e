"""Checkpoints: of others, what it takes for them to start a network with SSN; own, given away."""
