"What a user brings along: a checkpoint's folder, a plug-in, fields of the recipe, a policy; nothing of the package is edited."
import json, os, shutil, subprocess, sys
from contextlib import ExitStack
import pandas as pd, pytest
from cluster import cluster

SMOKE = "tiny-qwen3-vl__grinningface__smoke__s0"
REACH = """
from dataclasses import replace
import numpy as np
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.sim.worker import Observation

class Reach:
    def reset(self, episode): self.n, self.x, self.frames = 0, -.01, []; return self.step([])
    def step(self, actions):
        for a in actions[:6 - self.n]: self.n += 1; self.x += a[0]; self.frames.append(self.image())
        return Observation(self.image(), "go right", self.n >= 6, dict(success=bool(self.x > 0), n_steps=self.n))
    def image(self): return np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3)) + np.uint8(self.n)
    def close(self): pass

def make(split, render_every_step=False): return Reach()
benchmarks.add(replace(benchmarks["grinningface"], name="reach", label="Reach", module="my_toys", splits=("id",), max_steps=6, others=()))
""" # a benchmark of fifteen lines, its simulator included

@pytest.fixture(autouse=True)
def nothing_of_ones_own(monkeypatch):
    "What a command adds to the environment and to the registries, the next one shall not find."
    from vlm4vla import core
    from vlm4vla.catalog import backbones as b, benchmarks as k, experiments as e
    for name in ("VLM4VLA_PLUGINS", "VLM4VLA_BACKBONES", "VLM4VLA_POLICIES"): monkeypatch.setenv(name, "")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    known, before, loaded = (b.backbones, k.benchmarks, e.variants, e.experiments), [], set(core._loaded)
    for r in known: len(list(r)); before.append(dict(r))
    yield
    for r, was in zip(known, before): r.clear(); r.update(was)
    core._loaded.clear(); core._loaded.update(loaded); sys.modules.pop("my_toys", None)

@pytest.fixture
def said(capsys, monkeypatch):
    "What a command that is refused says: one sentence."
    def refused(*args):
        from vlm4vla.cli import main
        for name in ("VLM4VLA_PLUGINS", "VLM4VLA_BACKBONES", "VLM4VLA_POLICIES"): monkeypatch.setenv(name, "")
        capsys.readouterr()
        assert main([str(a) for a in args]) == 2
        told = capsys.readouterr().err
        assert told.startswith("vlm4vla: ") and told.endswith(".\n") or told.endswith("?\n") and told.count("\n") == 1, told
        return told
    return refused

def terminal(*args, env={}, **kw):
    "A command in a process of its own, which finds the simulators that are installed for these tests."
    from vlm4vla.catalog.benchmarks import simulators_dir
    return subprocess.run([sys.executable, "-m", "vlm4vla.cli", *map(str, args)], capture_output=True, text=True, timeout=400,
                          env={"VLM4VLA_SIMULATORS": str(simulators_dir()), **os.environ, **env}, **kw)

def checkpoint(family, folder):
    "A random checkpoint as transformers writes one."
    from vlm4vla.catalog.backbones import backbones
    from vlm4vla.vlm.loading import image_facts, load_model, load_tokenizer
    b = next(b for b in backbones.values() if b.kind == "tiny" and b.family == family)
    load_model(b, headless=False).save_pretrained(folder); load_tokenizer(b).save_pretrained(folder)
    facts = image_facts(b)
    (folder/"preprocessor_config.json").write_text(json.dumps(dict(image_mean=facts["mean"], image_std=facts["std"],
                                                                  size=dict(height=facts["size"], width=facts["size"]))))
    return folder

@pytest.fixture(scope="module")
def things(tmp_path_factory):
    "A folder with two checkpoints and a plug-in, in a place with a space in its name."
    d = tmp_path_factory.mktemp("own")/"my things"; d.mkdir()
    checkpoint("qwen3_vl", d/"my vlm"); checkpoint("smolvlm", d/"smol"); (d/"my_toys.py").write_text(REACH)
    return d

@pytest.fixture(scope="module")
def swept(things):
    "Both backbones, trained side by side for the benchmark of the plug-in."
    done = terminal("train", "--backbone", "./my vlm/", "--backbone", f"mine={things/'smol'}", "--benchmark", "reach", "--variant", "smoke",
                    "--plugin", "my_toys.py", "--set", "steps=2", "--set", "eval_episodes=1", "--jobs", 2, "--out", "out",
                    cwd=things)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return things/"out"

