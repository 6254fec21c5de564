"""The showcase: what its pages are made from, and what they answer."""
