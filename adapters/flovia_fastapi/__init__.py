"""Put a price on a FastAPI endpoint::

    @app.get("/rows/{day}")
    @flovia_fastapi.paid(gate)
    async def rows(day: date, db: Db = Depends(db)): ...

    flovia_fastapi.install(app)

The gate admits inside the endpoint, after validation and every ``Depends``: nobody pays for a 422, 401, 403 or 404.
Without ``install`` a paid endpoint refuses. The payment, a :class:`flovia.Grant`, is in ``request.state.payment``.
"""

from flovia_fastapi.endpoint import paid, webhooks
from flovia_fastapi.exchange import install

__all__ = ["install", "paid", "webhooks"]
