"The house, read from the sources: rooms, and the arrows between them."
import ast, json, os, subprocess, sys
from configparser import ConfigParser
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT/"vlm4vla"

def rooms():
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT/"settings.ini", encoding="utf-8")
    return ["core", *settings["DEFAULT"]["rooms"].split(), "cli"]

ROOMS = rooms()
MODULES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py")) if not p.stem.startswith("_")
           and "assets" not in p.parts}
WITH_TORCH = ("training", "vlm", "heads", "auxiliary", "policy", "probing", "ladder", "tasks") # where a module may import torch at its top
WITHOUT = {"training.loggers", "auxiliary.answers", "auxiliary.metrics", "auxiliary.rows", "auxiliary.containers",
           "auxiliary.records", "auxiliary.checks", "ladder.predictions"} # modules of these that other rooms lean on without it
TASKS = sorted({m.split(".")[1] for m in MODULES if m.startswith("tasks.")})

def room(module): return module.split(".")[0]

def imports(name, top=False):
    "Modules that a module imports, whole names; `top`: only while it is being imported itself."
    tree, found = ast.parse(MODULES[name].read_text(encoding="utf-8")), set()
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)} if top else set()
    for n in ast.walk(tree):
        if id(n) in inner: continue
        if isinstance(n, ast.Import): found |= {a.name for a in n.names}
        if isinstance(n, ast.ImportFrom):
            package = ["vlm4vla", *name.split(".")[:-1]]
            base = ".".join([*package[:len(package) - n.level + 1], *([n.module] if n.module else [])]) if n.level else n.module
            found |= {base} | {f"{base}.{a.name}" for a in n.names}
    return found

def own(name, top=False):
    return {m for i in imports(name, top) if i.startswith("vlm4vla.") and (m := i.removeprefix("vlm4vla.")) in MODULES
            and m not in (name, "renamed")}

ARROWS = {(a, b) for m in MODULES for n in own(m) if (a := room(m)) != (b := room(n))}

def test_every_module_is_in_a_room():
    assert {room(m) for m in MODULES} == set(ROOMS) | {"renamed"}, "a room is named in settings.ini, in the order of the house"

def test_rooms_are_small():
    assert {r: n for r in ROOMS if (n := sum(room(m) == r for m in MODULES)) > 12 and r != "tasks"} == {}

@pytest.mark.parametrize("name", MODULES)
def test_no_arrow_climbs(name):
    if name == "renamed": return
    climbing = [n for n in own(name) if ROOMS.index(room(n)) > ROOMS.index(room(name))]
    assert climbing == [], f"{name} is in {room(name)} and imports from a room after it"

def test_the_graph_has_no_circle():
    done, left = set(), {m: own(m) for m in MODULES if m != "renamed"}
    while left:
        free = {m for m, needs in left.items() if needs <= done}
        assert free, f"a circle among {sorted(left)}"
        done |= free; left = {m: n for m, n in left.items() if m not in free}

@pytest.mark.parametrize("name", [m for m in MODULES if room(m) not in ("tasks", "cli", "renamed")])
def test_only_tasks_know_a_task(name):
    assert [n for n in own(name) if room(n) == "tasks"] == [], "a task registers itself; what is below finds it in a registry"

# folders of `tasks/` and what they register
NAMES_A_TASK = ("grinningface", "simpler", "libero", "calvin", "tabletop", "bridge", "knowledge")
MAY_NAME = { # module outside `tasks/` and `paper/` → why it may name a task
    "data.calvin": "CALVIN's format of files", "data.libero": "LIBERO's format of files",
    "data.formats": "the table of formats of files",
    "catalog.backbones": "a backbone is called after what it was fine-tuned on",
    "catalog.auxiliary": "an auxiliary task is called after the data it was made from",
    "catalog.experiments": "points where the released code differs from the paper, the workbook's studies, the data of `smoke` and `demo`",
    "cli": "examples in help and messages",
    "results.scores": "the key under which published scores of the tabletop stand",
    "outside.forms": "what others call the cameras and numbers of a suite",
    "renamed": "names of one release ago"}

def said(name):
    "Texts and names in a module's code, without docstrings."
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef)) and n.body
            and isinstance(n.body[0], ast.Expr)}
    for n in ast.walk(tree):
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs: yield n.value
        for field in ("id", "attr", "name", "arg"):
            if isinstance(found := getattr(n, field, None), str): yield found

