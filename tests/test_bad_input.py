"""What a user gets wrong at the command line ends in one line (expected, received, next step), exit code 2 and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers_commands import MODULES, Commands, run_at_once

TRAIN = ("data=events", "store=store", "out=made", "data.split.horizon_days=14", "trainer.enable_progress_bar=false")
SETTINGS = "average_weights, batches_per_epoch, categories, checkpoint_minutes, counted_events, customers_per_batch, "


@pytest.fixture
def folder(small_store: Path, small_run: Path, tmp_path: Path) -> Path:
    """A place with a store and a finished run, to be changed."""
    shutil.copytree(small_store, tmp_path / "store")
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# Typing mistakes, in all three commands

TYPOS: dict[str, tuple[str, list[str], str]] = {
    "a misspelt group": ("run", ["trainr=cpu"], f"expected a setting ({SETTINGS}*), received trainr; did you mean trainer? --help"),
    "a misspelt setting of a group": (
        "run",
        ["trainer.max_epoch=3"],
        "expected a setting of trainer (accelerator, devices, enable_progress_bar, gradient_clip_val, max_epochs), received "
        "trainer.max_epoch; did you mean max_epochs? --help",
    ),
    "a misspelt setting of the log": ("run", ["data=events", "data.splt=1"], "received data.splt; did you mean split?"),
    "no such log": ("run", ["data=nosuchlog"], "expected data=*|events|*, received data=nosuchlog; choose one"),
    "no such objective": (
        "run",
        ["objective=[intnt]"],
        "expected objective=dormancy|intent|loyalty|next_item|presence|value, received objective=intnt; did you mean intent?",
    ),
    "no such experiment": (
        "run",
        ["experiment=dmo"],
        "expected experiment=*|demo|*, received experiment=dmo; did you mean demo?",
    ),
    "no such trainer": ("run", ["data=events", "trainer=tpu"], "expected trainer=cpu|ddp|gpu, received trainer=tpu; did you mean gpu?"),
    "nothing for a group": (
        "run",
        ["data=events", "encoder=null"],
        "Config group override must be a string or a list*--help lists what there",
    ),
    "no log": ("run", [], "expected data=LOG or experiment=NAME, received neither; --help lists them"),
    "a setting of a log that is not chosen": (
        "run",
        ["data.split.horizon_days=3"],
        "before settings of data can be changed, received none",
    ),
    "no equals sign": ("run", ["force"], "missing EQUAL at '<EOF>'*--help lists what there is"),
    "no such argument of Lightning's": (
        "run",
        [*TRAIN, "+trainer.epochs=3"],
        "expected arguments of Lightning's Trainer*keyword argument 'epochs'",
    ),
    "no such accelerator": ("run", [*TRAIN, "trainer.accelerator=abacus"], "expected arguments of Lightning's Trainer*abacus"),
    "a word for a number": ("run", [*TRAIN, "dim=wide"], "expected dim to be a whole number from 1 on, received 'wide'; correct it"),
    "heads that do not fit": (
        "run",
        [*TRAIN, "encoder.num_heads=3"],
        "expected dim to be a multiple of encoder.num_heads, received 64 and 3;",
    ),
    "preprocess: a misspelt group": ("preprocess", ["engin=cpu"], "received engin; did you mean engine? --help"),
    "preprocess: no such engine": (
        "preprocess",
        ["data=events", "engine=tpu"],
        "expected engine=cpu|dask|gpu, received engine=tpu; did you mean",
    ),
    "preprocess: no such log": ("preprocess", ["data=event"], "expected data=*, received data=event; did you mean events?"),
    "export: a misspelt setting": ("export", ["run=run", "golden_customer=3"], "received golden_customer; did you mean golden_customers?"),
    "export: no run": ("export", [], "expected run=FOLDER, received none; for example run=runs/demo"),
    "score: a misspelt setting": ("score", ["run=run", "reason=3"], "received reason; did you mean reasons?"),
    "score: no run": ("score", [], "expected run=FOLDER, received none; for example run=runs/demo"),
    "score: no date": ("score", ["run=run", "now=[1]"], "expected now to be a text * or null, received [1]; correct it"),
}

# Settings that can be composed, but mean nothing

SETTINGS_OF = {
    "a name that the optimiser lacks": (
        ["+optimiser.x=1"],
        "expected a setting of optimiser (learning_rate, warmup_steps, weight_decay), received optimiser.x; leave it out",
    ),
    "a name that the optimiser needs": (
        ["~optimiser.warmup_steps"],
        "expected a value for optimiser.warmup_steps, received none; set optimiser.warmup_steps=VALUE",
    ),
    "a name that an objective lacks": (
        ["+objectives.intent.x=1"],
        "expected a setting of objectives.intent (*), received objectives.intent.x;",
    ),
    "what an objective gets from the log": (["+objectives.intent.facts=1"], "received objectives.intent.facts; leave it out"),
    "a name that moments lack": (["+moments.x=1"], "expected a setting of moments (cold_start, per_customer), received moments.x;"),
    "a name that the encoder lacks": (["+encoder.x=1"], "expected a setting of encoder (*), received encoder.x;"),
    "a coefficient that is none": (
        ["member_value.at_most=0.5"],
        "expected member_value.at_most to be a number from 1.0 on, received 0.5;",
    ),
    "a name that nothing takes": (["+patiance=1"], "expected a setting (*), received patiance; did you mean patience?"),
    "no such class": (
        ["encoder._target_=training.models.rnn.RNN"],
        "expected encoder._target_ to name a class, received 'training.models.rnn",
    ),
    "no class at all": (["+objectives.third.weight=1"], "expected objectives.third._target_ to name a class, received None"),
    "no learning rate": (["optimiser.learning_rate=null"], "expected optimiser.learning_rate to be a number from 0.0 on, received None;"),
    "no horizon": (["data.split.horizon_days=null"], "expected data.split.horizon_days to be a number above 0.0, received None;"),
    "no horizon of intent": (
        ["data.intent_horizon_days=null"],
        "expected data.intent_horizon_days to be a number above 0.0, received None;",
    ),
    "a letter as a weight": (["objectives.intent.weight=x"], "expected objectives.intent.weight to be a number from 0.0 on, received 'x';"),
    "a letter as a chance": (["moments.cold_start=x"], "expected moments.cold_start to be a number from 0.0 to 1.0, received 'x';"),
    "no moment in so many": (
        ["objectives.next_item.every=0"],
        "expected objectives.next_item.every to be a whole number from 1 on, received 0;",
    ),
    "half an answer": (
        ["objectives.next_item.top_k=0.5"],
        "expected objectives.next_item.top_k to be a whole number from 1 on, received 0.5;",
    ),
    "no heads": (["encoder.num_heads=0"], "expected encoder.num_heads to be a whole number from 1 on, received 0;"),
    "a seed that is too long": (["seed=99999999999999999999"], "expected seed to be a whole number from 0 to 2147483647, received 9999"),
    "no place": (["out=null"], "expected out to be a text, received None;"),
    "the answer's time beside who will come": (
        ["knows_target_time=true"],
        "expected objective=[next_item] where knows_target_time=true, received next_item, intent; ask one of them",
    ),
    "no item": (["categories=[event]"], "expected item and event among categories, received event; add item"),
    "a text for a list": (
        ["categories=item"],
        "expected categories to be a list of names, written [a,b], of one or more, received 'item';",
    ),
    "a text for the events": (
        ["data.next_item_events=purchase"],
        "expected data.next_item_events to be a list of names, *, received 'purchase';",
    ),
    "no events": (["data.intent_events=[]"], "expected data.intent_events to be a list of names, *, received [];"),
    "a text for the split": (["data.split=time"], "expected data.split to be settings of its own, received 'time';"),
    "a text for an objective": (["objectives.intent=yes"], "expected objectives.intent._target_ to name a class, received None;"),
    "a misspelt field": (["numbers=[prise]"], "expected numbers to name fields of kind number (*), received prise; did you mean price?"),
    "a field that nobody declared": (["numbers=[basket_weight]"], "received basket_weight; correct it, or declare it under data.fields"),
    "a field of another kind": (["numbers=[brand]"], "expected numbers to name fields of kind number (*), received brand, a category;"),
}
TYPOS |= {name: ("run", [*TRAIN, *overrides], expected) for name, (overrides, expected) in SETTINGS_OF.items()}
TYPOS |= {
    "export: fewer answers than none": (
        "export",
        ["run=run", "golden_customers=-1"],
        "expected golden_customers to be a whole number from 0 on, received -1; correct it",
    ),
}

# What is there, but can't be used


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def nothing(_folder: Path) -> None:
    """The folder as it is."""


BROKEN: dict[str, tuple[Callable[[Path], object], str, list[str], str]] = {
    "no store": (
        lambda folder: shutil.rmtree(folder / "store"),
        "run",
        list(TRAIN),
        "store: expected a sequence store, found no store.json; make one with `python -m training.preprocess data=LOG out=store`",
    ),
    "a changed store": (
        lambda folder: flip_a_byte(folder / "store" / "events.arrow"),
        "run",
        list(TRAIN),
        "store/events.arrow: expected sha256 *, found *; make it again with `python -m training.preprocess data=events out=store force=",
    ),
    "a truncated store": (
        lambda folder: (folder / "store" / "customers.arrow").write_bytes(b"ARROW1"),
        "run",
        list(TRAIN),
        "store/customers.arrow: expected * bytes, found 6; make it again with",
    ),
    "a store of another version": (
        lambda folder: change(folder / "store" / "store.json", version=2),
        "run",
        list(TRAIN),
        "expected format 'revisit-store' version 1, found ('revisit-store', 2); make it again with",
    ),
    "no GPU": (nothing, "run", [*TRAIN, "trainer=gpu"], "expected a CUDA GPU for trainer=gpu, found none; use trainer=cpu, or"),
    "no GPU for two processes": (nothing, "run", [*TRAIN, "trainer=ddp", "trainer.accelerator=gpu"], "expected a CUDA GPU for trainer=gpu"),
    "an event name that is not in the log": (
        nothing,
        "run",
        [*TRAIN, "data.intent_events=[buy]"],
        "expected event names of this log (purchase, view), received buy; see conf/data",
    ),
    "a horizon longer than the log": (
        nothing,
        "run",
        [*TRAIN, "data.split.horizon_days=150"],
        "expected first event < validation cutoff < test cutoff <= last event, received *; set data.split.horizon_days or the cutoffs",
    ),
    "a date that is none": (
        nothing,
        "run",
        [*TRAIN, "data.split.test_cutoff=spring"],
        "expected test_cutoff as a date like 2017-12-04, received",
    ),
    "a run of other settings": (
        nothing,
        "run",
        [*TRAIN, "out=run"],
        "expected run to be free or to hold a run of these settings, found * there and not *; choose name=... or force=true",
    ),
    "force and no GPU": (nothing, "run", [*TRAIN, "out=run", "force=true", "trainer=gpu"], "expected a CUDA GPU for trainer=gpu"),
    "no run": (
        nothing,
        "export",
        ["run=runs/demo"],
        "expected a finished run in runs/demo, found none; train it with python -m training.run",
    ),
    "no run to score": (
        nothing,
        "score",
        ["run=runs/demo"],
        "expected a finished run in runs/demo, found none; train it with python -m training.run",
    ),
    "another file where scores would go": (
        lambda folder: (folder / "made").write_text("mine"),
        "score",
        ["run=run", "out=made"],
        "expected scores or nothing in made, found another file; choose another place with out=FILE",
    ),
    "an unfinished run": (
        lambda folder: (folder / "run" / "summary.json").unlink(),
        "export",
        ["run=run"],
        "expected a finished run in run, found none; train it with python -m training.run",
    ),
    "a damaged checkpoint": (
        lambda folder: (folder / "run" / "checkpoints" / "best.ckpt").write_bytes(b"PK"),
        "export",
        ["run=run"],
        "expected a checkpoint in run/checkpoints/best.ckpt, found a damaged file; train the run anew with force=true",
    ),
    "a file where the run would go": (
        lambda folder: (folder / "made").write_text("mine"),
        "run",
        list(TRAIN),
        "expected a run or nothing in made, found other files; choose another place with out=FOLDER",
    ),
    "other files where the run would go": (
        nothing,
        "run",
        [*TRAIN, "out=store"],
        "expected a run or nothing in store, found other files; choose another place with out=FOLDER",
    ),
    "a place where nothing can be written": (
        nothing,
        "run",
        [*TRAIN, "out=/proc/made"],
        "expected a place to write /proc/made/config.yaml to, received *; choose another with out=FOLDER",
    ),
    "a folder in a file, for the artifact": (
        lambda folder: (folder / "file").write_text("mine"),
        "export",
        ["run=run", "out=file/made"],
        "expected a place to write file/made to, received Not a directory (*); choose another with out=FOLDER",
    ),
    "other files where the artifact would go": (
        nothing,
        "export",
        ["run=run", "out=store"],
        "expected an artifact or nothing in store, found",
    ),
}


def assert_one_line(code: int, err: str, expected: str) -> None:
    """`expected` in the order given, with anything for each *."""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    rest = err
    for part in expected.split("*"):
        assert part in rest, err
        rest = rest[rest.index(part) + len(part) :]
    assert code == 2


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typing_mistake_is_one_line_that_names_what_is_possible(commands: Commands, folder: Path, typo: str) -> None:
    command, overrides, expected = TYPOS[typo]
    before = contents(folder)
    outcome = commands.run(f"training.{command}", *overrides, folder=folder)
    assert_one_line(outcome.code, outcome.err, expected)
    assert contents(folder) == before


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(commands: Commands, folder: Path, broken: str) -> None:
    spoil, command, overrides, expected = BROKEN[broken]
    spoil(folder)
    before = contents(folder)
    outcome = commands.run(f"training.{command}", *overrides, folder=folder)
    assert_one_line(outcome.code, outcome.err, expected)
    assert contents(folder) == before


def test_each_command_ends_so_in_a_python_of_its_own(folder: Path) -> None:
    words = [("training.preprocess", "data=nosuchlog"), ("training.run", "trainr=cpu"), ("training.export", "run=nowhere")]
    before = contents(folder)
    for outcome, expected in zip(
        run_at_once(words, folder=folder), ("expected data=", "did you mean trainer?", "finished run"), strict=True
    ):
        assert_one_line(outcome.code, outcome.err, expected)
    assert contents(folder) == before


def test_programmers_errors_keep_their_stack_trace(commands: Commands, folder: Path) -> None:
    path = folder / "run" / "checkpoints" / "last.ckpt"  # not a mistake of the user's, but a file that we wrote ourselves
    torch.save({**torch.load(path, weights_only=True), "config": {}}, path)
    outcome = commands.run("training.run", *TRAIN, "out=run", folder=folder)
    assert outcome.code == 1
    assert "Traceback" in outcome.err


@pytest.mark.parametrize("module", MODULES)
def test_every_command_explains_itself(commands: Commands, tmp_path: Path, module: str) -> None:
    outcome = commands.run(module, "--help", folder=tmp_path)
    assert outcome.code == 0, outcome.err
    assert f"python -m {module} " in outcome.out
    assert "force=true" in outcome.out
    assert not list(tmp_path.iterdir())
