"Sweeps through a real Slurm: two nodes of one machine, a GPU request each, warnings, kills, both nodes for one training."
import json, pickle, subprocess, sys, time
from contextlib import ExitStack
from pathlib import Path
import pandas as pd, pytest
from cluster import cluster
from toys import TOYS, begin, ended, hurry, notebook, states, toys

SMOKE = [f"mini-qwen3-vl__grinningface__smoke__s{i}" for i in range(3)]
BRIEF = [n.replace("grinningface", "brief") for n in SMOKE] # their episodes are short

@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    from vlm4vla.core import UserError
    with ExitStack() as stack:
        try: env = stack.enter_context(cluster(tmp_path_factory.mktemp("slurm")))
        except UserError as e: pytest.skip(f"There is no Slurm for this test, and it could not be fetched: {e}")
        except (RuntimeError, OSError, subprocess.SubprocessError) as e: pytest.skip(f"Slurm does not run on this machine: {e}")
        yield {**env, "VLM4VLA_THREADS": "1", "VLM4VLA_PLUGINS": str(Path(__file__).with_name("brief.py"))}

def same(a, b, name, columns):
    "Rows of the runs that both folders have, all of the second one's."
    from vlm4vla.results.tables import load
    a, b = load(name, a), load(name, b)
    pd.testing.assert_frame_equal(a[a.run_id.isin(b.run_id)][columns].reset_index(drop=True), b[columns])

@pytest.fixture(scope="module")
def short(slurm, tmp_path_factory):
    "A training of 100 seconds in a job of two minutes that is warned after about one; under way while other tests run."
    out = tmp_path_factory.mktemp("short")
    ended(begin(slurm, names=TOYS[:1], out=out/"out", notebooks=toys(out/"nbs", .1), watch=False,
                request=dict(hours=2/60, signal_lead=30, num_shards=2)))
    return out

def test_a_job_that_was_handed_over_before_its_parameters_had_these_names(tmp_path, monkeypatch):
    from vlm4vla.launch import sweep as module
    from vlm4vla.launch.slurm import SlurmJob
    from vlm4vla.renamed import old_modules, old_names
    new = SlurmJob(SMOKE[0], "evaluate", tmp_path, "1/4", given=dict(processes=2, follow="wandb"))
    job = pickle.loads(pickle.dumps(new, 0).replace(b"shard", b"share")) # its class is found by `vlm4vla.renamed`
    assert old_names[old_modules["slurm"]]["Job"] == "SlurmJob" and (job.shard, job.part) == ("1/4", f"{SMOKE[0]}.evaluate.1of4")
    asked = []; (tmp_path/"executed").mkdir()
    monkeypatch.setattr(module.subprocess, "Popen", lambda cmd, **kw: asked.append(cmd))
    module.start(module.Task(module.registry[SMOKE[0]], ["train"]), tmp_path, job.given, None)
    assert all(w in " ".join(asked[0]) for w in ("-p nproc_per_node 2", "-r logger wandb")), asked
    notebook(tmp_path/"train.ipynb", 'experiment:str = ""\nprocesses:int = 1\nout:str = ""', "1") # a run notebook of one's own
    module.start(module.Task(module.registry[SMOKE[0]], ["train"]), tmp_path, dict(nproc_per_node=2), tmp_path)
    assert "-p processes 2" in " ".join(asked[1])