@pytest.mark.parametrize("name", [m for m in MODULES if room(m) not in ("tasks", "paper")])
def test_no_other_module_names_a_task(name):
    found = sorted({s[:80] for s in said(name) if any(t in s.casefold() for t in NAMES_A_TASK)})
    if name in MAY_NAME: assert found, f"{name} names no task any more; take it from the list"
    else: assert found == [], f"{name} knows a task; let the task register it (catalog.benchmarks, catalog.sets, sim.install)"

def test_the_names_of_tasks_are_those_that_are_registered():
    from vlm4vla.catalog.benchmarks import benchmarks
    assert set(TASKS) | {b.suite for b in benchmarks.values()} == set(NAMES_A_TASK)

TOY = """
from vlm4vla.catalog.benchmarks import Benchmark, Metric, benchmarks
from vlm4vla.sim.install import Simulator, simulators
benchmarks.add(Benchmark(name="reach", label="Reach", suite="reach", module="vlm4vla.tasks.reach.simulator", splits=("all",),
    tasks=("go",), episodes=2, max_steps=8, chunk_size=4, n_action_steps=2, action_lo=(-1.,)*7, action_hi=(1.,)*7,
    metric=Metric(name="success", column="success", label="success rate"), batch_size=4, lr=1e-3, steps=2, demos="grinningface"))
simulators.add(Simulator(name="reach", label="Reach", needs="numpy", packages=("numpy",), licences={"Reach": "MIT"}))
"""
TOY_SIMULATOR = """
import numpy as np
from vlm4vla.sim.worker import ChunkEnv, Observation
class Reach(ChunkEnv):
    title = "Reach"
    def reset(self, episode): self.n, self.x, self.done, self.frames = 0, float(episode), False, []; return self.observe(self.render())
    def act(self, action): self.n += 1; self.x += float(action[0]); self.done = self.n >= 6; return self.done
    def render(self): return (np.arange(300).reshape(10, 10, 3) % 251).astype(np.uint8)
    def observe(self, image): return Observation(image, "go", self.done, dict(success=self.x > 3, n_steps=self.n) if self.done else {})
    def close(self): pass
def make(split, **kwargs): return Reach()
"""
USED = """
import numpy as np
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.experiments import experiments
from vlm4vla.sim.install import called
from vlm4vla.sim.rollout import rollout
assert list(benchmarks)[-1] == "reach" and called("reach").command.endswith("install reach")
assert experiments["tiny-qwen3-vl__reach__base__s0"].recipe.chunk_size == 4
class Ahead:
    def act(self, images, instructions): return np.ones((len(images), 4, 7), np.float32)*.5
print([(r["success"], r["n_steps"]) for r in rollout(Ahead(), benchmarks["reach"], "all", 2, workers=1)])
"""

