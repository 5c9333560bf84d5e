"""What a training reads, as a pure function of its iteration, and checks of it."""
