"A file for a node without a network: what it holds, and how it runs there."
import io, os, platform, subprocess, sys, tarfile, zipfile
from pathlib import Path
import pytest
from vlm4vla.cli import main
from vlm4vla.core import UserError
from vlm4vla.launch import pack
from vlm4vla.launch.pack import Node, packages_for, read_node, write_pack

def node_file(folder, lines): (p := Path(folder)/"node.txt").write_text("\n".join(lines) + "\n"); return p
HERE = [f"Python {platform.python_version()}", platform.machine()]
RESOLVED = {"papermill": ("2.7.0", ["nbformat>=5", "aiohttp>=3.9; python_version == '3.12'"]), "nbformat": ("5.11.1", []),
            "torch": ("2.13.0", ["sympy"]), "sympy": ("1.14", []), "fastcore": ("2.2.39", [])}

@pytest.fixture
def needs(monkeypatch):
    monkeypatch.setattr(pack, "_requirements", lambda: ["papermill>=2.7", "torch>=2.10", "fastcore>=2.2"])
    monkeypatch.setattr(pack, "_resolved", lambda node, more=(): RESOLVED | ({"aiohttp": ("3.14.5", [])} if more else {}))

def test_a_node_says_what_it_is(tmp_path):
    node = read_node(node_file(tmp_path, [*HERE, "torch==2.11.0+cu130", "Jinja2==3.1", "odd line"]))
    assert node.has == {"torch": "2.11.0", "jinja2": "3.1"} and node.ours and node.minor == "{}.{}".format(*sys.version_info)

@pytest.mark.parametrize("lines", (["torch==2.11"], ["Python 3.12.3"], ["Python", "x86_64"], [""]))
def test_a_file_of_something_else(tmp_path, lines, capsys):
    path = node_file(tmp_path, lines)
    assert main(["pack", str(path)]) != 0
    err = capsys.readouterr().err
    assert "node.txt" in err and "Traceback" not in err and len(err.strip().splitlines()) == 1

def test_only_what_is_lacking_is_brought(needs):
    found = packages_for(Node("3.11.2", "x86_64", dict(torch="2.11.0")))
    assert found == {"fastcore": "2.2.39", "nbformat": "5.11.1", "papermill": "2.7.0"}
    assert "aiohttp" in packages_for(Node("3.12.3", "x86_64", dict(torch="2.11.0"))) # asked for by that Python alone
    everything = dict(torch="2.11.0", papermill="2.8", fastcore="2.3")
    assert packages_for(Node("3.12.3", "x86_64", everything)) == {}
    assert "fastcore" in packages_for(Node("3.12.3", "x86_64", everything | dict(fastcore="1.0"))) # too old

@pytest.mark.parametrize("has,said", (({}, "has no torch"), (dict(torch="2.1.0"), "has torch 2.1.0")))
def test_torch_is_the_nodes_own(needs, has, said):
    with pytest.raises(UserError, match=said): packages_for(Node("3.12.3", "x86_64", has))

def packed(tmp_path, monkeypatch, python="", **files):
    "A pack of made-up packages."
    def fetch(node, packages, to):
        for name, text in files.items(): (to/"mine").mkdir(exist_ok=True); (to/"mine"/f"{name}.py").write_text(text)
        (to/"mine"/"tests").mkdir(); (to/"mine"/"tests"/"x.py").write_text("")
    monkeypatch.setattr(pack, "packages_for", lambda node: dict(mine="1")); monkeypatch.setattr(pack, "_fetch", fetch)
    node = read_node(node_file(tmp_path, [python and f"Python {python}" or HERE[0], HERE[1]]))
    write_pack(node, tmp_path/"p.pyz", simulator=False)
    return tmp_path/"p.pyz"

def run(path, *words): return subprocess.run([sys.executable, str(path), *words], capture_output=True, text=True, cwd=path.parent)

def test_a_pack_runs_a_command_with_what_it_brings(tmp_path, monkeypatch):
    path = packed(tmp_path, monkeypatch, __init__="WORD = 'brought'")
    said = run(path, "--", sys.executable, "-c", "import mine, os; print(mine.WORD, os.environ['VLM4VLA_HOME'])")
    assert said.stdout.split() == ["brought", str(tmp_path)]
    assert run(path).stdout.startswith("export PYTHONPATH=") and len(list(tmp_path.glob("vlm4vla-site-*"))) == 1
    assert "cannot be started" in run(path, "--", "no-such-command").stderr
    with zipfile.ZipFile(path) as z, tarfile.open(fileobj=io.BytesIO(z.read("site.tar.xz"))) as t:
        assert t.getnames() == ["mine/__init__.py"]

def test_the_same_packages_give_the_same_bytes(tmp_path, monkeypatch):
    both = []
    for d in ("a", "b"): (tmp_path/d).mkdir(); both.append(packed(tmp_path/d, monkeypatch, __init__="x = 1").read_bytes())
    assert both[0] == both[1]

def test_a_pack_for_another_python_says_so(tmp_path, monkeypatch):
    said = run(packed(tmp_path, monkeypatch, python="3.99.1", __init__=""), "--", "true")
    assert said.returncode and "for Python 3.99" in said.stderr and len(said.stderr.strip().splitlines()) == 1

def test_a_simulator_that_cannot_be_built_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path)); monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    with pytest.raises(UserError, match="--interpreter"): pack._bullet_wheel(Node("3.99.0", "x86_64", {}), "")
