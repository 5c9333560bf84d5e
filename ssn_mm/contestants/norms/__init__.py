"""One file a contestant; each registers itself when it is imported."""
