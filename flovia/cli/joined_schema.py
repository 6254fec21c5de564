"""``flovia events schema``: the form of joined events, for programs that read them."""

import json
import sys

from flovia.insights.joined import schema


def print_schema() -> int:
    """Print the JSON Schema (2020-12) of joined events, as flovia events, tail and export --joined write them.

    Its $id is the dataschema of their envelopes.
    """
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    return 0
