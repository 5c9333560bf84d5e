"""What each tool does, and what the tools share."""
