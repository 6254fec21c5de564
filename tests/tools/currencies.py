"""Write ``flovia/core/_currencies.py`` from the ISO 4217 table of the iso4217 package.

    python -m tests.tools.currencies

Run it when the package brings a newer table; ``tests/core/test_money.py`` compares the two.
"""

import textwrap

import iso4217

from tests.tree import ROOT

TARGET = ROOT / "flovia" / "core" / "_currencies.py"


def table() -> dict[str, int]:
    """Every currency with a base unit: lower-case code to the number of decimal digits."""
    found: dict[str, int] = {}
    for currency in iso4217.Currency:
        if currency.exponent is not None:
            found[currency.code.lower()] = currency.exponent
    return dict(sorted(found.items()))


def render() -> str:
    """The text of the module."""
    exponents = table()
    groups: list[str] = []
    for digits in sorted(set(exponents.values())):
        codes = " ".join(code for code, exponent in exponents.items() if exponent == digits)
        lines = [f'"{line} "' for line in textwrap.wrap(codes, 90)]
        text = lines[0] if len(lines) == 1 else "(\n        " + "\n        ".join(lines) + "\n    )"
        groups.append(f"    {digits}: {text},\n")
    return (
        '"""Decimal digits of the currencies of ISO 4217. Generated: edit tests/tools/currencies.py instead."""\n\n'
        "from collections.abc import Mapping\n"
        "from typing import Final\n\n"
        f'PUBLISHED: Final = "{iso4217.__published__.isoformat()}"\n'
        '"""Date of the ISO 4217 table this was made from."""\n\n'
        "_BY_DIGITS: Final = {\n" + "".join(groups) + "}\n\n"
        "EXPONENTS: Final[Mapping[str, int]] = "
        "{code: digits for digits, codes in _BY_DIGITS.items() for code in codes.split()}\n"
        '"""Lower-case code to the number of digits between the currency and its base unit.\n\n'
        'Metals, test codes and other entries without a base unit are left out.\n"""\n'
    )


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"{TARGET.name}: {len(table())} currencies, table of {iso4217.__published__}")
