"The commands answer at once, and bad input gets one sentence and status 2."
import os, re, resource, shutil, subprocess, sys
import pytest

COMMANDS = ("demo", "sweep", "train", "evaluate", "report", "data", "simulators", "doctor")
HEAVY = ["torch", "transformers", "numpy", "pandas", "matplotlib", "pybullet", "papermill", "tqdm"]

@pytest.fixture
def cli(python): return lambda *args, **kw: python("-m", "vlm4vla.cli", *args, **kw)

@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help_needs_nothing_and_answers_at_once(without, command):
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])   # of the processor, so that a busy machine does not fail it
    before = used()
    done = without(HEAVY, f"import sys; sys.argv = ['vlm4vla', *{list(command)!r}, '--help']\nfrom vlm4vla.cli import main; main()")
    assert done.returncode == 0 and done.stdout.startswith("usage: vlm4vla"), done.stderr
    assert used() - before < 1, f"{used() - before:.2f} s"

def test_the_console_command_is_installed(root):
    exe = shutil.which("vlm4vla", path=os.path.dirname(sys.executable))
    assert exe, "run: make setup"
    done = subprocess.run([exe, "--help"], capture_output=True, text=True, cwd=root)
    assert all(c in done.stdout for c in COMMANDS)

BAD = [
    (["demoo"], "did you mean 'demo'?"),
    ([], "required"),
    (["sweep"], "NAME"),
    (["demo", "--workers", "0"], "--workers must be a whole number of at least 1"),
    (["sweep", "demo", "--jobs", "two"], "--jobs must be a whole number of at least 1"),
    (["sweep", "demo", "--retries", "-1"], "--retries"),
    (["sweep", "pretrained-vs-scrach"], "did you mean 'pretrained-vs-scratch'?"),
    (["train", "mini-qwen3-v__grinningface__base__s0"], "did you mean 'mini-qwen3-vl'?"),
    (["train", "mini-qwen3-vl__griningface__base__s0"], "did you mean 'grinningface'?"),
    (["train", "mini-qwen3-vl__grinningface__bass__s0"], "did you mean 'base'?"),
    (["evaluate", "mini-qwen3-vl__grinningface__base__s77"], "There is no seed 's77'"),
    (["evaluate", "mini-qwen3-vl__grinningface"], "is no experiment; write backbone__benchmark__variant__s0"),
    (["simulators", "install"], "Name the simulator to install"),
    (["simulators", "install", "simplr"], "did you mean 'simpler'?"),
    (["simulators", "instal", "simpler"], "did you mean 'install'?"),
    (["sweep", "everything"], "neither a study nor an experiment"),
]

@pytest.mark.parametrize("args,words", BAD, ids=[" ".join(a) or "nothing" for a, _ in BAD])
def test_bad_input_is_one_sentence_and_status_2(cli, args, words, tmp_path):
    done = cli(*args, env={"VLM4VLA_HOME": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""

def test_doctor_says_how_to_get_what_is_missing(cli):
    done = cli("doctor")
    assert done.returncode in (0, 1), done.stderr
    for what in ("Python", "torch", "Jupyter kernel", "pybullet", "GPU", "Slurm", "simulator calvin", "disk"): assert re.search(f"^{what} ", done.stdout, re.M), what
    assert ("The demo can run" in done.stdout) == (done.returncode == 0)
    for row in re.findall(r"^(\S.*?) {2,}(?:missing|optional)\b", done.stdout, re.M): assert f"  {row}: " in done.stdout, row

def test_evaluating_what_is_not_trained_names_the_remedy(cli, tmp_path):
    done = cli("evaluate", "tiny-qwen3-vl__grinningface__smoke__s0", "--out", str(tmp_path))
    assert done.returncode == 2 and "vlm4vla train tiny-qwen3-vl__grinningface__smoke__s0" in done.stderr, done.stderr

def test_report_on_an_empty_folder_says_so(cli, tmp_path):
    done = cli("report", "--out", str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr

def make(root, tmp_path, *args, **env):
    return subprocess.run(["make", "-s", f"VENV={tmp_path/'venv'}", *args], cwd=root, capture_output=True, text=True, env={**os.environ, **env}, timeout=60)

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_with_a_wrong_python_says_one_sentence(root, tmp_path):
    fake = tmp_path/"python3.9"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n"); fake.chmod(0o755)
    done = make(root, tmp_path, "setup", f"PYTHON={fake}")
    said = [l for l in done.stderr.splitlines() if not l.startswith("make")]
    assert done.returncode == 2 and len(said) == 1 and "vlm4vla needs Python 3.11" in said[0] and "Python 3.9.1" in said[0], done.stderr

@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_help_lists_the_targets_and_installs_nothing(root, tmp_path):
    done = make(root, tmp_path)
    assert done.returncode == 0 and not (tmp_path/"venv").exists()
    for target in ("demo", "test", "lab", "analysis", "export", "docs", "bench", "help"): assert re.search(f"^  make {target} ", done.stdout, re.M), target

def test_a_plan_says_what_fits_and_refuses_what_does_not(capsys):
    pytest.importorskip("torch"); from vlm4vla.cli import main
    assert main(["train", "qwen3-vl-2b__grinningface__base__s0", "--plan"]) == 0
    assert "on each of 1 H100 SXM" in capsys.readouterr().out
    assert main(["train", "qwen2.5-vl-7b__grinningface__base__s0", "--plan", "--gpu", "a100"]) == 1
    assert "does not fit; the nearest setting that does:" in capsys.readouterr().out
