"Where things are, for every test."
import gc, os, subprocess, sys
from pathlib import Path
import pytest

if "PYTEST_XDIST_WORKER" in os.environ: os.environ.setdefault("OMP_NUM_THREADS", "1") # each has a core of its own
gc.disable() # while every file of tests is imported; none of that is garbage

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def root(): return ROOT

@pytest.fixture
def python():
    "Run this Python on some code in a fresh process and return what came of it."
    def run(*args, **kw):
        env = {**os.environ, **kw.pop("env", {})}
        return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, cwd=kw.pop("cwd", ROOT),
                              timeout=kw.pop("timeout", 120), **kw)
    return run

ASSETS = dict(simpler="maniskill", libero="libero") # suite → its folder where test assets lie beside the checkout

@pytest.fixture(scope="session")
def interpreter():
    "The interpreter of a suite's simulator; installed first where its assets are at hand."
    def find(suite):
        from vlm4vla.catalog.benchmarks import benchmarks, simulator_python
        from vlm4vla.core import UserError
        from vlm4vla.sim.install import install, made, simulators
        s, b = simulators[suite], next(b for b in benchmarks.values() if b.suite == suite)
        beside = ROOT.parent/"shared"/"assets"/ASSETS[suite]
        assets = os.environ.get(s.assets_setting) or (beside if beside.is_dir() else None)
        if os.environ.get(b.python_setting): return os.environ[b.python_setting]
        if not made(s):
            if not assets:
                pytest.skip(f"{s.label} is not installed, and no assets are at hand to install it for a test; run `{s.command}`, or set "
                            f"{s.assets_setting} to a folder that has them.")
            try: install(suite, assets)
            except UserError as e: pytest.skip(f"{s.label} could not be installed here: {e}")
        return simulator_python(suite)
    return find

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}: raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""

@pytest.fixture
def without(python):
    "Run code in a fresh process in which some packages cannot be imported."
    return lambda blocked, code, **kw: python("-c", BLOCK.replace("{blocked}", repr(set(blocked))) + code, **kw)

@pytest.fixture
def brief(monkeypatch):
    "A benchmark of short episodes, here and in what is started from here; it is gone afterwards."
    import brief as plugin
    from vlm4vla.catalog.benchmarks import benchmarks
    monkeypatch.setenv("VLM4VLA_PLUGINS", plugin.__file__); monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield benchmarks.add(plugin.ENTRY).name
    del benchmarks[plugin.ENTRY.name]

LONG = ("test_slurm", "test_guide", "test_tutorials", "test_processes", "test_own", "test_sweep", "test_parameters", "test_policies",
        "test_states", "test_grinningface", "test_figures", "test_rollout", "test_cli", "test_status", "test_wheel")

def pytest_collection_finish(session): gc.enable(); gc.collect(); gc.freeze()

def pytest_collection_modifyitems(session, items):
    """The files that take longest begin, so that no process waits for another at the end.
    Where PyBullet has no wheel, the tabletop gets its own interpreter before the tests begin, if there is one for it."""
    import importlib.util, skips
    items.sort(key=lambda i: LONG.index(i.path.stem) if i.path.stem in LONG else len(LONG))
    session.config.lacking = "" if importlib.util.find_spec("pybullet") else skips.lacking()

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    "A test that asked for the tabletop where it cannot be had is skipped, with the sentence that it was told."
    report = (yield).get_result()
    why = getattr(item.config, "lacking", "")
    if report.failed and why and "vlm4vla simulators install tabletop" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: {why}.")

def pytest_terminal_summary(terminalreporter):
    "What was not tested here, file by file, with what it needs."
    why = {}
    for r in terminalreporter.stats.get("skipped", []):
        reason = str(r.longrepr[-1] if isinstance(r.longrepr, (tuple, list)) else r.longrepr).removeprefix("Skipped: ")
        why.setdefault((r.nodeid.split("::")[0], reason), []).append(r)
    if why: terminalreporter.section("not tested here, and what it needs", sep="-")
    for (file, reason), found in sorted(why.items()):
        terminalreporter.write_line(f"{file}{f' ({len(found)} tests)' if len(found) > 1 else ''}: {reason}")
