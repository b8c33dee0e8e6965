"What an installed package is made of, and what it can do in an empty folder."
import os, re, shutil, subprocess, sys, zipfile
from configparser import ConfigParser
import pytest

NEEDED = ("vlm4vla", "settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE",
          "nbs/runs", "nbs/analysis", "results/bench.csv", "results/counts.csv")

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "A wheel of these sources, built without a network from a copy, so that nothing is left in the checkout."
    from conftest import ROOT
    source, to = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns(".*", "__pycache__")
    for name in NEEDED:
        (source/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT/name, source/name, ignore=skip) if (ROOT/name).is_dir() else shutil.copy(ROOT/name, source/name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", to, source]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(to.glob("*.whl"))

@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "The wheel, unpacked."
    to = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as z: z.extractall(to)
    return to

def empty(installed):
    "The environment of a process that knows the unpacked package and no checkout."
    return {**{k: v for k, v in os.environ.items() if not k.startswith("VLM4VLA_")}, "PYTHONPATH": str(installed)}

@pytest.fixture
def command(installed, tmp_path):
    "Run a command of the unpacked package in an empty folder."
    code = "from vlm4vla.cli import main; raise SystemExit(main())"
    def run(*args):
        how = dict(cwd=tmp_path, env=empty(installed), capture_output=True, text=True, timeout=300)
        return subprocess.run([sys.executable, "-c", code, *args], **how)
    return run

def test_a_wheel_brings_what_commands_need(root, installed):
    settings = ConfigParser(delimiters=["="]); settings.read(root/"settings.ini", encoding="utf-8")
    patterns = settings["DEFAULT"]["workbook"].split()
    want = {p.relative_to(root).as_posix() for pattern in patterns for p in root.glob(pattern)}
    have = {p.relative_to(installed/"vlm4vla"/"workbook").as_posix() for p in (installed/"vlm4vla"/"workbook").rglob("*") if p.is_file()}
    assert have == want and {"nbs/runs/train.ipynb", "nbs/runs/evaluate.ipynb", "nbs/analysis/60_mini_study.ipynb"} <= have
    for p in have: assert (installed/"vlm4vla"/"workbook"/p).read_bytes() == (root/p).read_bytes(), p
    assert not (root/"vlm4vla"/"workbook").exists()

def test_a_wheel_brings_the_package_and_its_data_and_nothing_else(root, installed):
    hidden = lambda p: any(x[0] == "." or x == "__pycache__" for x in p.parts)
    files = lambda folder: {q.as_posix() for p in folder.rglob("*") if p.is_file() and not hidden(q := p.relative_to(folder))}
    assert {f for f in files(installed/"vlm4vla") if not f.startswith("workbook/")} == files(root/"vlm4vla")
    assert {p.name.split("-")[0] for p in installed.iterdir()} == {"vlm4vla"}

def test_a_wheel_says_which_pythons_it_is_for(installed):
    told = next(installed.glob("*.dist-info/METADATA")).read_text(encoding="utf-8")
    assert set(re.search("^Requires-Python: (.*)", told, re.M)[1].split(",")) == {">=3.11", "<3.14"}
    assert re.search(r"^Requires-Dist: pybullet.*python_version < .3\.12", told, re.M)
    for v in (11, 12, 13): assert f"Classifier: Programming Language :: Python :: 3.{v}\n" in told

def test_commands_work_in_an_empty_folder(command, installed, tmp_path):
    smoke = "tiny-qwen3-vl__grinningface__smoke__s0"
    done = command("--help"); assert done.returncode == 0 and "sweep" in done.stdout
    done = command("sweep", smoke, "--plan"); assert done.returncode == 0 and "a core" in done.stdout, done.stderr
    done = command("status"); assert done.returncode == 0, done.stderr
    done = command("report"); assert done.returncode == 2 and f"{tmp_path}{os.sep}results" in done.stderr, done.stderr
    done = command("evaluate", smoke); assert done.returncode == 2 and "vlm4vla train" in done.stderr, done.stderr
    done = command("doctor"); assert done.returncode in (0, 1) and "make setup" not in done.stdout, done.stderr
    done = command("data", "check", "nowhere"); assert done.returncode == 1 and "nowhere" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"

def test_run_notebooks_and_pages_come_from_the_package(installed, tmp_path, root):
    code = """
from vlm4vla.launch.needs import find_notebook
from vlm4vla.launch.slurm import find_page
print(find_notebook("train"), find_page("60_mini_study"), sep="\\n")
"""
    how = dict(env=empty(installed), capture_output=True, text=True)
    run = lambda cwd: subprocess.run([sys.executable, "-c", code], cwd=cwd, **how).stdout.split()
    pages = "runs/train.ipynb", "analysis/60_mini_study.ipynb"
    assert run(tmp_path) == [str(installed/"vlm4vla"/"workbook"/"nbs"/p) for p in pages]
    assert run(root) == [str(root/"nbs"/p) for p in pages], "a checkout's own are preferred"
