"""Builds the browser application when the package is built or installed from its sources."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebBuildHook(BuildHookInterface[Any]):
    """Runs web/build.py. Without Node or npm the package still installs, and its server's page says what to do."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version, build_data
        script = Path(self.root) / "web" / "build.py"
        described = importlib.util.spec_from_file_location("semascope_web_build", script)
        assert described is not None
        assert described.loader is not None
        module = importlib.util.module_from_spec(described)
        described.loader.exec_module(module)
        try:
            module.build()
        except (CalledProcessError, OSError, ImportError) as problem:
            self.app.display_warning(
                f"The browser application could not be built ({problem}). Everything else is installed; to build it, "
                "see that the npm registry can be reached, then run: python web/build.py"
            )
