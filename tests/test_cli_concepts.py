"""The commands about concepts as a person uses them: on a tiny run, with what people get wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from digits import SITE, dictionary_with_a_digit_feature, documents
from typer.testing import CliRunner

import semascope as sema
from semascope.cli.main import app


def semascope_(*arguments: str, given: str | None = None) -> Any:
    return CliRunner().invoke(app, arguments, input=given, env={"COLUMNS": "160", "TERM": "dumb"})


def command(line: str, run: Path, **places: object) -> Any:
    return semascope_(*(word.format(run=run, **places) for word in line.split(" ")))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labelled.jsonl, and yes.jsonl and no.jsonl with the same texts; half carry digits."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": d.text, "label": int("digits" in d.labels)} for d in documents(80)]
    for name, kept in (("labelled", rows), ("yes", rows[1::2]), ("no", rows[::2])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, kept)))
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny model whose dictionary has a planted feature, 7, for digits; with an index."""
    folder = tmp_path_factory.mktemp("concept-runs")
    rows = [{"text": d.text, "labels": sorted(d.labels)} for d in documents(600)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = sema.Run.begin(
        folder / "mine",
        sema.RunConfig(
            model=sema.ModelConfig(name="tiny", precision="full"),
            site=str(SITE),
            corpus=sema.CorpusConfig(source=str(folder / "corpus.jsonl"), context_tokens=32, held_out_fraction=0.25),
            training=sema.TrainingConfig(variant=sema.L1Config(), features=20, tokens=8_000, batch_tokens=200),
            index_tokens=8_000,
        ),
    )
    sema.save_dictionary(dictionary_with_a_digit_feature(), folder / "mine" / "dictionary", {"recent_medians": [[6.0]]})
    made.index()
    return folder / "mine"


def test_find_by_labelled_texts_in_one_file_or_two(run: Path, texts: Path) -> None:
    shown = command("find {run} --labelled {texts}/labelled.jsonl --top 3", run, texts=texts)
    assert shown.exit_code == 0, shown.output
    assert len(re.findall(r"#\d+", shown.output)) == 3
    assert "Probe on raw activations" in shown.output
    found = json.loads(command("find {run} --labelled {texts}/labelled.jsonl --top 3 --json", run, texts=texts).stdout)
    assert (found["by"], found["label"], found["positives"], found["negatives"]) == ("texts", "1", 40, 40)
    assert (found["features"][0]["feature"], found["features"][0]["exists"]) == (7, True)
    assert found["features"][0]["density"] > 0
    sides = "find {run} --positive {texts}/yes.jsonl --negative {texts}/no.jsonl --top 3 --json"
    again = json.loads(command(sides, run, texts=texts).stdout)
    assert [one["feature"] for one in again["features"]] == [one["feature"] for one in found["features"]]
    near = json.loads(command(sides + " --direction", run, texts=texts).stdout)
    assert near["by"] == "direction"
    assert 0 < near["features"][0]["chosen_by"] <= 1


def test_find_by_prompts_by_a_feature_and_by_a_next_token(run: Path) -> None:
    shown = command("find {run} abc123 hij456 --minus abcdefg", run)
    assert shown.exit_code == 0, shown.output
    found = json.loads(command("find {run} abc123 hij456 --minus abcdefg --json", run).stdout)
    assert "#7" in shown.output
    assert found["features"][0]["feature"] == 7
    assert all(one["strength"] > one["elsewhere"] for one in found["features"])
    near = json.loads(command("find {run} --like 5 --top 4 --json", run).stdout)
    assert len(near["features"]) == 4
    assert 5 not in [one["feature"] for one in near["features"]]
    assert "Cosine" in command("find {run} --like 5", run).output
    by_target = json.loads(command("find {run} abc123 --target 4 --baseline a --json", run).stdout)
    values = [one["attribution"] for one in by_target["features"]]
    assert values == sorted(values, reverse=True)
    assert "logit difference" in command("find {run} abc123 --target 4", run).output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("find {run}", "give one of them"),
        ("find {run} abc --like 3", "give one of them"),
        ("find {run} --positive {texts}/yes.jsonl", "belong together"),
        ("find {run} --labelled {texts}/labelled.jsonl --positive {texts}/yes.jsonl", "in one file"),
        ("find {run} --labelled {texts}/labelled.jsonl --label spam", "has the label 'spam'"),
        ("find {run} --labelled {texts}/labelled.jsonl --label-column kind", "no field 'kind': it has text, label"),
        ("find {run} --labelled {texts}/yes.jsonl", "all 40 texts"),
        ("find {run} --labelled nowhere.csv", "nowhere.csv does not exist"),
        ("find {run} --like 20", "no feature 20"),
        ("find {run} a", "no token that the dictionary reads"),
        ("find {run} --like 3 --minus abc", "--minus and --target are for prompts"),
        ("find {run} abc def --target d", "follows one prompt, and 2 were given"),
        ("find {run} abc --baseline d", "--baseline is what"),
        ("find {run} abc --direction", "--direction is that between labelled texts"),
        ("find nowhere abc", "holds no run.json"),
    ],
)
def test_what_people_get_wrong_is_one_clear_error(line: str, message: str, run: Path, texts: Path) -> None:
    refused = command(line, run, texts=texts)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())
    assert "Traceback" not in refused.output


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("suites") / "mine.yaml"
    file.write_text("concepts:\n  - {name: Digits, label: digits, sisters: [letters]}\n")
    return file


