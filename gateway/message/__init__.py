"""A mail as bytes: pure functions over its header."""