OWN = "my-vlm__reach__smoke+eval_episodes-1+steps-2__s0"

def account(out, run_id): return json.loads((out/"provenance"/f"{run_id}.json").read_text())

def test_two_folders_are_trained_for_a_plugins_benchmark(things, swept):
    from vlm4vla.catalog.backbones import newer, qwen3_vl
    runs = pd.read_csv(swept/"runs.csv")
    assert set(runs.run_id) == {OWN, OWN.replace("my-vlm", "mine")} and set(runs.status) == {"done"}
    train = account(swept, OWN)["train"]; b = train["resolved"]["backbone"]
    assert (b["name"], b["label"], b["family"], b["color"]) == ("my-vlm", "my vlm", "qwen3_vl", qwen3_vl["color"]) and b["params_b"] > 0
    assert train["resolved"]["recipe"]["steps"] == 2 and len(train["inputs"]["start"]) == 64
    assert train["settings"]["VLM4VLA_PLUGINS"] == str(things/"my_toys.py")
    assert str(things/"my vlm") in train["settings"]["VLM4VLA_BACKBONES"]
    other = account(swept, OWN.replace("my-vlm", "mine"))["train"]["resolved"]["backbone"]
    assert (other["label"], other["family"], other["color"]) == ("mine", "smolvlm", newer["smolvlm"]["color"])

def test_status_knows_what_it_is_told(things, swept, capsys):
    from vlm4vla.cli import main
    main(["status", "--out", str(swept)])
    assert "2 of the runs here are left out, such as" in capsys.readouterr().out
    main(["status", "--backbone", str(things/"my vlm"), "--plugin", str(things/"my_toys.py"), "--out", str(swept)])
    told = capsys.readouterr().out
    assert f"{OWN}  train" in told and "1 of the runs" in told

def test_another_checkpoint_under_the_same_name_is_refused(things, swept, tmp_path, said):
    import torch
    torch.manual_seed(7); checkpoint("qwen3_vl", tmp_path/"my vlm")
    told = said("train", "--backbone", tmp_path/"my vlm", "--benchmark", "reach", "--variant", "smoke", "--plugin", things/"my_toys.py",
                "--set", "steps=2,eval_episodes=1", "--out", swept)
    assert "from another checkpoint" in told and "--backbone 'NAME=" in told

