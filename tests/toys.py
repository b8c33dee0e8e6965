"Notebooks made on the spot, and sweeps of them through Slurm: for tests and for `nbs/bench`."
import json, subprocess, sys
from pathlib import Path
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

TOYS = [f"tiny-qwen3-vl__grinningface__base__s{i}" for i in range(3)]
PARAMETERS = 'experiment:str = ""\nout:str = ""\nshard:str = ""'
SETUP = """
import time
from pathlib import Path
from vlm4vla.catalog.benchmarks import benchmarks, shard_of
from vlm4vla.catalog.experiments import experiments
from vlm4vla.results.tables import append, done_keys
e = experiments[experiment]; folder = Path(out)/"checkpoints"/e.run_id; folder.mkdir(parents=True, exist_ok=True)
def done(kind):
    append("runs", [dict(run_id=e.run_id, kind=kind, backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=e.seed,
                         step=1, checkpoint="", status="done", git_sha="", started="", seconds=0.)], out, replace=True)
"""
TRAIN = """
import torch
from vlm4vla.training.loop import fit
from vlm4vla.core import seed_everything
seed_everything(0); line = torch.nn.Linear(1, 1); x = torch.linspace(-1, 1, 64)[:, None]
def loss_at(step):
    time.sleep(wait)
    with open(folder/"steps", "a") as f: print(step, file=f)
    return [lambda: ((line(x) - 3*x).pow(2).mean(), {})]
with open(folder/"began", "a") as f: f.write("x")
log = fit(line, loss_at, steps=1000, lr=.05, folder=folder, checkpoint_every=every)
(folder/"model.safetensors").write_text(str(line.weight.item()))
append("train_log", [dict(r, run_id=e.run_id) for r in log], out, replace=True); done("train")
""" # the loop itself, with a step that takes long, and checkpoints as often as is asked for
EVALUATE = """
for split in benchmarks[e.benchmark].splits:
    for i in shard_of(e.recipe.eval_episodes, shard):
        key = (e.run_id, e.benchmark, split, "place", i, "5 of 10")
        if key in done_keys(e.run_id, out): continue
        append("episodes", [dict(run_id=e.run_id, benchmark=e.benchmark, split=split, task="place", episode=i, chunk_mode="5 of 10",
                                 success=i%3 == 0, n_steps=i, seconds=0.)], out)
done("eval")
"""

def notebook(path, *cells, tag="parameters"):
    "Write a notebook whose first cell carries a tag."
    first = new_code_cell(cells[0], metadata=dict(tags=[tag]))
    nbformat.write(new_notebook(cells=[first, *map(new_code_cell, cells[1:])],
                                metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python"))), path)

def toys(folder, wait:float, every:int=10_000)->Path:
    "Run notebooks that train for a while and evaluate at once."
    folder.mkdir(exist_ok=True)
    notebook(folder/"train.ipynb", PARAMETERS, SETUP, f"wait, every = {wait}, {every}" + TRAIN)
    notebook(folder/"evaluate.ipynb", PARAMETERS, SETUP, EVALUATE)
    return folder

SWEEP = ("import sys, json; from vlm4vla.launch.slurm import *; a = json.loads(sys.argv[1]); print(slurm_sweep(a['names'], a['out'], "
         "Request(**a.get('request', {})), given=a.get('given'), notebooks=a.get('notebooks'), watch=a.get('watch', True), every=1., "
         "only=a.get('only', ('train', 'evaluate'))).to_json(orient='records'))")

def begin(env, **a):
    return subprocess.Popen([sys.executable, "-c", SWEEP, json.dumps(a, default=str)], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)

def ended(p, timeout=400):
    said, wrong = p.communicate(timeout=timeout)
    assert p.returncode == 0, wrong[-2000:]
    return json.loads(said.strip().splitlines()[-1])

def states(env):
    "Number, name and state of every job in the queue, and whether it has asked for a GPU."
    asked = subprocess.run(["squeue", "--me", "-h", "-r", "-o", "%i|%j|%T|%b"], env=env, capture_output=True, text=True, check=True)
    return [(*(p := l.split("|"))[:3], "gpu" in p[3]) for l in asked.stdout.splitlines()]

def hurry(env):
    "Let jobs that were queued again start at once; Slurm would let them wait two minutes."
    for job, _, state, _ in states(env):
        if state == "PENDING": subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=env, capture_output=True)
