"""``flovia events`` and the commands below it."""

import cyclopts

from flovia.cli.events import events

app = cyclopts.App(name="events", help_format="plaintext", default_command=events)
app.command("flovia.cli.tail:tail", name="tail", help="Print joined events as they come, until Ctrl-C.")
app.command(
    "flovia.cli.export:export",
    name="export",
    help="Send every event to a file, a webhook, NATS, OpenTelemetry; or joined events to a file.",
)
app.command("flovia.cli.joined_schema:print_schema", name="schema", help="Print the JSON Schema of joined events.")
app.command("flovia.cli.export:sinks", name="sinks", help="List the sinks: how far behind each is, and why.")
app.command("flovia.cli.export:dead_letters", name="dead-letters", help="List what a sink refused, or send it again.")
