"""Write the parts of the documentation that are drawn from the code: diagrams, tables, an example.

    python -m tests.tools.diagrams            write them
    python -m tests.tools.diagrams --check    only say which are out of date

A page holds the place with two comments, ``<!-- drawn: NAME -->`` and ``<!-- end -->``.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs

from flovia import settings
from flovia.client.hitpay import WalletNames
from flovia.core.delivery import DECISIONS, FAILURES
from flovia.core.events import EVENT_TYPES, Event
from flovia.core.exchange import EXCHANGE, PAYMENT, diagram
from flovia.core.limiter import Rate
from flovia.core.problems import PROBLEMS, ProblemType
from flovia.export import opening
from flovia.insights.attempt import OUTCOMES, STATES
from flovia.insights.join import CONVERTED, INSIGHTS
from flovia.otel import names
from flovia.providers.hitpay import problems as own_problems
from flovia.providers.hitpay.amounts import CURRENCIES
from flovia.providers.hitpay.config import VARIABLES, HitPayConfig
from flovia.providers.hitpay.names import BrokerNames, BrokerRefusals, Sign
from flovia.providers.hitpay.saved import WALLETS
from flovia.signed import ClaimNames, SignedLimits
from tests.tree import ROOT, files
from tests.vectors.mapping import CONTESTED, DEFERRED

_PLACE: Final = re.compile(r"(<!-- drawn: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def exchange() -> str:
    """The states of one HTTP request."""
    return f"```mermaid\n{diagram(EXCHANGE)}\n```"


def payment() -> str:
    """The states of one payment."""
    return f"```mermaid\n{diagram(PAYMENT)}\n```"


def problems() -> str:
    """Every problem type: status, type, what it tells the payer."""
    return _problems(PROBLEMS.values())


def hitpay_problems() -> str:
    """Those of the provider ``hitpay``."""
    return _problems(found for found in vars(own_problems).values() if isinstance(found, ProblemType))


def _problems(found: Iterable[ProblemType]) -> str:
    rows = [f"| {problem.status} | `{problem.type}` | {problem.detail} |" for problem in found]
    return "\n".join(["| status | type | what it tells the payer |", "| --- | --- | --- |", *rows])


def deliveries() -> str:
    """What becomes of a payment, by how its request was answered and by the route's policy."""
    policies = list(FAILURES)
    rows = [
        f"| {answered} | {' | '.join(ends[policy] for policy in policies)} |" for answered, ends in DECISIONS.items()
    ]
    head = "| the answer | " + " | ".join(f"`{policy}`" for policy in policies) + " |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def variables() -> str:
    """Every environment variable, from the table in the settings' own text."""
    return _variables(settings.__doc__ or "")


def export_variables() -> str:
    """Every environment variable that exporters read."""
    return _variables(opening.__doc__ or "")


def _variables(text: str) -> str:
    found = re.findall(r"^``(\w+)`` +(.+)$", text, re.MULTILINE)
    rows = [f"| `{name}` | {words.replace('``', '`')} |" for name, words in found]
    return "\n".join(["| variable | meaning |", "| --- | --- |", *rows])


def event_types() -> str:
    """The names of all events."""
    return "\n".join(f"- `{name}`" for name in EVENT_TYPES)


def event_fields() -> str:
    """The members of an event, in the order of its row."""
    return ", ".join(f"`{field.name}`" for field in attrs.fields(Event)) + "."


def insights() -> str:
    """Every sentence an insight can be, with its code and its state, the first one first."""
    found = [CONVERTED, *(insight for insight in INSIGHTS if insight != CONVERTED)]
    rows = [f"| {insight} | `{OUTCOMES[insight]}` | `{STATES[OUTCOMES[insight]]}` |" for insight in found]
    return "\n".join(["| `insight` | `outcome` | `state` |", "| --- | --- | --- |", *rows])


def contested_vectors() -> str:
    """The public vectors that are answered differently on purpose, and those that wait for a part of flovia."""
    rows = [f"| `{name}` | {reason} |" for name, reason in {**CONTESTED, **DEFERRED}.items()]
    return "\n".join(["| vector | why |", "| --- | --- |", *rows])


def hitpay_variables() -> str:
    """Every environment variable that the HitPay provider reads."""
    rows = [f"| `{name}` | {text} |" for name, text in VARIABLES.items()]
    return "\n".join(["| variable | meaning |", "| --- | --- |", *rows])


