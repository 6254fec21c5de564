"""All rows of the table, in the order in which they are told."""

from tests.adapters.behaviour import answers, bodies, challenges, credentials, deliveries, failures, hostile, policies
from tests.adapters.behaviour.table import CASES

MODULES = (challenges, credentials, bodies, deliveries, policies, answers, failures, hostile)
ROWS = [row for module in MODULES for row in CASES if row.module == module.__name__]
