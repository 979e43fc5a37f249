"""The HTTP server: runs read, searched and annotated in a browser; one file for each resource of its API."""

from semascope.server.app import create_app
from semascope.server.served import Served

__all__ = ["Served", "create_app"]
