"A sweep can be killed at any moment and ends with the same rows."
import json, os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from toys import notebook
from vlm4vla.launch import sweep as module
from vlm4vla.core import UserError
from vlm4vla.results.tables import append, load
from vlm4vla.launch.sweep import leftovers, plan_sweep, sweep

IDS = [f"tiny-qwen3-vl__grinningface__smoke__s{i}" for i in range(2)]
HEAD = """
import os, time
from pathlib import Path
from vlm4vla.catalog.experiments import experiments
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.results.tables import append, done_keys
e, out = experiments[experiment], Path(out)
with open(out/"starts.txt", "a") as f: f.write(f"{kind} {e.run_id} {os.environ['VLM4VLA_THREADS']}\\n")
def done():
    append("runs", [dict(run_id=e.run_id, kind=kind, backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=e.seed, step=1,
                                 checkpoint="", status="done", git_sha="", started="", seconds=0.)], out, replace=True)
"""
TRAIN = """
if (out/"broken").exists() and e.seed == 0: raise ValueError("no such luck")
if (out/"fatal").exists() and e.seed == 0: os._exit(7)
folder = out/"checkpoints"/e.run_id; folder.mkdir(parents=True, exist_ok=True)
time.sleep(.5)
(folder/"model.safetensors").write_text("weights"); done()
"""
EVALUATE = """
have = done_keys(e.run_id, out)
for split in benchmarks[e.benchmark].splits:
    for i in range(e.recipe.eval_episodes):
        row = dict(run_id=e.run_id, benchmark=e.benchmark, split=split, task="place", episode=i, chunk_mode="5 of 10",
                   success=(e.seed + i) % 2 == 0, n_steps=1, seconds=0.)
        if (e.run_id, e.benchmark, split, "place", i, "5 of 10") in have: continue
        time.sleep(.5)
        append("episodes", [row], out)
done()
"""

@pytest.fixture
def toy(tmp_path):
    "A folder with two run notebooks, and an empty one for their rows."
    folder, out = tmp_path/"runs", tmp_path/"results"
    folder.mkdir(); out.mkdir()
    for name, kind, body in (("train", "train", TRAIN), ("evaluate", "eval", EVALUATE)):
        notebook(folder/f"{name}.ipynb", 'experiment:str = "" # which\nout:str = "" # where', f"kind = {kind!r}\n{HEAD}", body)
    return folder, out

def numbers(out): return (out/"episodes.parquet").read_bytes(), (out/"runs.csv").read_bytes(), (out/"scores.csv").read_bytes()

KILLED = "import sys; from vlm4vla.launch.sweep import sweep; sweep(sys.argv[3:], sys.argv[1], jobs=2, notebooks=sys.argv[2])"

def test_a_killed_sweep_ends_like_an_undisturbed_one(toy, root, tmp_path):
    folder, out = toy
    calm = tmp_path/"calm"; calm.mkdir()
    assert (sweep(IDS, calm, jobs=2, notebooks=folder).status == "done").all()
    wanted = lambda: (out/"starts.txt").read_text().count("eval") if (out/"starts.txt").exists() else 0
    for moment in (lambda: (out/"starts.txt").exists(), wanted, lambda: len(load("episodes", out)) > 1):
        p = subprocess.Popen([sys.executable, "-c", KILLED, str(out), str(folder), *IDS], cwd=root, stderr=subprocess.DEVNULL)
        until = time.time() + 60
        while not moment() and p.poll() is None and time.time() < until: time.sleep(.02)
        p.send_signal(signal.SIGKILL); p.wait()
    report = sweep(IDS, out, jobs=2, notebooks=folder)
    assert (report.status == "done").all() and len(sweep(IDS, out, notebooks=folder)) == 0
    assert not any(leftovers(f"{out.resolve()}:{i}") for i in IDS)
    assert load("episodes", out).groupby("run_id").size().tolist() == [2, 2]
    assert numbers(out) == numbers(calm)

def test_a_failure_is_reported_and_the_rest_goes_on(toy):
    folder, out = toy
    (out/"broken").touch()
    report = sweep(IDS, out, jobs=2, retries=1, notebooks=folder).set_index(["run_id", "notebook"])
    assert report.loc[(IDS[0], "train"), ["status", "tries", "cell", "error"]].tolist() == ["failed", 2, 4, "ValueError: no such luck"]
    assert Path(report.loc[(IDS[0], "train"), "executed"]).is_file()
    assert report.loc[(IDS[0], "evaluate"), "status"] == "skipped" and report.loc[(IDS[1], "evaluate"), "status"] == "done"
    assert plan_sweep(IDS, out).evaluate.tolist() == ["to do", "done"]
    (out/"broken").unlink(); (out/"fatal").touch()
    report = sweep(IDS, out, notebooks=folder)
    assert report.status.tolist() == ["failed", "skipped"] and report.cell[0] == 0 and "died" in report.error[0].lower()

