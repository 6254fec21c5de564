"""A Flask app with a dashboard, for gunicorn to load before it forks."""

import os

import flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import flovia
from flovia.dashboard import Dashboard
from tests.dashboard.shop import SECRET

flo = flovia.Flovia(ledger=os.environ["TEST_LEDGER"], secret=SECRET)
dashboard = Dashboard(flo)
site = flask.Flask(__name__)


@site.get("/pid")
def pid() -> str:
    """Which worker answers."""
    return str(os.getpid())


app = DispatcherMiddleware(site.wsgi_app, {"/dashboard": dashboard.wsgi})
