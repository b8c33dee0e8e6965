"Papermill alone: what it is given is checked before anything is loaded, and it leaves the rows that a sweep leaves."
import json, subprocess, sys
from pathlib import Path
import pandas as pd
import pytest
from vlm4vla.launch.parameters import parameters_of
from vlm4vla.core import UserError
from vlm4vla.results.tables import load
from vlm4vla.launch.sweep import sweep

ROOT = Path(__file__).resolve().parent.parent
RUNS = sorted((ROOT/"nbs"/"runs").glob("*.ipynb"))
SMOKE = "tiny-qwen3-vl__grinningface__smoke__s0"
# notebook, what it is given, the sentence
WRONG = [("train", ["-p", "experimnt", SMOKE], "There is no parameter 'experimnt'; did you mean 'experiment'?"),
         ("evaluate", ["-p", "workers", "abc"], "The parameter workers must be a whole number, not 'abc'."),
         ("evaluate", ["-p", "workers", "0"], "The parameter workers must be a whole number of at least 1, not 0."),
         ("evaluate", ["-p", "chunk_mode", "hafl"], "The parameter chunk_mode cannot be 'hafl'; did you mean 'half'?"),
         ("train", ["-p", "experiment", "tiny-qwen3-v__grinningface__smoke__s0"],
          "There is no backbone 'tiny-qwen3-v'; did you mean 'tiny-qwen3-vl'?"),
         ("train", ["-p", "gradient_checkpointing", "maybe"], "The parameter gradient_checkpointing must be True or False, not 'maybe'."),
         ("train", ["-p", "proceses", "2"], "There is no parameter 'proceses'; did you mean 'nproc_per_node'?"),
         ("evaluate", ["-p", "share", "0/2", "-p", "shard", "1/2"],
          "The parameter share is now shard, and both are given; leave share out."),
         ("pretrain_mini", ["-p", "backbone", "mini-qwen3"],
          "The parameter backbone cannot be 'mini-qwen3'; did you mean 'mini-qwen3-vl'?")]

def command(name, to, *given): return [sys.executable, "-m", "papermill", f"nbs/runs/{name}.ipynb", str(to), "--no-progress-bar", *given]

