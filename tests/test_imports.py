"The graph of modules, read from the sources."
import ast, json
from pathlib import Path
import pytest

core = {"core"}
entries = core | {"backbones", "benchmarks", "experiments"}
tabletop = core | {"worker", "actions", "data", "samples", "recording", "grinningface"}
reading = core | {"metadata", "readers", "declared", "pictures"}
kinds = {"family", "qwen", "paligemma", "kosmos", "internvl", "newer"}
vlm = entries | kinds | {"families", "query", "actions"}
policy = vlm | {"data", "samples", "heads", "metadata", "origin", "policy"}
tables = entries | {"results", "scores", "stats", "figures"}
# module → what it may import, anywhere in it
GRAPH = dict(
    core=set(), devices=core, backbones=core, benchmarks=core, experiments=core | {"backbones", "benchmarks"},
    metadata=core, pictures=core, declared=core | {"metadata"}, actions=core, data=core | {"declared", "pictures", "metadata"}, recording=core | {"data"}, worker=core,
    readers=reading - {"readers"}, calvin_data=reading, libero_data=reading, lerobot_data=reading | {"data"}, formats=reading | {"actions", "data", "calvin_data", "libero_data", "lerobot_data"}, samples=reading | {"formats", "lerobot_data"},
    elsewhere=core | {"benchmarks", "simulators", "worker"}, grinningface=core | {"worker", "actions"}, demonstrations=tabletop | {"elsewhere"}, questions=core | {"elsewhere", "grinningface", "samples"},
    family=core, qwen=core | {"family"}, paligemma=core | {"family"}, kosmos=core | {"family", "qwen"}, internvl=core | {"family"}, newer=core | {"family", "qwen"},
    families=core | kinds | {"backbones"}, acting={"core", "policy"}, sizes=core | {"backbones", "families", "family"}, query=core | {"families", "backbones"}, heads=core | {"actions"}, origin=core, policy=policy - {"policy"} | {"state"},
    processes=core, state=core | {"origin", "processes"}, plan=policy | {"devices", "experiments", "sizes"}, meter={"devices"}, recorders=core,
    train=policy | {"demonstrations", "formats", "bridge_demonstrations", "processes", "plan", "meter", "recorders", "state"}, vlm_sft=vlm | {"origin", "questions", "state", "train"}, vqa=vlm | {"questions", "grinningface"},
    mini=vlm | {"grinningface", "questions", "vqa", "stats", "state", "results"},
    debian=core, simulators=core | {"benchmarks", "debian"}, bridge_expert=set(), simpler=core | {"benchmarks", "bridge_expert", "simulators", "worker"}, bridge_demonstrations=core | {"benchmarks", "recording", "rollout"}, bridge_questions={"data", "family", "formats", "samples"}, video=core, crew=core | {"benchmarks", "worker"}, rollout=entries | {"crew", "worker", "actions", "video"},
    calvin=core | {"benchmarks", "simulators", "worker"}, libero=core | {"benchmarks", "libero_data", "simulators", "worker"}, libero_expert=core | {"libero", "worker"},
    parameters=core, printing=core, executed=core, results=core | {"devices", "printing"}, account=entries | {"results"}, stats=core, scores=core | {"benchmarks", "printing", "results", "stats"}, correlation=core | {"stats"}, figures=tables - {"figures"},
    paper=core | {"benchmarks", "results", "stats"}, published=core | {"figures", "paper", "scores", "stats"}, audit=core | {"correlation", "paper", "results", "stats"}, cost=entries | {"devices", "paper", "plan", "results"},
    needs=core | {"parameters"}, sweep=entries | {"executed", "needs", "parameters", "results", "scores", "recorders"}, slurm=entries | {"executed", "needs", "results", "sweep"}, status=entries | {"executed", "printing", "results", "slurm", "sweep"}, doctor=entries | {"needs", "simulators"}, cli=tables | {"cost", "printing", "doctor", "sweep", "slurm", "status", "plan", "simulators", "formats"},
)
NO_TORCH = ("core", "devices", "backbones", "benchmarks", "experiments", "actions", "metadata", "pictures", "declared", "data", "readers", "calvin_data", "libero_data", "lerobot_data", "formats", "samples", "worker", "debian", "simulators", "bridge_expert", "simpler", "video", "crew", "rollout", "grinningface", "results", "account", "scores", "stats", "correlation", "figures", "paper", "published", "audit", "cost", "recorders", "sweep", "slurm", "cli")
NO_TORCH += ("parameters", "printing", "needs", "doctor", "executed", "status", "calvin", "libero", "libero_expert")

