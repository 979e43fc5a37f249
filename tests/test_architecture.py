"""The structure of the code, held by a test: which way the data flows, and who may touch what."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "semascope"

# A room imports only from rooms further up. What stands in one line may import each other.
ORDER = [
    {"errors"},
    {"records", "files", "progress", "hardware", "launch", "team"},
    {"packages"},
    {"text"},
    {"models"},
    {"kernels"},
    {"activations"},
    {"sae"},
    {"training"},
    {"evaluation"},
    {"features"},
    {"concepts"},
    {"steering"},
    {"attribution"},
    {"report"},
    {"config"},
    {"source"},
    {"runs"},
    {"sweeps"},
    {"estimate"},
    {"scaling"},
    {"recipes"},
    {"catalog"},
    {"server"},
    {"cli"},
    {"__init__", "__main__"},
]

OWNERS = {
    "transformers": {"models", "text"},
    "tokenizers": {"models", "text"},
    "datasets": {"text"},
    "gguf": {"models"},
    "triton": {"kernels"},
    "numba": {"kernels"},
    "duckdb": {"features"},
    "pyarrow": {"features", "text"},
    "jinja2": {"report"},
    "matplotlib": {"report", "scaling"},
    "scipy": {"steering", "concepts", "scaling"},
    "umap": {"features"},
    "sklearn": {"features"},
    "sqlite3": {"catalog"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "yaml": {"concepts"},
    "typer": {"cli"},
    "rich": {"cli"},
    "argparse": {"cli"},
    "subprocess": {"packages"},
    "pickle": set[str](),
}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def level(room: str) -> int:
    return next(number for number, rooms in enumerate(ORDER) if room in rooms)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_stage_imports_only_from_the_stages_before_it(file: Path) -> None:
    own = room_of(file)
    for name in imported_by(file):
        parts = name.split(".")
        if parts[0] != "semascope" or len(parts) == 1:
            continue
        room = parts[1] if any(parts[1] in rooms for rooms in ORDER) else "__init__"
        assert room == own or level(room) <= level(own), f"{own} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_library_is_touched_by_its_owner_only(file: Path) -> None:
    for name in imported_by(file):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or room_of(file) in owners, f"{file.name} imports {name}, which belongs to {owners}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_processes_talk_to_each_other_in_one_file(file: Path) -> None:
    if file != PACKAGE / "training" / "distributed.py":
        assert not any(name.startswith("torch.distributed") for name in imported_by(file))


def test_no_module_can_load_a_pickle() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(word.arg == "weights_only" for word in node.keywords), f"{file} loads pickles"


def test_rooms_are_small_enough_to_read() -> None:
    for file in FILES:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, f"{file} is longer than 400 lines"
