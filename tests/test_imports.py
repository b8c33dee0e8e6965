"The house, read from the sources: rooms, and the arrows between them."
import ast, json
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
WITH_TORCH = ("training", "vlm", "policy", "tasks") # rooms in which a module may import torch at its top
WITHOUT = {"training.loggers"} # modules of these that other rooms lean on without it
TASKS = {m.split(".")[1] for m in MODULES if m.startswith("tasks.")}

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

@pytest.mark.parametrize("task", TASKS)
def test_a_task_knows_no_other(task):
    others = {n for m in MODULES if m.startswith(f"tasks.{task}.") for n in own(m) if n.startswith("tasks.") and n.split(".")[1] != task}
    assert others == set()

def test_a_simulator_is_imported_in_its_own_module_and_only_when_needed():
    theirs = ("pybullet", "pybullet_data", "mujoco", "robosuite", "libero", "mani_skill", "sapien", "calvin_env")
    for name in MODULES:
        assert not {i for i in imports(name, top=True) if i.split(".")[0] in theirs}, name
        if room(name) not in ("tasks", "launch", "sim"): assert not {i for i in imports(name) if i.split(".")[0] in theirs}, name

@pytest.mark.parametrize("name",
                         [m for m in MODULES if m.startswith("tasks.") and m.endswith((".simulator", "libero.expert"))
                          and ".tabletop." not in m])
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
    assert {m.split(".")[1] for m in found if m.startswith("vlm4vla.")} <= {"core", "catalog", "results", "paper"}
