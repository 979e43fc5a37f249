"""The HTTP server: runs read, searched and annotated in a browser; one file for each resource of its API."""

from semascope.server.app import create_app
from semascope.server.security import Access
from semascope.server.served import Served
from semascope.server.serving import serve

__all__ = ["Access", "Served", "create_app", "serve"]