def code(path): return [c for c in json.loads(Path(path).read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]

@pytest.mark.parametrize("name,given,sentence", WRONG, ids=[" ".join(w[1][1:]) for w in WRONG])
def test_wrong_parameters_are_one_sentence(name, given, sentence):
    "The first cells, with what papermill makes of its command line."
    from papermill.cli import _resolve_type
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook
    nb = load_notebook_node(str(ROOT/"nbs"/"runs"/f"{name}.ipynb"))
    nb = parameterize_notebook(nb, {k: _resolve_type(v) for k, v in zip(given[1::3], given[2::3])})
    cells = [c.source for c in nb.cells if c.cell_type == "code"][:4]
    assert "\ncheck_parameters(" in "\n" + cells[-1]
    names = dict(In=cells)
    for source in cells[:-1]: exec(source, names)
    with pytest.raises(UserError) as heard: exec(cells[-1], names)
    assert str(heard.value) == sentence

@pytest.mark.parametrize("name,given,sentence", WRONG[:2], ids=[w[0] for w in WRONG[:2]])
def test_wrong_parameters_are_refused_before_anything_is_loaded(tmp_path, name, given, sentence):
    made, out = tmp_path/"made.ipynb", tmp_path/"out"
    done = subprocess.run(command(name, made, *given, "-p", "out", str(out)), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and f"UserError: {sentence}\n" in done.stderr, done.stderr[-500:]
    ran = [c for c in code(made) if c["execution_count"]]
    # the parameters, papermill's, imports, the check
    assert "\ncheck_parameters(" in "\n" + "".join(ran[-1]["source"]) and len(ran) == 4
    assert not out.exists()

@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_the_check_comes_right_after_the_parameters_and_needs_no_torch(path, without):
    first, imports, check = ("".join(c["source"]) for c in code(path)[:3])
    assert "parameters" in code(path)[0]["metadata"]["tags"] and "check_parameters(globals()" in check
    run = "\n".join([first, imports, "import sys", check, "assert 'torch' not in sys.modules"])
    done = without(["torch", "transformers", "matplotlib"], run)
    assert done.returncode == 0, done.stderr[-500:]

@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_papermill_explains_every_parameter(path):
    from click.testing import CliRunner
    from papermill.cli import papermill
    help_ = CliRunner().invoke(papermill, ["--help-notebook", str(path)]).stdout
    shown = help_.split("\n", 3)[-1]
    for name in parameters_of(path):
        kind, _, said = shown.partition(f"  {name}: ")[2].partition(" (default ")
        assert kind in ("str", "int", "float", "bool"), shown
        about = " ".join(said.partition(")")[2].split())
        assert about and not about.startswith("None"), f"{name}: {shown}"
    assert "Unknown type" not in help_ and "Can't infer" not in help_

def test_old_parameters_work_and_say_their_new_name(tmp_path):
    "Fields of the recipe are set beside them."
    given = ["-p", "processes", "1", "-p", "recompute", "True", "-r", "follow", "", "-p", "set", "steps=2,lr=1e-4"]
    done = subprocess.run(command("train", tmp_path/"made.ipynb", *given, "-r", "out", str(tmp_path/"out")), cwd=ROOT,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    said = json.loads((tmp_path/"out"/"provenance"/f"{SMOKE.replace('smoke', 'smoke+lr-0.0001+steps-2')}.json").read_text())["train"]
    assert said["parameters"]["set"] == "steps=2,lr=1e-4" and said["resolved"]["recipe"]["lr"] == 1e-4
    run = said["parameters"]
    assert (run["nproc_per_node"], run["gradient_checkpointing"]) == (1, True) and "recompute" not in run
    outputs = [o for c in code(tmp_path/"made.ipynb") for o in c["outputs"]]
    said = "".join("".join(o.get("text", "")) for o in outputs)
    for old, new in (("processes", "nproc_per_node"), ("recompute", "gradient_checkpointing"), ("follow", "logger")):
        assert said.count(f"The parameter {old} is now {new}; the old name goes away with the next release.") == 1, said
    head = "".join(next(d["text/markdown"] for o in outputs if "text/markdown" in (d := o.get("data", {}))))
    assert "| gradient_checkpointing | `True` | given as recompute |" in head

def same(table, out, drop): return load(table, out).drop(columns=drop)

def test_papermill_alone_leaves_the_rows_of_a_sweep(tmp_path, brief):
    short = SMOKE.replace("grinningface", brief)
    alone, swept = tmp_path/"alone", tmp_path/"swept"
    script = " && ".join(
        f"{sys.executable} -m papermill nbs/runs/{n}.ipynb {tmp_path/n}.ipynb --no-progress-bar -p experiment {short} -p out {alone}"
        + (" -p workers 2" if n == "evaluate" else "") for n in ("train", "evaluate"))
    p = subprocess.Popen(["sh", "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    report = sweep([short], swept, workers=2)
    _, said = p.communicate(timeout=600)
    assert p.returncode == 0, said[-500:]
    assert (report.status == "done").all() and len(report) == 2
    for table, by_the_clock in dict(episodes=["seconds"], train_log=[], runs=["started", "seconds"]).items():
        a, b = same(table, alone, by_the_clock), same(table, swept, by_the_clock)
        assert len(a)
        pd.testing.assert_frame_equal(a, b)
    for name in ("train", "evaluate"):   # what a reader of the executed notebook sees
        shown = [o.get("data", {}) for c in code(tmp_path/f"{name}.ipynb") for o in c["outputs"]]
        head = "".join(next(d["text/markdown"] for d in shown if "text/markdown" in d))
        assert f"| experiment | `{short}` | given |" in head and "commit " in head and "torch 2." in head
        assert any("text/html" in d for d in shown) and any("image/png" in d for d in shown)
        assert not any("Warning" in "".join(o.get("text", "")) for c in code(tmp_path/f"{name}.ipynb") for o in c["outputs"])
