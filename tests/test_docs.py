"""README and docs: every block of code in them runs, or says in a comment that readers do not see why it does not.

A block after `<!-- not run: WHY -->` is not run, nor are those of a section where WHY ends so; one after
`<!-- needs: WHAT -->` is run in a store that holds more than the demo's. `extending.md` has a test of its own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

from orchestrator import cli, results
from orchestrator.sweeps import enroll
from search_spaces import Sweep, load_sweep
from search_spaces.trial import Trial
from tests.toys import TOY_MODELS, toy_sweep
from workers import data
from workers.store.backends import open_store
from workers.trial import run_trial

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "extending.md")]
STORE = "tombola-store"
SECTION = "down to the next heading"
QUICKSTART = ROOT / "search_spaces" / "quickstart.yaml"


@dataclass(frozen=True)
class Block:
    """A block of code: its page and line, its language, and what comments before it say."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def runs(self) -> bool:
        return "not run" not in self.marks


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks of a page in order: fenced ones that name a language, and commands, which are indented."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at, marks = 0, dict[str, str]()
    while at < len(lines):
        line, begin = lines[at], at
        at += 1
        if line.startswith("#"):
            marks = {}
        elif comment := re.fullmatch(r"<!-- (not run|needs): (.+) -->", line):
            marks[comment[1]] = comment[2]
        elif line.startswith("```"):
            at = lines.index("```", at)
            if line != "```":
                yield Block(path.name, begin, line[3:], "\n".join(lines[begin + 1 : at]), marks)
                marks = {what: why for what, why in marks.items() if why.endswith(SECTION)}
            at += 1
        elif re.match(" {4,}[^ ]", line) and not lines[begin - 1]:
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            yield Block(path.name, begin, "bash", "\n".join(each.strip() for each in lines[begin:at]), marks)
            marks = {what: why for what, why in marks.items() if why.endswith(SECTION)}


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


SWEEPS = {name for block in BLOCKS for name in re.findall(r'sweep="([^"]+)"', block.text)}
"""The names of sweeps that are asked for, which a toy has in their place."""


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.runs]


def finished(uri: str, **changes: Any) -> None:
    """Run a sweep of toys on top of what a store holds."""
    narrow = [{**model, "latent": 16} for model in TOY_MODELS.values()]
    sweep = Sweep.model_validate(toy_sweep(**{"models": narrow, "epochs": 3, **changes}))
    for trial in sweep.trials():
        assert run_trial(trial, open_store(uri)) == "done"
    for name in SWEEPS:
        enroll(sweep.model_copy(update={"name": name}), sweep.trials(), open_store(uri))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the demo leaves, in small, and with tickets of its trials."""
    folder = tmp_path_factory.mktemp("demo")
    uri = str(folder / STORE)
    methods = yaml.safe_load(QUICKSTART.read_text())["methods"]
    finished(uri, methods=methods, sparsities={"rounds": 2})
    _export(folder, uri)
    return folder


def _export(folder: Path, uri: str) -> None:
    from workers.tickets.export import export_ticket

    rows = results.trials(uri)
    for name, model in (("vae", "vae"), ("dcgan", "dcgan"), ("ticket", "vae")):
        row = rows[(rows["model"] == model) & (rows["method"] == "imp")].iloc[0]
        trial = Trial.model_validate_json(row["spec"])
        state = row["start_key" if name == "ticket" else "final_key"]
        mask = results.mask(uri, row["trial_id"])
        export_ticket(
            open_store(uri), trial, state, mask, folder / f"{name}.safetensors", *([] if name == "ticket" else [{}])
        )
    images = Sweep.model_validate(toy_sweep()).trials()[0].dataset
    save_file({"images": _tensor(data.load(images).held_out)}, folder / "images.safetensors")


def _tensor(images: Any) -> Any:
    import torch

    return torch.from_numpy(images.copy())


@pytest.fixture(scope="module")
def grown(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with tickets that moved, and with one that emerged."""
    folder = tmp_path_factory.mktemp("grown") / "folder"
    shutil.copytree(demo, folder)
    uri = str(folder / STORE)
    vae, dcgan = ({**TOY_MODELS[name], "latent": 16} for name in ("vae", "dcgan"))
    moved = {"name": "transfer", "source": {"model": dcgan}, "move": "decoder"}
    finished(uri, models=[vae], methods=[moved], sparsities=[0.2])
    early = {"name": "early_bird", "look_back": 2, "delta": 0.9}
    finished(uri, models=[{**dcgan, "width": 4}], methods=[early], sparsities=[0.3])
    return folder