def test_three_experiments_two_at_a_time(slurm, short, tmp_path):
    from vlm4vla.results.tables import load
    p, most = begin(slurm, names=BRIEF, out=tmp_path/"slurm", given=dict(workers=2), request=dict(gpus=1, hours=1)), 0
    while p.poll() is None:
        most = max(most, sum(s == "RUNNING" and gpu for *_, s, gpu in states(slurm))); time.sleep(1)
    report = ended(p)
    assert most == 2
    assert {(r["run_id"], r["notebook"]): r["status"] for r in report if r["run_id"] in BRIEF} == {(e, n): "done" for e in BRIEF
        for n in ("train", "evaluate")}, report
    local = subprocess.run(
        [sys.executable, "-m", "vlm4vla.cli", "sweep", BRIEF[0], "--out", str(tmp_path/"local"), "--workers", "2"],
        env=slurm, capture_output=True, text=True, timeout=600)
    assert local.returncode == 0, local.stderr[-2000:]
    same(tmp_path/"slurm", tmp_path/"local", "episodes",
         ["run_id", "benchmark", "split", "task", "episode", "chunk_mode", "success", "n_steps", "failure", "detail"])
    same(tmp_path/"slurm", tmp_path/"local", "train_log", ["run_id", "name", "step", "value"])
    same(tmp_path/"slurm", tmp_path/"local", "scores", list(load("scores", tmp_path/"local")))
    same(tmp_path/"slurm", tmp_path/"local", "runs",
         ["run_id", "kind", "backbone", "benchmark", "variant", "seed", "step", "checkpoint", "status"])
    assert not list((tmp_path/"slurm").glob("parts/*/*"))

def test_killed_job_is_completed_by_a_second_sweep(slurm, tmp_path):
    nbs = toys(tmp_path/"nbs", .03)
    p = begin(slurm, names=TOYS[1:2], out=tmp_path/"out", notebooks=nbs, request=dict(hours=1))
    began = tmp_path/"out"/"checkpoints"/TOYS[1]/"began"
    for _ in range(300):
        if began.exists(): break
        time.sleep(.3)
    job, = [i for i, n, s, _ in states(slurm) if n == "train" and s == "RUNNING"][-1:]
    here = subprocess.run([sys.executable, "-m", "vlm4vla.cli", "sweep", TOYS[1], "--out", str(tmp_path/"out")], env=slurm,
                          capture_output=True, text=True)
    assert here.returncode == 2 and f"under way as job {job}" in here.stderr, here.stderr
    p.kill(); p.wait() # the sweep itself
    subprocess.run(["scancel", "--signal=KILL", "--full", job], env=slurm, check=True)
    subprocess.run(["scancel", job], env=slurm, check=True)
    while any(i == job for i, *_ in states(slurm)): time.sleep(.5)
    assert not (tmp_path/"out"/"parts"/"runs").exists()
    report = ended(begin(slurm, names=TOYS[1:2], out=tmp_path/"out", notebooks=nbs, request=dict(hours=1)))
    assert [r["status"] for r in report] == ["done", "done"], report
    assert began.read_text() == "xx"

def test_training_over_two_nodes(slurm, tmp_path):
    from vlm4vla.results.tables import load
    one, two = (tmp_path/n for n in ("one", "two"))
    report = ended(begin(slurm, names=SMOKE[:1], out=two, request=dict(gpus=1, nodes=2, hours=1), only=["train"]))
    assert [r["status"] for r in report] == ["done"], report
    subprocess.run([sys.executable, "-m", "vlm4vla.cli", "train", SMOKE[0], "--out", str(one)], check=True, capture_output=True,
                   timeout=300)
    value = lambda out: load("train_log", out).query("name == 'loss'").value
    assert (value(one) - value(two)).abs().max() < 1e-5
    run = json.loads((two/"provenance"/f"{SMOKE[0]}.json").read_text())["train"]
    assert (run["parameters"]["nproc_per_node"], run["parameters"]["nodes"]) == (1, 2)

def test_time_out_is_queued_again_and_finishes(slurm, short):
    from vlm4vla.results.tables import load
    p = begin(slurm, names=TOYS[:1], out=short/"out", notebooks=short/"nbs", request=dict(hours=2/60, signal_lead=30, num_shards=2))
    while p.poll() is None: hurry(slurm); time.sleep(1)
    report = ended(p)
    assert {r["status"] for r in report} == {"done"}, report
    folder = short/"out"/"checkpoints"/TOYS[0]
    assert len((folder/"began").read_text()) > 1 # it was cut off, and went on
    log = load("train_log", short/"out").query("name == 'loss'")
    assert log.step.tolist() == [*range(0, 1000, 20), 999] # each logged step once: nothing was done twice
    rows = load("episodes", short/"out")
    assert len(rows) == 200 and rows.episode.nunique() == 100