def test_a_policy_from_anywhere(things, swept, tmp_path):
    "Its plug-in is an installed package; it is rolled out, and a second time there is nothing to do."
    shutil.copytree(swept/"checkpoints"/OWN, tmp_path/"a policy"); site = tmp_path/"site"; (site/"my_toys-1.dist-info").mkdir(parents=True)
    shutil.copy(things/"my_toys.py", site)
    (site/"my_toys-1.dist-info"/"METADATA").write_text("Metadata-Version: 2.1\nName: my_toys\nVersion: 1\n")
    (site/"my_toys-1.dist-info"/"entry_points.txt").write_text("[vlm4vla.plugins]\nreach = my_toys\n")
    env = dict(PYTHONPATH=os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(site)]))
    words = ("evaluate", "a policy/", "--benchmark", "reach", "--backbone", f"my-vlm={things/'my vlm'}", "--set", "eval_episodes=2",
             "--workers", 1, "--out", "out")
    done = terminal(*words, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = pd.read_parquet(tmp_path/"out"/"episodes.parquet"); name = rows.run_id[0]
    weights = json.loads((tmp_path/"a policy"/"policy.json").read_text())["weights"]
    assert len(rows) == 2 and name == f"my-vlm__reach__policy-{weights[:8]}+eval_episodes-2__s0"
    told = account(tmp_path/"out", name)["eval"]
    assert told["inputs"]["weights"] == weights and told["settings"]["VLM4VLA_POLICIES"] == str(tmp_path/"a policy")
    again = terminal(*words, env=env, cwd=tmp_path)
    assert "Nothing to do" in again.stdout, again.stderr

def test_folders_that_hold_something_else(things, swept, tmp_path, said, monkeypatch):
    policy, ask = swept/"checkpoints"/OWN, ("--benchmark", "grinningface", "--out", tmp_path/"out")
    lora = tmp_path/"lora"; lora.mkdir(); (lora/"adapter_config.json").write_text('{"base_model_name_or_path": "org/vlm"}')
    odd = tmp_path/"odd"; shutil.copytree(things/"smol", odd); (odd/"config.json").write_text('{"model_type": "fuyu"}')
    bare = tmp_path/"bare"; shutil.copytree(things/"smol", bare); (bare/"preprocessor_config.json").unlink()
    told = said("train", "--backbone", odd, *ask)
    assert "is a fuyu" in told and "architecture → family" in told and "smolvlm → smolvlm" in told and "docs/guide/backbone.md" in told
    monkeypatch.setenv("HOME", str(tmp_path))
    for place, why in ((policy, "holds a policy, not a VLM"), ("~/lora", "holds an adapter of org/vlm"),
                       (bare, "has no preprocessor_config"),
                       (things, "did you mean"), (things/"smol"/"config.json", "is a file"), (tmp_path/"gone", "There is no folder"),
                       ("tiny-smolvl", "did you mean 'tiny-smolvlm'?"), (f"tiny-smolvlm={things/'smol'}", "There is a backbone")):
        assert why in said("train", "--backbone", place, *ask), place
    for place, why in ((things/"smol", "holds a VLM, not a policy"), (lora, "holds an adapter"), (policy.parent, "did you mean"),
                       (tmp_path/"gone", "There is no folder"), (policy, "--backbone my-vlm=FOLDER")):
        assert why in said("evaluate", place, *ask), place
    assert "cannot be set" in said("evaluate", policy, "--backbone", things/"my vlm", "--set", "lr=1", *ask)
    assert "add --benchmark" in said("evaluate", policy) and "`vlm4vla evaluate`" in said("train", policy, *ask)

@pytest.mark.parametrize("given, why", [("stepss=3", "did you mean 'steps'?"), ("steps=many", "must be a whole number"),
                                        ("steps=0", "at least 1"), ("lr=-1", "above 0"), ("lr=nan", "must be a number"),
                                        ("steps", "sets nothing"),
                                        ("freeze=tower", "freezes 'tower'"), ("demos=my/data", "no name of a variant can hold")])
def test_a_field_is_looked_at(given, why, said, tmp_path): assert why in said("train", SMOKE, "--set", given, "--out", tmp_path)

def test_the_same_fields_are_the_same_variant():
    from vlm4vla.catalog.experiments import experiments, with_settings
    e = experiments[SMOKE]
    one, two = with_settings(e, "lr=1e-4", "steps=2000"), with_settings(e, "steps=2000, lr=0.0001")
    assert one.run_id == two.run_id == "tiny-qwen3-vl__grinningface__smoke+lr-0.0001+steps-2000__s0"
    assert experiments[one.run_id].recipe == one.recipe and (one.recipe.lr, one.recipe.steps) == (1e-4, 2000)

@pytest.mark.parametrize("notebook", ["train", "evaluate"])
def test_papermill_refuses_what_is_wrong(notebook, root):
    "The cell that looks at the parameters, with one that papermill has put in."
    from vlm4vla.core import UserError
    cells = ["".join(c["source"]) for c in json.loads((root/"nbs"/"runs"/f"{notebook}.ipynb").read_text())["cells"]
             if c["cell_type"] == "code"]
    names = dict(In=["# Parameters\nset = 'stepss=2'"])
    for source in (cells[0], "set = 'stepss=2'", cells[1]): exec(source, names)
    with pytest.raises(UserError, match="The recipe has no field 'stepss'; did you mean 'steps'?"): exec(cells[2], names)

@pytest.mark.parametrize("text, why",
                         [(None, "There is no plug-in"), ("x = = 1", "SyntaxError"), ("import nothing_like_it", "ModuleNotFoundError"),
    ("from vlm4vla.catalog.variants import x", "No module"), ("raise SystemExit(3)", "SystemExit"),
    ("from vlm4vla.catalog.experiments import *\nvariants.add(Variant('scratch', 'Mine.', dict(steps=3)))",
     "'scratch' is registered already")])
def test_a_plugin_that_is_wrong(text, why, said, tmp_path, request):
    path = tmp_path/f"wrong_{abs(hash(request.node.name)) % 10**9}.py" # each a module of its own
    if text: path.write_text(text)
    assert why in said("sweep", SMOKE, "--plugin", path, "--out", tmp_path/"out")

SHA = "1234567890abcdef"*2 + "12345678"

def in_the_cache(things, hub, revision="main"):
    "A repository as the hub's library keeps it on this machine."
    repo = hub/"models--someone--my-vlm"; (repo/"refs").mkdir(parents=True); (repo/"refs"/revision).write_text(SHA)
    shutil.copytree(things/"smol", repo/"snapshots"/SHA)
    return dict(HF_HUB_CACHE=str(hub), HF_HUB_OFFLINE="1")

TRACKED = """
from vlm4vla.catalog.experiments import Experiment
from vlm4vla.results.provenance import track_run
from vlm4vla.vlm.loading import checkpoint_hash
from vlm4vla.policy.own import backbones, given_backbone, placed
print(placed("someone/my-vlm@main")); b = backbones.add(given_backbone("someone/my-vlm"))
with track_run(Experiment(b.name, "grinningface", "smoke", 0), "train", "out", "runs/train") as note:
    note.inputs = dict(start=checkpoint_hash(b))
"""

def test_a_revision_becomes_its_commit(things, tmp_path, python):
    env = in_the_cache(things, tmp_path/"hub")
    done = python("-c", TRACKED, env=env, cwd=tmp_path)
    assert done.stdout.strip() == f"my-vlm=someone/my-vlm@{SHA}", done.stderr[-2000:]
    train = account(tmp_path/"out", "my-vlm__grinningface__smoke__s0")["train"]; b = train["resolved"]["backbone"]
    assert (b["repo_id"], b["revision"], b["commit"], train["inputs"]["start"]) == ("someone/my-vlm", SHA, SHA, SHA)

def test_an_entry_whose_revision_is_a_branch_is_told(things, tmp_path, monkeypatch):
    from vlm4vla.catalog.backbones import Backbone, backbones
    from vlm4vla.catalog.experiments import Experiment
    from vlm4vla.launch.doctor import check_up
    from vlm4vla.results.provenance import _resolved
    monkeypatch.setenv("HF_HUB_CACHE", in_the_cache(things, tmp_path/"hub")["HF_HUB_CACHE"])
    for name, revision in (("moving", "main"), ("pinned", SHA)):
        monkeypatch.setitem(backbones, name, Backbone(name=name, label=name, family="smolvlm", repo_id="someone/my-vlm", revision=revision,
                                                      params_b=.1, color="#000000"))
    found = {r["what"]: r["detail"] for r in check_up(tmp_path)}
    assert f"'main' is a branch, which moves, here at {SHA[:12]}" in found["backbone moving"] and "branch" not in found["backbone pinned"]
    assert {_resolved(Experiment(n, "grinningface", "smoke", 0))["backbone"]["commit"] for n in ("moving", "pinned")} == {SHA}

def test_the_same_on_slurm(things, swept, tmp_path_factory):
    from vlm4vla.core import UserError
    with ExitStack() as stack:
        try: env = stack.enter_context(cluster(tmp_path_factory.mktemp("slurm"), nodes=1, gpus=0))
        except UserError as e: pytest.skip(f"There is no Slurm for this test, and it could not be fetched: {e}")
        except (RuntimeError, OSError, subprocess.SubprocessError) as e: pytest.skip(f"Slurm does not run on this machine: {e}")
        out = tmp_path_factory.mktemp("jobs")/"out"
        done = terminal("sweep", "--backbone", "my vlm", "--benchmark", "reach", "--variant", "smoke", "--plugin", "my_toys.py", "--set",
                        "steps=2,eval_episodes=1", "--workers", 1, "--executor", "slurm", "--gpus", 0, "--out", out, env=env, cwd=things)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    episodes = pd.read_parquet(out/"episodes.parquet")
    assert set(episodes.run_id) == {OWN} and len(episodes) == 1
    assert account(out, OWN)["train"]["inputs"]["weights"] == account(swept, OWN)["train"]["inputs"]["weights"]

STUDY = """from vlm4vla.catalog.experiments import Study, grid, studies
studies.add(Study("my-study", "Does it matter?", tuple(grid(["mini-qwen3-vl"], ["grinningface"], ["base", "scratch"], [0])), "base"))
"""

def test_a_plugins_study_is_reported(tmp_path, said, capsys):
    "Unknown without the plug-in, measured rates of both arms with it; the zoo takes it, too."
    from vlm4vla.cli import main
    (tmp_path/"studied.py").write_text(STUDY)
    assert "'my-study' is no table, study or experiment" in said("report", "my-study")
    assert main(["report", "my-study", "--plugin", str(tmp_path/"studied.py")]) == 0
    told = capsys.readouterr().out
    assert "Does it matter?" in told and "pretrained minus from scratch" in told
    assert main(["zoo", "--plugin", str(tmp_path/"studied.py")]) == 0
    assert "cannot be loaded" in said("zoo", "--plugin", "nosuch")
    from vlm4vla.catalog.experiments import studies
    del studies["my-study"]