def test_specificity_by_interval(run: Path, suite: Path) -> None:
    shown = command("specificity {run} -f 7 --concept {suite}:digits --intervals 3", run, suite=suite)
    assert shown.exit_code == 2
    assert "0 others" in shown.output  # every other text is of the sister concept
    suite.write_text("concepts:\n  - {name: Digits, label: digits}\n")
    shown = command("specificity {run} -f 7 --concept {suite}:digits --intervals 3", run, suite=suite)
    assert shown.exit_code == 0, shown.output
    assert "silent" in shown.output
    found = json.loads(command("specificity {run} -f 7 --concept {suite}:digits --json", run, suite=suite).stdout)
    assert len(found["bands"]) == 6
    assert found["against"]["neither"]["auc"] > 0.95
    assert "no feature 20" in command("specificity {run} -f 20 --concept {suite}:digits", run, suite=suite).output


def test_examples_of_an_offensive_suite_are_hidden_until_asked_for(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    asked = f"specificity {{run}} -f 7 --concept {file}:digits --examples 2"
    file.write_text("concepts: [{name: Digits, label: digits}]\n")
    open_ = [one["text"] for one in json.loads(command(asked + " --json", run).stdout)["examples"]]
    assert len(open_) == 4
    assert all(re.search(r"\d", text) for text in open_[:2])
    file.write_text("concepts: [{name: Digits, label: digits}]\noffensive: true\n")
    for flags in ("", " --json"):
        shown = command(asked + flags, run).stdout
        assert "--show-offensive" in shown
        assert not any(text in shown for text in open_)
    assert all(text in command(asked + " --show-offensive", run).stdout for text in open_)


def test_the_table_of_specificity_fits_80_columns(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("concepts: [{name: Digits, label: digits}]\n")
    asked = ("specificity", str(run), "-f", "7", "--concept", f"{tmp_path / 'mine.yaml'}:digits")
    shown = CliRunner().invoke(app, asked, env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    assert re.search(r"Share of +False *\n.*the concept +Sensitivity +alarms *\n", shown), shown


def test_calibration_scores_what_is_written_for_a_concept(run: Path, texts: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("concepts: [{name: Digits, label: digits}]\n")
    small = "calibrate {run} -f 7 --strengths 1,3 --texts 4 --tokens 5 --controls 2 "
    for given, name in (
        ("--concept {tmp}/mine.yaml:digits", "Digits"),
        ("--labelled {texts}/labelled.jsonl", "labelled"),
    ):
        shown = command(small + given, run, tmp=tmp_path, texts=texts)
        assert shown.exit_code == 0, shown.output
        assert f"is about: {name}" in shown.output
        assert "towards it" in shown.output
        kept = json.loads((run / "steering" / "calibration" / "7.json").read_text())["on_concept"]
        assert kept["name"] == name
        assert kept["probe_auc"] > 0.9
        assert len(kept["scores"]) == 2
    for wrong, message in (
        ("calibrate {run} --concept {tmp}/mine.yaml:digits", "give one with -f"),
        (small + "--concept {tmp}/mine.yaml:digits --labelled {texts}/yes.jsonl", "give one"),
        (small + "--label 1", "give it with --labelled"),
    ):
        refused = command(wrong, run, tmp=tmp_path, texts=texts)
        assert refused.exit_code == 2
        assert message in refused.output


def test_monitor_streams_flags_and_tells_what_it_cannot_read(run: Path, texts: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {name: Digits, label: '1', any: [{feature: 7, above: 0.5x}]}\n")
    lines = ['{"text": "abc"}', '{"text": "[b]ab 12", "id": "x"}', "", "no json", '{"txt": 1}']
    asked = ["monitor", str(run), "--rules", str(rules)]
    found = semascope_(*asked, given="\n".join(lines))
    assert found.exit_code == 1
    [told] = map(json.loads, found.stdout.splitlines())
    assert (told["line"], told["id"], told["flags"][0]["rule"]) == (2, "x", "Digits")
    assert told["flags"][0]["spans"][0]["text"] == "12"
    assert "line 4 is not JSON" in found.stderr
    assert "line 5 is no object with a text in the field 'text'" in found.stderr
    labelled = str(texts / "labelled.jsonl")
    probed = semascope_(*asked, "--probe", labelled, "--every", "--at-once", "1", given="\n".join(lines[:2]))
    assert probed.exit_code == 0, probed.output
    assert [len(json.loads(line)["flags"]) for line in probed.stdout.splitlines()] == [0, 1]
    assert all("probe" in json.loads(line) for line in probed.stdout.splitlines())
    shown = semascope_(*asked, "--check", labelled)
    assert shown.exit_code == 0, shown.output
    assert "Precision" in shown.output
    [check] = json.loads(semascope_(*asked, "--check", labelled, "--json").stdout)
    assert check["by_rule"]["recall"] == check["by_rule"]["precision"] == 1
    for wrong in (["--check", labelled, "--probe", labelled], ["--check", "nowhere.csv"]):
        assert semascope_(*asked, *wrong).exit_code == 2


def test_two_corpora_are_compared(run: Path, texts: Path) -> None:
    line = "compare-texts {run} {texts}/yes.jsonl {texts}/no.jsonl"
    shown = command(line, run, texts=texts)
    assert shown.exit_code == 0, shown.output
    assert "More in A" in shown.output
    found = json.loads(command(line + " --json", run, texts=texts).stdout)
    assert found["differences"][0]["feature"] == 7
    refused = command(line + " --field body", run, texts=texts)
    assert refused.exit_code == 2
    assert "no field 'body'" in refused.output


def test_completeness_of_several_runs_in_one_figure(run: Path, tmp_path: Path) -> None:
    (tmp_path / "marks.txt").write_text("1234\nab\nac\nad\nbc\nbd\ncd\nef\neg\neh\nfg\nfh\ngh\n")
    line = "completeness {run} {run} --names {tmp}/marks.txt"
    shown = command(line + " --plot {tmp}/marks.png", run, tmp=tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "8%" in shown.output
    assert (tmp_path / "marks.png").stat().st_size > 1000
    found = json.loads(command(line + " --json", run, tmp=tmp_path).stdout)
    assert [one["share"] for one in found] == pytest.approx([1 / 13, 1 / 13])
    assert (run / "evaluation" / "completeness-marks.json").exists()
    for wrong, message in (("--names {tmp}/none.txt", "does not exist"), ("--plot a.gif", "no figure")):
        refused = command(f"completeness {{run}} {wrong}", run, tmp=tmp_path)
        assert refused.exit_code == 2
        assert message in refused.output
