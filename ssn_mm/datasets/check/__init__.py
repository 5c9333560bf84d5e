"""A config's data, checked before a long training."""
