"""``python -m semascope`` is the ``semascope`` command."""

from semascope.cli.main import run

run()
