"""The behaviour table: what every adapter answers, on every server, to the same requests."""