def test_a_task_is_one_folder_and_no_other_edit(tmp_path):
    "The folder joins the package of tasks over the path of modules, in the process and in its workers."
    folder = tmp_path/"own"/"reach"; folder.mkdir(parents=True)
    for n, text in (("__init__", ""), ("benchmark", TOY), ("simulator", TOY_SIMULATOR)): (folder/f"{n}.py").write_text(text)
    (tmp_path/"sitecustomize.py").write_text(f"import vlm4vla.tasks; vlm4vla.tasks.__path__.append({str(folder.parent)!r})\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "VLM4VLA_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", USED], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.strip().endswith("[(False, 6), (True, 6)]"), done.stdout
    for words in (["simulators", "list"], ["train", "tiny-qwen3-vl__reach__base__s0", "--plan", "--gpus", "8", "--gpu", "a100"]):
        done = subprocess.run([sys.executable, "-m", "vlm4vla.cli", *words], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "reach" in done.stdout, done.stdout + done.stderr[-800:]

BUILT_ON = {"knowledge": "tabletop"} # a task that is another one with other cards → that one, which knows nothing of it

@pytest.mark.parametrize("task", TASKS)
def test_a_task_knows_no_other(task):
    others = {n for m in MODULES if m.startswith(f"tasks.{task}.") for n in own(m) if n.startswith("tasks.") and n.split(".")[1] != task}
    assert {n.split(".")[1] for n in others} <= {BUILT_ON.get(task)}

def test_a_simulator_is_imported_in_its_own_module_and_only_when_needed():
    theirs = ("pybullet", "pybullet_data", "mujoco", "robosuite", "libero", "mani_skill", "sapien", "calvin_env")
    for name in MODULES:
        assert not {i for i in imports(name, top=True) if i.split(".")[0] in theirs}, name
        if room(name) not in ("tasks", "launch", "sim"): assert not {i for i in imports(name) if i.split(".")[0] in theirs}, name

@pytest.mark.parametrize("name",
                         [m for m in MODULES if m.startswith("tasks.") and m.endswith((".simulator", "libero.expert"))
                          and "tabletop" not in (m.split(".")[1], BUILT_ON.get(m.split(".")[1]))])
def test_a_simulators_module_needs_numpy_alone(without, name):
    done = without(["torch", "pybullet", "hydra", "omegaconf", "mujoco", "robosuite", "libero", "fastcore", "pandas", "scipy", "PIL",
                    "tqdm"], f"import vlm4vla.{name}")
    assert done.returncode == 0, done.stderr[-500:]

def test_nothing_below_the_training_needs_torch(without):
    light = [m for m in MODULES if room(m) not in WITH_TORCH or m in WITHOUT]
    code = "\n".join(["import importlib, sys", f"for m in {light!r}: importlib.import_module('vlm4vla.' + m)",
                      "assert 'torch' not in sys.modules"])
    done = without(["torch", "transformers", "pybullet"], code)
    assert done.returncode == 0, done.stderr[-500:]

def test_hours_of_the_study_need_no_torch(without):
    lines = ["from vlm4vla.paper.cost import hours",
             "for h in ('a100', 'h200'): assert hours('qwen2.5-vl-7b__libero-10__base__s0', h, 8)['train_gpu_hours'] > 10",
             "assert hours('mini-qwen3-vl__grinningface__base__s0', 'cpu', 1)['train_hours'] < 10"]
    done = without(["torch", "transformers", "pybullet"], "\n".join(lines))
    assert done.returncode == 0, done.stderr[-500:]

def test_core_and_catalog_are_light(without):
    heavy = ["torch", "transformers", "numpy", "pandas", "tqdm", "matplotlib", "fastcore", "papermill"]
    light = [m for m in MODULES if room(m) in ("core", "catalog", "cli")] + ["sim.install", "launch.parameters"]
    done = without(heavy, "import " + ", ".join(f"vlm4vla.{m}" for m in light))
    assert done.returncode == 0, done.stderr[-500:]

def test_the_package_needs_no_notebook_tools(without):
    done = without(["nbdev", "execnb", "IPython", "jupyterlab", "pytest"], "\n".join(f"import vlm4vla.{m}" for m in MODULES))
    assert done.returncode == 0, done.stderr[-500:]

ANALYSIS = sorted((ROOT/"nbs"/"analysis").glob("*.ipynb"))

@pytest.mark.parametrize("path", ANALYSIS, ids=lambda p: p.stem)
def test_an_analysis_page_needs_no_torch(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tree = ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))
    found = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {a.name for n in ast.walk(tree)
        if isinstance(n, ast.Import) for a in n.names}
    assert not {m for m in found if m.split(".")[0] in ("torch", "transformers")}
    heavy = {m for m in found if m.startswith("vlm4vla.") and m.removeprefix("vlm4vla.") not in WITHOUT}
    assert {m.split(".")[1] for m in heavy} <= {"core", "catalog", "results", "paper"}

def test_what_tasks_bring_is_listed_without_torch(without):
    code = "\n".join(["from vlm4vla.catalog.sets import conventions, demo_sets, question_sets",
                      "from vlm4vla.catalog.benchmarks import benchmarks",
                      "assert {'tabletop', 'bridge'} <= {*question_sets} and demo_sets and conventions and benchmarks"])
    done = without(["torch", "transformers", "papermill"], code)
    assert done.returncode == 0, done.stderr

@pytest.mark.parametrize("module", ["questions", "demonstrations", "benchmark"])
def test_a_tasks_module_brings_no_other_task(without, module):
    code = f"import sys, vlm4vla.tasks.tabletop.{module}\n" \
           "assert not [m for m in sys.modules if m.startswith(('vlm4vla.tasks.bridge', 'torch'))]"
    done = without(["torch", "transformers"], code)
    assert done.returncode == 0, done.stderr
