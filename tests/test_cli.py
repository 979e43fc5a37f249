"""The command line as a person uses it, on the tiny model; and documentation that must not go stale."""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import semascope
from semascope.cli.main import app
from semascope.cli.values import count
from semascope.cli.variants import variant_settings
from semascope.errors import ConfigError

ROOT = Path(__file__).parents[1]
COMMANDS = ("concepts", "demo", "train", "eval", "index", "features", "report")


def semascope_(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160", "TERM": "dumb"})


def train_arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", "tiny", "--data", str(corpus), "--layer", "1", "--out", str(out), "--features", "64", "--l0", "4",
        "--tokens", "8k", "--batch", "200", "--context", "32", "--held-out", "0.25", "--precision", "full", *more,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cli") / "texts.jsonl"
    lines = [json.dumps({"text": f"Text {i}: the square of {i} is {i * i}, [not] <markup>."}) for i in range(600)]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli-runs") / "mine"
    result = semascope_(*train_arguments(corpus, out))
    assert result.exit_code == 0, result.output
    assert "Explained variance" in result.output
    assert f"semascope index {out}" in result.output.replace("\n", "")
    return out


def test_from_training_to_a_report(run: Path) -> None:
    assert "features fire on" in semascope_("index", str(run)).output
    assert "Explained variance" in semascope_("eval", str(run)).output
    listing = semascope_("features", str(run), "--sort", "-density", "--limit", "3")
    ids = re.findall(r"#(\d+)", listing.output)
    assert len(ids) == 3
    page = semascope_("features", str(run), ids[0], "--limit", "4")
    assert page.exit_code == 0, page.output
    assert {"fires on", "promotes", "suppresses", "neighbours", "activation"} <= set(
        re.findall(r"\w+(?: on)?", page.output)
    )
    assert "Written" in semascope_("report", str(run)).output
    assert (run / "report.html").stat().st_size > 10_000


def test_search_finds_or_says_that_it_found_nothing(run: Path) -> None:
    semascope_("index", str(run))
    assert "#" in semascope_("features", str(run), "--search", "q").output
    assert "No feature fires on 'zebra'" in semascope_("features", str(run), "--search", "zebra").output


def test_settings_of_variants_come_from_options() -> None:
    assert variant_settings("topk", l0=8) == {"variant": "topk", "k": 8}
    assert variant_settings("gated", coefficient=0.5) == {"variant": "gated", "coefficient": 0.5, "l0": None}
    options = ["bandwidth=0.1", "recipe=gemma-scope", "prefixes=[0.5, 1]", "l0=none"]
    assert variant_settings("jumprelu", options=options) == {
        "variant": "jumprelu", "bandwidth": 0.1, "recipe": "gemma-scope", "prefixes": [0.5, 1], "l0": None,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="exclude each other"):
        variant_settings("l1", l0=8, coefficient=2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["features", "nowhere"], "holds no run.json"),
        (["train", "tiny", "--data", "missing.jsonl", "--layer", "1", "--out", "{tmp}"], "missing.jsonl"),
        (["train", "./no-such-model", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}"], "no-such-model"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "77", "--out", "{tmp}"], "77"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "middle", "--out", "{tmp}"], "'middle' is not a site"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--variant", "pca"], "'pca'"),
        (
            ["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--coefficient", "8"],
            "--coefficient is a setting of l1",
        ),
        (
            ["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--option", "bandwidth=1"],
            "auxiliary_k",
        ),
        (["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--features", "many"], "'many'"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--held-out", "3"], "held_out"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--context", "4000"], "4000"),
        (["train", "tiny", "--data", "{corpus}", "--layer", "1", "--out", "{tmp}", "--field", "body"], "body"),
        (
            [
                "train",
                "tiny",
                "--data",
                "{corpus}",
                "--layer",
                "1",
                "--out",
                "{tmp}",
                "--tokens",
                "1G",
                "--context",
                "32",
            ],
            "ended",
        ),
        (["features", "{run}", "99999"], "99999"),
        (["features", "{run}", "--sort", "beauty"], "beauty"),
    ],
)
def test_what_people_get_wrong_is_one_clear_error(
    arguments: list[str], message: str, run: Path, corpus: Path, tmp_path: Path
) -> None:
    semascope_("index", str(run))
    filled = [a.format(tmp=tmp_path / "out", corpus=corpus, run=run) for a in arguments]
    result = semascope_(*filled)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_another_configuration_in_the_same_folder_is_refused_and_nothing_is_changed(run: Path, corpus: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    result = semascope_(*train_arguments(corpus, run, "--seed", "5"))
    assert result.exit_code == 2
    assert "corpus.seed, training.seed" in result.output
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}


