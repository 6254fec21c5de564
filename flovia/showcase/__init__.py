"""``flovia demo``: the page that shows what a paid route is, pays a real one, and joins payment and usage."""
