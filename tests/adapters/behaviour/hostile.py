"""Rows about bytes that no well-meaning client sends: no crash, nothing for free, nothing echoed."""

from tests.adapters.behaviour.table import Pay, ask, case, own, unpaid

REFUSED = (400, 402, 404)
"""Refused by the server, by us, or not found: which of them depends on how a server reads the request line."""
SERVER_400 = "the server refuses such a field before the app sees it"


case(
    "path-double-slash",
    "S12",
    "A path that looks like a host is a path.",
    ask("//evil.example/paid").gets(404),
    ask("//paid").gets((404, 402)),
    counts={"handler_calls": 0, "ledger_keys": 0},
)
case(
    "absolute-form",
    "S12",
    "The host of an absolute request target changes nothing.",
    ask("http://evil.example/paid").gets(REFUSED),
    counts={"handler_calls": 0, "ledger_keys": 0},
)
for number, target in enumerate(
    [
        "/%70aid",
        "/paid%00",
        "/paid%2F",
        "/paid/",
        "/paid/.",
        "/./paid",
        "/free/../paid",
        "/PAID",
        "/paid;x=1",
        "/paid%20",
    ]
):
    case(
        f"path-spelling-{number}",
        "S08",
        f"{target} is the paid route or none, never a free one.",
        ask(target).gets((307, 400, 402, 404)),
        counts={"handler_calls": 0, "settlements": 0},
    )
for number, target in enumerate(["/items/%ff%fe", "/items/%F0%9F", "/items/%0d%0aX-Injected:%20yes", "/items/a%2Fb"]):
    case(
        f"path-bytes-{number}",
        "S02 S37",
        f"{target} is answered, whatever its bytes mean.",
        ask(target).gets(REFUSED),
        counts={"handler_calls": 0},
    )
for number, query in enumerate(["%", "%zz", "q=%ff", "q=%0d%0aSet-Cookie:a=b", "&&&==", "q=" + "a" * 3000, "\x80"]):
    case(
        f"query-bytes-{number}",
        "S02 S10",
        "Any query is bound as it came.",
        ask(f"/search?{query}").gets((402, 400)),
        counts={"handler_calls": 0},
    )
for number, (name, value) in enumerate(
    [
        ("NUL", "Payment e30\x00"),
        ("NUL inside", "Pay\x00ment e30"),
        ("a control", "Payment e30\x01"),
        ("DEL", "Payment \x7fe30"),
        ("a tab", "Payment\te30"),
        ("a bare CR", "Payment e30\rX-Injected: yes"),
        ("latin-1", "Payment \xe9\xff"),
        ("only commas", ",,,,,"),
        ("quotes that never end", 'Payment a="b, Payment e30'),
        ("a backslash at the end", 'Payment a="b\\'),
        ("many schemes", ", ".join(f"S{n} x" for n in range(500))),
        ("many equals", "Payment " + "=" * 2000),
        ("deep brackets", "Payment " + "[" * 2000),
    ]
):
    case(
        f"authorization-{number}",
        "S03 S37",
        f"An Authorization field with {name} is refused, by the server or with a 402.",
        ask(headers=[("Authorization", value)]).gets((400, 402, 0)),
        ask("/free").gets(200),
        counts={"settlements": 0, "ledger_keys": 0},
    )
case(
    "folded-line",
    "S03",
    "A folded header line is refused, or joined by the server and then paid like any other: never free.",
    unpaid(),
    ask(headers=[("Authorization", "Payment\r\n {token}")], pay=Pay()).gets((200, 400, 402), receipt=None),
    ask(headers=[("Authorization", "Payment\r\n {token}")], pay=Pay(of=0)).gets((400, 402)),
)
case(
    "huge-field",
    "S03 S34",
    "A credential field of 60 KB ends in a refusal, by the server or by us, and the server lives on.",
    ask(headers=[("Authorization", "Payment " + "e" * 60_000)]).gets((400, 402, 413, 431, 0)),
    ask("/free").gets(200),
    counts={"ledger_keys": 0},
)
case(
    "many-fields",
    "S48",
    "A hundred credentials are refused like two.",
    unpaid(),
    ask(headers=[("Authorization", "Payment e30")] * 60).gets((400, 431)),
    ask(headers=[("Authorization", ", ".join(["Payment e30"] * 100))]).gets((400, 402)),
    counts={"ledger_keys": 0},
)
case(
    "no-host",
    "S12 S36",
    "A request without a Host is nobody's.",
    ask(bare=True, headers=[("Connection", "close")]).gets(400),
    ask(bare=True, headers=[("Host", ""), ("Connection", "close")]).gets(400),
    ask(bare=True, headers=[("Host", "127.0.0.1"), ("Host", "evil.example"), ("Connection", "close")]).gets(400),
    counts={"handler_calls": 0},
)
case(
    "underscores",
    "S21",
    "A field spelled with underscores is not the one spelled with hyphens where the server can tell.",
    unpaid(),
    ask(headers=[("X_Api_Key", "good")], target="/auth-and-paid").gets(
        401, own={"wsgiref": own(402, "wsgiref maps both spellings to one name", "payment-required")}
    ),
    counts={"handler_calls": 0},
)
case(
    "length-and-chunks",
    "S15 S17",
    "A request with two ideas of its length is refused, or read in one way, and opens nothing.",
    unpaid("/echo", http_method="POST", body=b"hello"),
    ask(
        "/echo",
        http_method="POST",
        body=b"hello",
        chunked=True,
        headers=[("Content-Length", "3")],
        pay=Pay(),
    ).gets((400, 411, 200), receipt=None),
)
for number, length in enumerate(["-1", "+5", "5 5", "0x5", "\xb2", "5,5", ""]):
    case(
        f"length-{number}",
        "S15",
        f"A Content-Length of {length!r} crashes nothing.",
        ask("/echo", http_method="POST", body=b"hello", headers=[("Content-Length", length)]).gets((400, 402, 411, 0)),
        ask("/free").gets(200),
    )
case(
    "verbs",
    "S08",
    "A verb nobody knows is refused; one in lower case is not a GET.",
    ask(http_method="BREW").gets((400, 404, 405, 501)),
    ask(http_method="get").gets((400, 402, 404, 405, 501)),
    ask(http_method="TRACE").gets((400, 404, 405, 501)),
    counts={"handler_calls": 0},
)
case(
    "accept-payment-hostile",
    "S32",
    "Nonsense in Accept-Payment counts as nothing said.",
    *[
        ask("/two", headers=[("Accept-Payment", value)]).gets(402, "payment-required", methods=("mock", "alt"))
        for value in ("\xff\xfe", "mock/charge;q=" + "9" * 1000, "/" * 2000, ";" * 2000, '"' * 2000)
    ],
)
case(
    "workflow-hostile",
    "S37",
    "A workflow name that is none is ignored.",
    *[
        ask(headers=[("Flovia-Workflow", value)]).gets(402, "payment-required")
        for value in ("\xff", "x" * 1000, "\t", "a\tb")
    ],
)
case(
    "source-hostile",
    "S37",
    "Text of any kind as the source of a payment does no harm.",
    unpaid(),
    ask(pay=Pay(source="\U0001f9ff\u202e\u0000'; DROP TABLE flovia_payments; --\x7f")).gets((200, 402), receipt=None),
)
