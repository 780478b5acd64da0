"""The table in the chapter on transformers is the one that its command prints."""

import json
import re
import shlex

import nbformat

import chapters
from normtutorial import History, Transformer, cli, commands
from normtutorial.studies import Run

CHAPTER = nbformat.read(chapters.find("transformers"), as_version=4)
RECORD = json.loads((chapters.ROOT / "records" / "transformer.json").read_text("utf-8"))


def asked(command):
    """What a command line asks for, wherever its record goes."""
    _, *words = shlex.split(command.replace("\\\n", " "))
    settings = vars(cli.parser().parse_args(words))
    return {name: value for name, value in settings.items() if name != "json"}


def test_the_command_on_the_page_is_the_one_that_made_the_record():
    text = "\n".join(cell.source for cell in CHAPTER.cells if cell.cell_type == "markdown")
    (command,) = re.findall(r"```bash\npython -m (normtutorial compare .*?)\n```", text, re.DOTALL)
    assert asked(command) == asked(RECORD["command"])
    assert RECORD["source"] == "mnist"


def test_the_table_on_the_page_is_what_the_command_prints(capsys):
    head = "norm", "runs", "accuracy", "lowest", "highest", "s/epoch", "parameters"
    print(commands.TABLE.format(*head))
    for norm in asked(RECORD["command"])["norms"]:
        runs = [
            Run(
                norm,
                RECORD["lr"],
                run["seed"],
                History(test_metric=run["test_accuracy"], epoch_seconds=run["epoch_seconds"]),
            )
            for run in RECORD["runs"][norm]
        ]
        commands.print_row(runs, Transformer)
    (cell,) = (cell for cell in CHAPTER.cells if "records/transformer.json" in cell.source)
    assert "".join(output.text for output in cell.outputs) == capsys.readouterr().out
