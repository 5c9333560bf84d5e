"""Networks that go out, and what others have published."""
