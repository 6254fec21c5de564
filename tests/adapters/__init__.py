"""One behaviour table over every adapter and server."""
