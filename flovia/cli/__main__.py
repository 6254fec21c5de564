"""``python -m flovia.cli``: the command where its script is not on the path."""

from flovia.cli import main

main()
