"""Every page is true: its commands exist and answer --help, its settings compose, its links and files are there, its Python compiles."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers_commands import Commands, Outcome
from hydra import compose, initialize_config_module

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "kernels").rglob("*.md"))]
SHELLS = {"bash", "console", "sh", "shell"}
OURS = {"benchmarks", "kernels", "serving", "training"}
THEIRS = {"cd", "cp", "curl", "docker", "git", "pip", "tensorboard", "tritonserver"}


@dataclass(frozen=True)
class Command:
    """One command of a page: its words, without the variables set before it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"

    @property
    def module(self) -> str | None:
        """`X` of `python -m X`, if `X` is ours."""
        module = self.words[2] if self.words[0].endswith("python") and self.words[1:2] == ("-m",) else ""
        return module if module.partition(".")[0] in OURS else None


def blocks(page: str, languages: set[str]) -> list[str]:
    """The fenced blocks of a page's text that are in one of `languages`."""
    fences = re.findall(r"^ *```(\w+)[^\n]*\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    return [body for language, body in fences if language in languages]


def commands(name: str, page: str) -> list[Command]:
    """The commands in a page's shell blocks, fenced or indented, in order; lines joined at a backslash, parted at && and |."""
    indented = re.findall(r"^ {4}((?:make|python -m) .*)$", page, re.MULTILINE)
    found = []
    for line in "\n".join([*blocks(page, SHELLS), *indented]).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part.removeprefix("$ "), comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            found += [Command(name, tuple(words))] if words else []
    return found


def shown_configs(page: str) -> dict[str, str]:
    """The configs that a page has its reader write: a line that names the file and `conf/<group>` and ends in a colon, then the file."""
    shown = re.findall(r"^(.*`[^`]*\.yaml`.*):\n+```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = {}
    for line, body in shown:
        group, name = re.search(r"conf/(\w+)", line), re.search(r"(\w+\.yaml)", line)
        if group and name:
            found[f"{group[1]}/{name[1]}"] = body
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


COMMANDS = sorted({command for page in PAGES for command in commands(name_of(page), page.read_text())}, key=str)
MODULES = sorted({command.module for command in COMMANDS if command.module})


@pytest.fixture(scope="module")
def helps(commands: Commands) -> dict[str, Outcome]:
    """What comes of each module's --help."""
    return {module: commands.run(module, "--help", folder=ROOT) for module in MODULES}


def test_commands_are_found_in_a_page() -> None:
    page = (
        "```bash\n$ make demo  # first\nA=1 python -m training.run \\\n  data=x && cd y\n```\n```yaml\nnot: a command\n```\n    make test\n"
    )
    assert [command.words for command in commands("page", page)] == [
        ("make", "demo"),
        ("python", "-m", "training.run", "data=x"),
        ("cd", "y"),
        ("make", "test"),
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_exists(command: Command) -> None:
    if command.words[0] == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in command.words[1:] if "=" not in word} <= targets
    else:
        assert command.module or command.words[0] in THEIRS, f"{command.words[0]} is neither ours nor known here"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_explains_itself(helps: dict[str, Outcome], module: str) -> None:
    assert helps[module].code == 0, f"python -m {module} --help: {helps[module].err}"
    assert len(helps[module].out.splitlines()) > 3


@pytest.mark.parametrize("command", [command for command in COMMANDS if (command.module or "").startswith("training.")], ids=str)
def test_every_setting_composes(command: Command, tmp_path: Path) -> None:
    source = (ROOT / f"{str(command.module).replace('.', '/')}.py").read_text()
    config_name = re.findall(r'config_name="(\w+)"', source)[0]
    for name, body in shown_configs((ROOT / command.page).read_text()).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body)
    settings = [word for word in command.words[3:] if not word.startswith("-")]
    with initialize_config_module("conf", version_base="1.3"):
        compose(config_name, overrides=[*settings, f"hydra.searchpath=[file://{tmp_path}]"])


@pytest.mark.parametrize("command", [command for command in COMMANDS if (command.module or "").startswith("serving.")], ids=str)
def test_every_flag_is_in_the_help(helps: dict[str, Outcome], command: Command) -> None:
    flags = {word.partition("=")[0] for word in command.words[3:] if word.startswith("-")}
    assert flags <= set(re.findall(r"--?[a-z][a-z-]*", helps[str(command.module)].out))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_file_is_there(page: Path) -> None:
    text = page.read_text()
    links = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    shown = {f"conf/{name}" for name in shown_configs(text)}
    paths = {path for path in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if (ROOT / path.partition("/")[0]).exists()} - shown
    made = {path for path in paths if path.startswith(("outputs/", "runs/", "stores/"))}
    assert [link for link in sorted(links) if not (page.parent / link).exists()] == []
    assert [path for path in sorted(paths - made) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_snippet_compiles(page: Path) -> None:
    for body in blocks(page.read_text(), {"python"}):
        compile(body, name_of(page), "exec")
