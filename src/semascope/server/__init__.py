"""The HTTP server: runs read, searched and annotated in a browser; one file for each resource of its API."""

from semascope.server.app import create_app
from semascope.server.security import Access
from semascope.server.served import Served, ServedRun
from semascope.server.serving import serve
from semascope.server.site import SiteSize, export_site

__all__ = ["Access", "Served", "ServedRun", "SiteSize", "create_app", "export_site", "serve"]
