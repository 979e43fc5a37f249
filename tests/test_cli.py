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
import urllib.request
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
COMMANDS = (
    "demo", "train", "estimate", "eval", "index", "features", "label", "serve", "export-site", "concepts",
    "completeness", "find", "specificity", "monitor", "compare", "compare-texts", "steer", "calibrate", "attribute",
    "neurons", "report", "scaling", "law", "recommend",
)  # fmt: skip


def semascope_(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160", "TERM": "dumb"})


def train_arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", "tiny", "--data", str(corpus), "--layer", "1", "--out", str(out), "--features", "64", "--l0", "4",
        "--tokens", "8k", "--batch", "200", "--context", "32", "--held-out", "0.25", "--precision", "full", *more,
    ]  # fmt: skip


def write_corpus(file: Path, documents: int) -> None:
    texts = (f"Text {i}: the square of {i} is {i * i}, [not] <markup>." for i in range(documents))
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cli") / "texts.jsonl"
    write_corpus(file, 600)
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


def test_labels_are_kept_listed_and_found(run: Path) -> None:
    semascope_("index", str(run))
    assert "Squares [of] numbers" in semascope_("label", str(run), "-f", "7", "Squares [of] numbers").output
    found = semascope_("features", str(run), "--search", "SQUARES", "--limit", "5").output
    assert "Squares [of]" in found
    assert re.findall(r"#(\d+)", found)[0] == "7"
    assert "Squares [of] numbers" in semascope_("features", str(run), "7").output
    assert semascope_("label", str(run), "-f", "7").exit_code == 2
    assert "holds 0 to 63" in semascope_("label", str(run), "-f", "64", "x").output
    assert semascope_("label", str(run), "-f", "7", "--remove").exit_code == 0
    assert "Squares" not in semascope_("features", str(run), "7").output


def test_a_server_says_where_it_is_and_ends_at_once(run: Path) -> None:
    semascope_("index", str(run))
    command = [sys.executable, "-m", "semascope", "serve", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout
    line = server.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    assert address, line
    try:
        with urllib.request.urlopen(f"{address[0]}api/runs", timeout=60) as answer:
            [served] = json.load(answer)
        assert served["name"] == run.name
        taken = semascope_("serve", str(run), "--port", address[1])
        assert taken.exit_code == 2
        assert f"port {address[1]} is in use" in " ".join(taken.output.split())
    finally:
        server.send_signal(signal.SIGINT)
    assert server.communicate(timeout=60)[1] == ""
    assert server.returncode == 0


def test_an_estimate_is_told_to_people_and_to_programs() -> None:
    arguments = ["estimate", "tiny", "--layer", "1", "--context", "64", "--features", "64G", "--hardware", "h100"]
    shown = semascope_(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "does not fit" in shown.output
    assert "arithmetic from its data sheet" in shown.output
    given = json.loads(semascope_(*arguments, "--json").output)
    assert given["fits"] is False
    assert given["advice"] in " ".join(shown.output.split())


def test_steering_shows_both_texts(run: Path) -> None:
    semascope_("index", str(run))
    [strongest] = re.findall(r"#(\d+)", semascope_("features", str(run), "--sort", "-maximum", "--limit", "1").output)
    arguments = ["steer", str(run), "Text 5: the square", "--max-tokens", "12", "--temperature", "0"]
    shown = semascope_(*arguments, "-f", f"{strongest}=9x", "-f", f"{strongest}*=2 from reply")
    assert shown.exit_code == 0, shown.output
    assert f"{strongest}=9x" in shown.output
    assert f"{strongest}*=2 from reply" in shown.output
    given = json.loads(semascope_(*arguments, "-f", f"{strongest}=9x", "--json", "--samples", "2").output)
    assert [(text["variant"], text["sample"]) for text in given["texts"]] == [
        ("default", 0), ("steered", 0), ("default", 1), ("steered", 1),
    ]  # fmt: skip
    default, steered = (text["text"] for text in given["texts"][:2])
    assert default != steered


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "64=5x", "Hello"], "no feature 64"),
        (["-f", "1=loud", "Hello"], "not a number"),
        (["-f", "1=off", "Hello", "--temperature", "-1"], "no temperature"),
        (["-f", "1=off", "Hello", "--chat"], "no chat template"),
        (["-f", "1=off", "long " * 60], "shorten the prompt"),
    ],
)
def test_steering_that_cannot_be_says_why(run: Path, arguments: list[str], message: str) -> None:
    semascope_("index", str(run))
    refused = semascope_("steer", str(run), *arguments)
    assert refused.exit_code == 2
    assert message in refused.output


