"""What X is, and how images are read from it."""