PACKAGE = Path(__file__).resolve().parent.parent/"vlm4vla"
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("_"))

def imports(name, top=False):
    "Modules that a module imports; `top`: only while it is being imported itself."
    tree, found = ast.parse((PACKAGE/f"{name}.py").read_text(encoding="utf-8")), set()
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)} if top else set()
    for n in ast.walk(tree):
        if id(n) in inner: continue
        if isinstance(n, ast.Import): found |= {a.name for a in n.names}
        if isinstance(n, ast.ImportFrom):
            base = "vlm4vla" + (f".{n.module}" if n.module else "") if n.level else n.module
            found |= {base} | {f"{base}.{a.name}" for a in n.names}
    return found

def own(name): return {i.split(".")[1] for i in imports(name) if i.startswith("vlm4vla.")} & set(MODULES) - {name}

@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_stands_below_it(name):
    assert name in GRAPH, f"say in tests/test_imports.py what {name} may import"
    assert own(name) <= GRAPH[name], f"{name} imports {sorted(own(name) - GRAPH[name])}"

def test_the_graph_has_no_cycle():
    done, left = set(), dict(GRAPH)
    while left:
        free = {m for m, needs in left.items() if needs <= done}
        assert free, f"a cycle among {sorted(left)}"
        done |= free; left = {m: n for m, n in left.items() if m not in free}

def test_a_simulator_is_imported_in_its_own_module_and_only_when_needed():
    for name in MODULES:
        assert not {i for i in imports(name, top=True) if i.split(".")[0] == "pybullet"}, name
        if name != "grinningface": assert not {i for i in imports(name) if i.split(".")[0] in ("pybullet", "pybullet_data")} or name == "cli", name

@pytest.mark.parametrize("name", ["calvin", "libero", "libero_expert"])
def test_a_simulators_module_needs_numpy_alone(without, name):
    done = without(["torch", "pybullet", "hydra", "omegaconf", "mujoco", "robosuite", "libero", "fastcore", "pandas", "scipy", "PIL", "tqdm"], f"import vlm4vla.{name}")
    assert done.returncode == 0, done.stderr[-500:]

@pytest.mark.parametrize("name", [m for m in NO_TORCH if m in MODULES])
def test_tables_and_figures_need_no_torch(without, name):
    done = without(["torch", "transformers", "pybullet"], f"import vlm4vla.{name}")
    assert done.returncode == 0, done.stderr[-500:]

def test_hours_of_the_study_need_no_torch(without):
    done = without(["torch", "transformers", "pybullet"], "from vlm4vla.cost import hours\nfor h in ('a100', 'h200'): assert hours('qwen2.5-vl-7b__libero-10__base__s0', h, 8)['train_gpu_hours'] > 10\nassert hours('mini-qwen3-vl__grinningface__base__s0', 'cpu', 1)['train_hours'] < 10")
    assert done.returncode == 0, done.stderr[-500:]

def test_core_is_light(without):
    heavy = ["torch", "transformers", "numpy", "pandas", "tqdm", "matplotlib", "fastcore", "papermill"]
    done = without(heavy, "import vlm4vla.core, vlm4vla.backbones, vlm4vla.benchmarks, vlm4vla.experiments, vlm4vla.simulators, vlm4vla.parameters, vlm4vla.cli")
    assert done.returncode == 0, done.stderr[-500:]

def test_the_package_needs_no_notebook_tools(without):
    done = without(["nbdev", "execnb", "IPython", "jupyterlab", "pytest"], "\n".join(f"import vlm4vla.{m}" for m in MODULES))
    assert done.returncode == 0, done.stderr[-500:]

ANALYSIS = sorted((PACKAGE.parent/"nbs"/"analysis").glob("*.ipynb"))

@pytest.mark.parametrize("path", ANALYSIS, ids=lambda p: p.stem)
def test_an_analysis_page_needs_no_torch(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tree = ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))
    found = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not {m for m in found if m.split(".")[0] in ("torch", "transformers")}
    assert {m.split(".")[1] for m in found if m.startswith("vlm4vla.")} <= set(NO_TORCH)
