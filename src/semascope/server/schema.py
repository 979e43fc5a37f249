"""The OpenAPI schema of the server, from which the page's TypeScript client is generated.

python -m semascope.server.schema > web/openapi.json
"""

from __future__ import annotations

import json

from semascope.server.app import create_app
from semascope.server.served import Served


def schema() -> str:
    """The schema as JSON."""
    return json.dumps(create_app(Served([])).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
