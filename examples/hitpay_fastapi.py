"""A FastAPI endpoint that costs one Singapore dollar, taken by HitPay. The line that makes it so is below its path.

HITPAY_API_KEY=test_… uvicorn --app-dir examples hitpay_fastapi:app --port 8402
"""

from fastapi import FastAPI

import flovia_fastapi

app = FastAPI()


@app.get("/paid")
@flovia_fastapi.paid(provider="hitpay", rail="mpp", price="1.00 SGD")
async def handler() -> dict[str, str]:
    """What is for sale. Nobody gets here without a settled payment."""
    return {"foo": "bar"}


flovia_fastapi.install(app)
