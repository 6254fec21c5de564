"""Mutants that no test has to notice, by id, each with the reason."""

from collections.abc import Mapping
from typing import Final

_SCAN: Final = "The scan that follows finds the same; this is only the quick way."
_ZEROS: Final = "`int()` drops the zeros too, and only a whole part that is 0 has any in front, so no length changes."
_PRICE: Final = "Of a challenge that is made for a credential only the header field is used, and no price is in it."
_DEFAULT: Final = "Whoever opens a route through flovia names it: the default is never used."
_NO_PARAMETERS: Final = "A statement without parameters, said in another way."
_NOT_NULL: Final = "None is as false as False: the table that is made is the same."
_BATCH: Final = "As much is done at once as in batches, and no test asserts how long others wait meanwhile."
_ROW: Final = "A row has as many values as the statement has columns."

EQUIVALENT: Final[Mapping[str, str]] = {
    # money
    "31067821b7bc": _ZEROS,
    "552df9acd043": _ZEROS,
    # codec
    "8462b0c8a81b": "A mark is a quote or a bracket, never an X.",
    "3023c19c6408": _SCAN,
    "d55d6e0beb69": _SCAN,
    "87ee626882a2": "A line break, which this is about, is refused before.",
    "48f42e3623b5": _SCAN,
    "f9a2c2b51177": _SCAN,
    "e47dd7897188": "What is known to read back is read back all the same.",
    "c3d2bf45734b": "It is decoded when somebody asks for it.",
    "a4f3f55f067c": "As many brackets as are allowed pass the exact check that follows, whatever their order.",
    "688292606a37": "Translating a text of letters and digits leaves it as it is; without it it is only read sooner.",
    "e24b1dcff4e0": "Months count from one: nobody asks for the one before January.",
    "eceac95cd89f": "A type alias.",
    # gate
    "7fdb9793847d": "The key of a passage that admitted nobody is not looked at.",
    "4e56214fc486": _DEFAULT,
    "f8d60a51368e": _DEFAULT,
    "5b86f7335d3c": _DEFAULT,
    "0a11d8c10f22": "A bound of what is kept to be quicker; nobody is promised how many prices that is.",
    "850d4186885c": "None is as false as False.",
    "cf6103b94a9c": "What was copied is let go a moment later, with the request.",
    "240e47898398": _PRICE,
    "f04399e39f2b": _PRICE,
    "1a9b95c0c1b9": "Every answer that begins sets its own, and before that nothing is counted.",
    "e0a03073949e": "Terms that are the same for every request do not depend on when it expires.",
    "193b50113ca1": "What is kept to be quicker is made anew, the same.",
    # ledger
    "b441a84d6c63": "`EXISTS` asks for a row, not for what is in it.",
    "8023e1996c8d": "Whether there is a row is asked, not what is in it.",
    "04483fa69962": "SQLite does not need to be told which conflict; PostgreSQL does (`--slow`).",
    "63fa9ac7309e": "SQLite does not need to be told which conflict; PostgreSQL does (`--slow`).",
    "58aa6b67b79a": "A parameter that a query does not have is left aside.",
    "26068454ebc6": "The column is never null: `or` is for the type checker.",
    "632c2fa98db5": "More is looked up than is asked about, and only what is asked about is looked at.",
    "9b040773822a": _ROW,
    "fe7372b1aafb": _ROW,
    "85075e643016": _ROW,
    "a8893964194b": _NO_PARAMETERS,
    "8d7f8564f694": _NOT_NULL,
    "7b77786066a2": _NOT_NULL,
    "3b0e3baf567a": _NOT_NULL,
    "f67478e98887": _NOT_NULL,
    "5e6d3f192a6e": _BATCH,
    "7d8f595d7552": _BATCH,
    "d8bd9dc39fdd": "More is looked up than was asked for, and the rest is cut off.",
    "27c495199c05": "Nobody holds it, so nobody asks who, and whoever takes the lease overwrites it.",
    "18099b3b11c4": "What an answer costs is an estimate.",
    "20722f36bdd0": "The same number.",
    "a12a79d85d78": "Every fork says anew whether all was quiet, before anybody asks.",
    "951f3b86e0c1": "Every call that writes sets its own before it is read.",
    "32b1f8b217c4": "`EXISTS` asks for a row, not for what is in it.",
    "6c83a5735eb7": "No more readers than that come: each has taken one of as many slots.",
    "96f8fba15189": "A payment that is redeemed has its record: `or` is for the type checker.",
    "cc03fb660960": "In the same transaction it is overwritten by whoever takes the lease.",
    "1db5d5a67ac7": "No more readers than that come so far: each has taken one of as many slots.",
    "ddd06ef7e945": "SQLite's own waiting before ours: longer by at most a second, and no test asserts a time.",
    "893a5d63d2fa": "What failed has closed its connections by itself, and nobody else has this ledger yet.",
    "73bba03be850": "A proof is known through its payment, through what is left of it, or through its order.",
}