def test_a_full_disk_is_said_and_leaves_what_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    semascope_("index", str(run))
    before = (run / "report.html").read_bytes() if (run / "report.html").exists() else None

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    result = semascope_("report", str(run))
    assert result.exit_code == 2
    assert "no space is left on the disk" in result.output
    monkeypatch.undo()
    assert ((run / "report.html").read_bytes() if before is not None else None) == before
    assert not list(run.glob(".*.tmp"))


def test_ctrl_c_stops_with_one_line_and_the_same_command_goes_on(corpus: Path, tmp_path: Path) -> None:
    arguments = train_arguments(corpus, tmp_path / "run", "--passes", "2")
    arguments[arguments.index("8k")] = "400k"
    command = [sys.executable, "-m", "semascope", *arguments]
    arguments_done = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=arguments_done
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run/run.json").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command goes on from here" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "value"),
    [("8192", 8192), ("16k", 16_000), ("2M", 2_000_000), ("1.5m", 1_500_000), ("2,048", 2048), ("1B", 10**9)],
)
def test_counts_can_be_written_in_short(text: str, value: int) -> None:
    assert count(text) == value


# --- documentation that must not go stale -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(command: str) -> None:
    result = semascope_(command, "--help")
    assert result.exit_code == 0
    assert f"semascope {command}" in result.output.split("Example:")[1]


def test_the_commands_are_those_that_the_documentation_names() -> None:
    assert set(COMMANDS) == {info.name for info in app.registered_commands}
    guide = (ROOT / "docs/GUIDE.md").read_text()
    readme = (ROOT / "README.md").read_text()
    assert all(f"`semascope {command}" in guide for command in COMMANDS)
    named = set(re.findall(r"(?:`|^ {4})semascope ([a-z-]+)", guide + readme, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def test_the_options_in_the_documentation_exist() -> None:
    for document in ("README.md", "docs/GUIDE.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        for line in re.findall(r"^ {4}semascope (.*)$", text, flags=re.MULTILINE):
            command, *rest = shlex.split(line, comments=True)
            shown = semascope_(command, "--help").output
            for option in (word for word in rest if word.startswith("--")):
                assert option in shown, f"{document}: semascope {command} has no {option}"


def test_the_public_names_are_few_and_real() -> None:
    assert len(semascope.__all__) <= 25
    assert all(hasattr(semascope, name) for name in semascope.__all__)
    # What type checkers see is what is exported, and each name comes from the room that the imports name.
    tree = ast.parse(Path(str(semascope.__file__)).read_text())
    for_type_checkers = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {a.name: n.module for n in for_type_checkers.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert sorted(homes) == sorted(semascope.__all__)
    for name, home in homes.items():
        assert getattr(semascope, name) is getattr(import_module(str(home)), name), name


def test_the_python_example_of_the_readme_runs(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there, with the tiny model and a small text in the place of the real ones."""
    readme = (ROOT / "README.md").read_text()
    [code] = re.findall(r"<!-- example: begin -->\n```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for original, small in {
        '"smollm2-135m"': '"tiny"', "resid_post.15": "resid_post.1", '"sample"': repr(str(corpus)), "k=32": "k=4",
        "context_tokens=128": "context_tokens=32", "features=2048": "features=64", "tokens=50_000": "tokens=8_000",
        "batch_tokens=1024": "batch_tokens=200",
    }.items():  # fmt: skip
        assert original in code
        code = code.replace(original, small)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0]) > 0.3
    assert len(printed) == 6