def call_tombola(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, which has to end well."""
    monkeypatch.setattr(sys, "argv", ["tombola", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in of("python")))
@pytest.mark.parametrize("place", ["demo", "grown"])
@pytest.mark.filterwarnings("ignore")  # of means of nothing, in stores this small
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str, place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(request.getfixturevalue(place))
    monkeypatch.syspath_prepend(ROOT / "docs")
    names: dict[str, Any] = {}
    for block in of("python"):
        if block.page == page and (place == "grown" or "needs" not in block.marks):
            exec(compile(block.text, f"{page}:{block.line}", "exec"), names)


@pytest.mark.parametrize("block", of("yaml"), ids=lambda block: f"{block.page}:{block.line}")
def test_yaml_is_a_sweep_or_a_part_of_one(block: Block) -> None:
    part = yaml.safe_load(block.text)
    whole = {key: value for key, value in toy_sweep().items() if key != "evaluation"}
    assert Sweep.model_validate({**whole, **part})


def test_the_first_sweep_of_readme_is_the_one_that_the_demo_runs() -> None:
    block = next(block for block in of("yaml") if block.page == "README.md")
    assert yaml.safe_load(block.text) == yaml.safe_load(QUICKSTART.read_text())


@pytest.mark.parametrize(
    ("page", "command"),
    [(block.page, line) for block in of("bash") for line in block.text.splitlines()],
    ids=lambda value: str(value),
)
def test_commands_do_what_they_say(
    page: str, command: str, grown: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [word.removeprefix(".venv/bin/") for word in shlex.split(command, comments=True)]
    match words:
        case ["tombola", "run", sweep]:  # what takes minutes or hours is read, and planned by other tests
            assert load_sweep(ROOT / sweep).trials()
        case ["tombola", *rest]:
            shutil.copytree(grown, tmp_path, dirs_exist_ok=True)
            monkeypatch.chdir(tmp_path)
            call_tombola(rest, monkeypatch)
        case ["python", "-m", module]:  # tests/benchmarks runs them all
            assert (ROOT / f"{module.replace('.', '/')}.py").exists()
        case ["python", script] if script.startswith("benchmarks/"):
            assert (ROOT / script).exists()
        case ["python", script, *rest]:
            subprocess.run([sys.executable, str(ROOT / script), *rest], cwd=grown, check=True)
        case _:
            pytest.fail(f"{page}: no test knows how to run {command!r}; mark it as not run, and say why")


def test_what_is_not_run_is_little_and_is_shell_or_stands_elsewhere() -> None:
    left_out = [block for block in BLOCKS if not block.runs]
    assert Counter(block.page for block in left_out) == {"README.md": 1, "cluster.md": 9, "architecture.md": 1}
    for block in left_out:
        if block.language == "bash":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_sweeps_that_are_asked_for_ship() -> None:
    assert {load_sweep(path).name for path in QUICKSTART.parent.rglob("*.yaml")} >= SWEEPS


def test_the_search_in_architecture_is_the_one_that_runs() -> None:
    (block,) = (block for block in BLOCKS if block.page == "architecture.md" and block.language == "python")
    source = (ROOT / "workers" / "searches" / "imp.py").read_text()
    assert textwrap.indent(block.text, "    ") in source


CALLS = re.findall(r"^\| `(tombola .+?)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)


ELSEWHERE = ("tombola submit", "tombola error")
"""What needs a cluster, or a trial that failed: tests of their own have these."""


@pytest.mark.parametrize("call", [call for call in CALLS if not call.startswith(ELSEWHERE)])
def test_every_call_in_readme_ends_well(
    call: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("SWEEP.yaml").write_text(yaml.safe_dump(toy_sweep(name="readme")))
    row = results.trials(STORE).iloc[0]
    given = {"TRIAL_ID": row["trial_id"], "FILE": "ticket.safetensors"}
    words = [given.get(word, word) for word in shlex.split(call)]
    local = ["--local"] if words[1] in ("run", "resume") else []
    if words[1] == "explain":
        call_tombola(["run", "SWEEP.yaml", "--local"], monkeypatch)
        words[2] = results.trials(STORE).sort_values("finished").iloc[-1]["trial_id"]
    call_tombola([*words[1:], *local], monkeypatch)
    assert capsys.readouterr().out
