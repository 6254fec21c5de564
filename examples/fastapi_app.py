"""A FastAPI app with paid endpoints: a lookup, a computation on a body, and a stream of lines.

    uvicorn --app-dir examples fastapi_app:app --port 8402
    curl -i http://127.0.0.1:8402/rows/2026-11-22

The mock provider takes no money; the secret is random and the payments are in flovia.db until you set
FLOVIA_SECRET and FLOVIA_LEDGER. /docs shows the endpoints with their 402.
"""

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

import flovia
import flovia_fastapi

app = FastAPI(title="Rows for sale")
gate = flovia.paid_api(provider="mock", rail="mpp", price="1.00 USD")
cheap = flovia.paid_api(provider="mock", rail="mpp", price="0.01 USD")


class Numbers(BaseModel):
    """What to add up."""

    numbers: list[int]


def rows_of(day: date) -> list[str]:
    """A dependency: unknown days are 404 before anybody pays."""
    if day > date(2030, 1, 1):
        raise HTTPException(404, "no rows for that day")
    return [f"{day:%A}", f"{day:%B}"]


@app.get("/")
async def index() -> dict[str, list[str]]:
    """What there is to buy."""
    return {"for sale": ["/rows/{day}", "/sum", "/count"]}


@app.get("/rows/{day}")
@flovia_fastapi.paid(gate)
async def rows(request: Request, rows: Annotated[list[str], Depends(rows_of)]) -> dict[str, object]:
    """The rows of a day."""
    grant: flovia.Grant = request.state.payment
    return {"rows": rows, "payment": grant.payment_id}


@app.post("/sum")
@flovia_fastapi.paid(cheap)
def total(given: Numbers) -> dict[str, int]:
    """A sum. The payment is good for exactly this body."""
    return {"sum": sum(given.numbers)}


@app.get("/count")
@flovia_fastapi.paid(cheap)
async def count(to: int = 3) -> AsyncIterator[dict[str, int]]:
    """A stream of JSON lines. It counts as delivered once the last line is out."""
    for number in range(to):
        yield {"number": number}


flovia_fastapi.install(app)
