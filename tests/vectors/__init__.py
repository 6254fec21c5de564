"""The public conformance vectors."""