def hitpay_settings() -> str:
    """Every setting of the HitPay provider, with its default and where that comes from."""
    rows = [
        f"| `{field.name}` | {_default(field.default)} | {field.metadata['source']} | {field.metadata['why']} |"
        for field in attrs.fields(HitPayConfig)
        if field.init
    ]
    return "\n".join(["| setting | default | source | what it is, and why so |", "| --- | --- | --- | --- |", *rows])


def hitpay_names() -> str:
    """The names of the broker's members, as far as HitPay has not published them."""
    return _names(BrokerNames)


def hitpay_refusals() -> str:
    """By which status and code the broker says what."""
    rows = [
        f"| `{field.name}` | {_default(field.default)} | {field.metadata['why']} |"
        for field in attrs.fields(BrokerRefusals)
    ]
    return "\n".join(["| refusal | default | what it says |", "| --- | --- | --- |", *rows])


def claim_names() -> str:
    """The names of the claims in receipts and grants."""
    return _names(ClaimNames)


def wallet_names() -> str:
    """The names of members that the agent's wallets write and read."""
    return _names(WalletNames)


def _names(record: type[attrs.AttrsInstance]) -> str:
    rows = [
        f"| `{field.name}` | {_default(field.default)} | {field.metadata['why']} |" for field in attrs.fields(record)
    ]
    return "\n".join(["| name | default | what it is |", "| --- | --- | --- |", *rows])


def _default(value: object) -> str:
    match value:
        case Sign():
            codes = [f"`{code}`" if code else "no code" for code in value.codes]
            return " ".join([str(value.status), " or ".join(codes) or "with any code"])
        case BrokerNames() | BrokerRefusals():
            return f"`{type(value).__name__}()`"
        case Rate():
            return f"{value.count} in {value.seconds:g} s"
        case SignedLimits():
            return "`SignedLimits()`"
        case frozenset() | tuple():
            items = sorted(value) if isinstance(value, frozenset) else list(value)
            return ", ".join(f"`{item}`" for item in items) or "none"
        case str():
            return f"`{value}`"
        case _:
            return str(value)


def hitpay_currencies() -> str:
    """The currencies of HitPay over MPP."""
    rows = [
        f"| {row.code.upper()} | {row.rail} | {row.decimals} | {row.source} | {row.why} |"
        for row in CURRENCIES.values()
    ]
    head = [
        "| currency | the payer pays by | HitPay's decimals | source | where from |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows])


def hitpay_wallets() -> str:
    """The wallets that can be saved."""
    rows = [f"| `{name}` | {', '.join(sorted(codes)).upper()} |" for name, codes in WALLETS.items()]
    return "\n".join(["| wallet | currencies |", "| --- | --- |", *rows])


def metrics() -> str:
    """What is counted and measured for OpenTelemetry."""
    rows = [f"| `{name}` | {unit.strip('{}')} | {text} |" for name, unit, text in (*names.COUNTERS, *names.DURATIONS)]
    return "\n".join(["| metric | unit | what it is |", "| --- | --- | --- |", *rows])


def third_party_provider() -> str:
    """The example of a provider, whole."""
    return f"```python\n{(ROOT / 'examples' / 'third_party_provider.py').read_text(encoding='utf-8')}```"


DRAWN: Final[Mapping[str, Callable[[], str]]] = {
    "claim-names": claim_names,
    "contested-vectors": contested_vectors,
    "event-fields": event_fields,
    "event-types": event_types,
    "exchange": exchange,
    "export-variables": export_variables,
    "hitpay-currencies": hitpay_currencies,
    "hitpay-names": hitpay_names,
    "hitpay-problems": hitpay_problems,
    "hitpay-refusals": hitpay_refusals,
    "hitpay-settings": hitpay_settings,
    "hitpay-variables": hitpay_variables,
    "hitpay-wallets": hitpay_wallets,
    "insights": insights,
    "metrics": metrics,
    "payment": payment,
    "deliveries": deliveries,
    "problems": problems,
    "third-party-provider": third_party_provider,
    "variables": variables,
    "wallet-names": wallet_names,
}


def drawn(text: str) -> str:
    """The text of a page with everything that is drawn from the code as it is now."""
    return _PLACE.sub(lambda place: f"{place[1]}{DRAWN[place['name']]()}\n{place[3]}", text)


def pages() -> list[Path]:
    """Every page that may hold such a place."""
    return [name for name in files() if name.suffix == ".md"]


def main(arguments: list[str]) -> int:
    """Run as a program."""
    stale: list[Path] = []
    for page in pages():
        old = (ROOT / page).read_text(encoding="utf-8")
        if (new := drawn(old)) != old:
            stale.append(page)
            if "--check" not in arguments:
                (ROOT / page).write_text(new, encoding="utf-8")
    for page in stale:
        print(page)
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