def test_calibration_is_shown_and_kept(run: Path) -> None:
    semascope_("index", str(run))
    [feature] = re.findall(r"#(\d+)", semascope_("features", str(run), "--sort", "-density", "--limit", "1").output)
    small = ["--strengths", "1,2x", "--texts", "4", "--tokens", "5", "--controls", "2"]
    shown = semascope_("calibrate", str(run), "-f", feature, *small)
    assert shown.exit_code == 0, shown.output
    assert re.search(rf"#{feature} (steers, at|does not steer)", shown.output)
    kept = json.loads((run / "steering" / "calibration" / f"{feature}.json").read_text())
    assert [level["strength"] for level in kept["levels"]] == [1.0, 2.0]
    assert "Output score" in semascope_("calibrate", str(run)).output
    page = semascope_("features", str(run), feature, "--limit", "1").output
    assert re.search(r"scores +input \d\.\d\d, output \d\.\d+", page)
    assert "steers" in page
    for wrong in (["-f", "64"], ["-f", feature, "--strengths", "loud"], ["-f", feature, "--texts", "1"]):
        assert semascope_("calibrate", str(run), *wrong).exit_code == 2


def test_search_finds_or_says_that_it_found_nothing(run: Path) -> None:
    semascope_("index", str(run))
    assert "#" in semascope_("features", str(run), "--search", "q").output
    assert "No feature fires on 'zebra'" in semascope_("features", str(run), "--search", "zebra").output


def test_attribution_as_a_table_and_as_json(run: Path) -> None:
    semascope_("index", str(run))
    arguments = ["attribute", str(run), "Text 5: the [square] of", "--target", " 5", "--first-token", "--top", "3"]
    shown = semascope_(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "' 5' is 2 tokens; its first is ' '" in shown.output
    assert "the mean logit of all tokens" in shown.output
    assert len(re.findall(r"#\d+", shown.output)) == 3
    assert re.search(r"Attribution +-?[01]\.\d\d", shown.output)
    assert "of 10" in shown.output
    found = json.loads(semascope_(*arguments, "--baseline", "q", "--by", "feature", "--json").stdout)
    assert (found["by"], found["target"]["text"], found["baseline"]["text"]) == ("feature", " ", "q")
    assert found["complete"]
    assert found["contributions"][0]["fires_on"]
    # With the others exchanged everything changes its sign.
    exchanged = ["attribute", str(run), "Text 5: the [square] of", "--target", "q", "--baseline", " ", "--json"]
    turned = json.loads(semascope_(*exchanged, "--ablate", "0").stdout)
    assert turned["logit_difference"] == pytest.approx(-found["logit_difference"], abs=1e-5)
    assert turned["contributions"][0]["ablation"] is None


def test_features_against_neurons(run: Path) -> None:
    semascope_("index", str(run))
    shown = semascope_("neurons", str(run), "--tokens", "1k")
    assert shown.exit_code == 0, shown.output
    told = " ".join(shown.output.split())
    assert "of 64 features fire on 10 or more of" in told
    assert "compared with 128 neurons of layers 0 to 1" in told
    found = json.loads((run / "evaluation" / "neurons.json").read_text())
    assert sum(found["histogram"]) == found["compared"] > 0
    written = (run / "evaluation" / "neurons.json").stat().st_mtime_ns
    assert "Reusing" in semascope_("neurons", str(run), "--tokens", "1k").output
    assert written == (run / "evaluation" / "neurons.json").stat().st_mtime_ns
    assert "Reusing" not in semascope_("neurons", str(run), "--tokens", "500").output


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
        (["estimate", "tiny", "--layer", "9"], "layer from 0 to 3"),
        (["estimate", "tiny", "--layer", "1", "--hardware", "abacus"], "'abacus'"),
        (["estimate", "tiny", "--layer", "1", "--context", "4000"], "4000"),
        (["estimate", "tiny", "--layer", "1", "--processes", "3", "--data-parallel", "2"], "in 2 parts"),
        (["features", "{run}", "99999"], "99999"),
        (["features", "{run}", "--sort", "beauty"], "beauty"),
        (["attribute", "nowhere", "Text", "--target", "a"], "holds no run.json"),
        (["attribute", "{run}", "", "--target", "a"], "the prompt is empty"),
        (["attribute", "{run}", "Text", "--target", " is"], "let first-token take the first, ' '"),
        (["attribute", "{run}", "Text", "--target", "a", "--baseline", "a"], "are the same token"),
        (["attribute", "{run}", "x" * 129, "--target", "a"], "longer than the 128 tokens"),
        (["attribute", "{run}", "Text", "--target", "a", "--by", "word"], "'word' is not one of"),
        (["neurons", "nowhere"], "holds no run.json"),
        (["neurons", "{run}", "--tokens", "none"], "'none' is not a count"),
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


def test_ctrl_c_stops_with_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_corpus(tmp_path / "long.jsonl", 8000)
    arguments = train_arguments(tmp_path / "long.jsonl", tmp_path / "run", "--passes", "2")
    arguments[arguments.index("8k")] = "400k"
    command = [sys.executable, "-m", "semascope", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Where the tests are a script's job in the background they ignore Ctrl-C, and so would what they start.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        signal.signal(signal.SIGINT, previous)
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