def test_what_is_missing_is_said_in_one_sentence(toy, tmp_path, monkeypatch):
    folder, out = toy
    with pytest.raises(UserError, match="--jobs must be a whole number of at least 1"): sweep(IDS, out, jobs=0, notebooks=folder)
    with pytest.raises(UserError, match="--workers must be a whole number of at least 1"): sweep(IDS, out, workers=0, notebooks=folder)
    with pytest.raises(UserError, match="did you mean 'tiny-qwen3-vl'"):
        sweep(["tiny-qwen3-v__grinningface__smoke__s0"], out, notebooks=folder)
    with pytest.raises(UserError, match="train it first"): sweep(IDS, out, only="evaluate", notebooks=folder)
    with pytest.raises(UserError, match="set VLM4VLA_HOME"): sweep(IDS, out, notebooks=tmp_path/"nowhere")
    notebook(folder/"train.ipynb", "out = ''", "1", tag="other")
    with pytest.raises(UserError, match="0 cells tagged `parameters`"): sweep(IDS, out, notebooks=folder)
    notebook(folder/"train.ipynb", "out = ''", "1")
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    def no(self, name): raise NoSuchKernel(name)
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", no)
    with pytest.raises(UserError, match="Jupyter has no kernel .python3.; make it with"): sweep(IDS, out, notebooks=folder)
    assert not load("runs", out).size

def test_an_experiment_belongs_to_one_sweep(toy):
    folder, out = toy
    from vlm4vla.catalog.experiments import experiments
    lock = module._hold(experiments[IDS[0]], out)
    report = sweep(IDS[:1], out, notebooks=folder)
    assert report.status.tolist() == ["busy", "skipped"] and not (out/"starts.txt").exists()
    lock.close()

def test_lost_weights_are_trained_again_only_when_they_are_needed(toy):
    folder, out = toy
    sweep(IDS[:1], out, only="train", notebooks=folder)
    (out/"checkpoints"/IDS[0]/"model.safetensors").unlink()
    assert plan_sweep(IDS[:1], out).train.item() == "weights are gone"
    assert sweep(IDS[:1], out, notebooks=folder).notebook.tolist() == ["train", "evaluate"]
    (out/"checkpoints"/IDS[0]/"model.safetensors").unlink()
    assert plan_sweep(IDS[:1], out)[["train", "evaluate"]].values.tolist() == [["done", "done"]]

def test_runs_side_by_side_compute_with_one_thread_each(toy, monkeypatch):
    folder, out = toy
    monkeypatch.delenv("VLM4VLA_THREADS", raising=False)
    sweep(IDS, out, jobs=2, only="train", notebooks=folder)
    assert {l.split()[-1] for l in (out/"starts.txt").read_text().splitlines()} == {"1"}
    monkeypatch.setenv("VLM4VLA_THREADS", "3")
    from vlm4vla.catalog.experiments import experiments
    assert module.job_environment(experiments[IDS[0]], out)["VLM4VLA_THREADS"] == "3"

STILLBORN = """
import os, sys
from pathlib import Path
mark = Path({mark!r})
if "ipykernel_launcher" in sys.orig_argv and len(list(mark.iterdir())) < {n}: (mark/str(os.getpid())).touch(); os._exit(1)
"""

@pytest.mark.parametrize("times,ends", [(1, ["done", "done"]), (9, ["failed", "skipped"])])
def test_a_kernel_that_dies_before_a_cell_has_run_is_no_try(toy, tmp_path, monkeypatch, times, ends):
    folder, out = toy
    (tmp_path/"site").mkdir(); (tmp_path/"mark").mkdir()
    (tmp_path/"site"/"sitecustomize.py").write_text(STILLBORN.format(mark=str(tmp_path/"mark"), n=times))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path/"site"))
    report = sweep(IDS[:1], out, notebooks=folder)
    assert report.status.tolist() == ends and report.tries[0] == 1
    assert len(list((tmp_path/"mark").iterdir())) == min(times, 1 + module._UNBORN)

def test_a_kernel_that_dies_in_a_job_of_a_cluster_is_no_try_either(toy, tmp_path, monkeypatch):
    from vlm4vla.launch.slurm import PART, SlurmJob
    folder, out = toy
    (tmp_path/"site").mkdir(); (tmp_path/"mark").mkdir()
    (tmp_path/"site"/"sitecustomize.py").write_text(STILLBORN.format(mark=str(tmp_path/"mark"), n=1))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path/"site")); monkeypatch.setenv(PART, "none")
    assert SlurmJob(IDS[0], "train", out, notebooks=folder)() == "done" and len(list((tmp_path/"mark").iterdir())) == 1
