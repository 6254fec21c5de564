"""Where a secret may be seen, and why: by the beginning of a test's id, the kinds that it may show.

Each entry is a place where showing the thing is the feature. Kinds are those of :mod:`tests.leaks.search` and
:mod:`tests.leaks.spies`; ``*`` is all of them.
"""

from typing import Final

_PAGE: Final = frozenset({"page"})
_SHELL: Final = frozenset({"credential", "receipt", "jws", "page", "address"})

ALLOWED: Final[dict[str, tuple[frozenset[str], str]]] = {
    "tests/cli/test_inspect.py::test_a_mock_payment_pays_the_challenge": (
        frozenset({"credential"}),
        "flovia inspect --mock-payment prints a credential: that is what it is for",
    ),
    "tests/cli/test_pay.py::": (_PAGE, "flovia pay shows the person where to pay"),
    "tests/client/hitpay/": (_PAGE, "the wallet shows the person where to pay, in the terminal or by a callback"),
    "tests/e2e/test_agent_pays_hitpay.py": (_PAGE, "flovia pay shows the person where to pay"),
    "tests/e2e/hitpay/rows/": (_PAGE, "flovia pay shows the person where to pay"),
    "tests/e2e/browser/": (_PAGE, "the agent that waits for the person shows where to pay"),
    "tests/e2e/hitpay/test_guide.py::test_a_paid_call_by_hand": (
        _PAGE,
        "curl prints the 402, as the example's reader sees it",
    ),
    "tests/e2e/test_demo.py::test_the_route_can_be_paid_by_hand": (
        frozenset({"credential"}),
        "the demo's page tells how to pay by hand, with flovia inspect --mock-payment",
    ),
    "tests/hooks/test_contract.py::test_a_mistake_is_found": (
        frozenset({"*"}),
        "providers that tell secrets on purpose: the contract is to find that",
    ),
    "tests/docs/test_snippets.py": (
        _SHELL,
        "the pages' own commands show what a reader sees: curl -i, a credential",
    ),
    "tests/interop/": (_SHELL, "foreign clients and servers print what they get; they are asked for it"),
}
