"What is made from the notebooks is what is committed."
import json, os, shutil, subprocess, sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path
import pytest
from packaging.requirements import Requirement

@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "The notebooks and the package, exported and cleaned anew somewhere else."
    root, to = Path(__file__).resolve().parent.parent, tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns(".*", "__pycache__", "assets", "executed", "demo", "checkpoints")
    for folder in ("nbs", "vlm4vla"): shutil.copytree(root/folder, to/folder, ignore=skip)
    for f in ("settings.ini", "pyproject.toml", "README.md"): shutil.copy(root/f, to/f)
    for f in (to/"vlm4vla").rglob("*.py"):
        if f.name != "__init__.py": f.unlink()
    for tool in ("nbdev-export", "nbdev-clean"):
        done = subprocess.run([Path(sys.executable).parent/tool], cwd=to, capture_output=True, text=True)
        assert done.returncode == 0, f"{tool}: {done.stderr}"
    return to

def texts(folder, pattern):
    return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in sorted(Path(folder).glob(pattern))
            if not {".ipynb_checkpoints", "assets"} & {*p.parts}}

@pytest.mark.parametrize("pattern", ["vlm4vla/**/*.py", "nbs/**/*.ipynb"])
def test_export_and_clean_leave_no_diff(root, copy, pattern):
    ours, made = texts(root, pattern), texts(copy, pattern)
    assert sorted(ours) == sorted(made), "run: make export"
    assert [k for k in ours if ours[k] != made[k]] == [], "run: make export"

def test_readme_is_made_from_the_index(python):
    done = python("docs/readme.py", "--check")
    assert done.returncode == 0, done.stderr

def test_the_first_page_names_the_repository_and_is_where_the_lab_opens(root):
    import re, tomllib
    url = tomllib.loads((root/"pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    first = (root/"README.md").read_text(encoding="utf-8")
    assert f"git clone {url} " in first and f"]({url})" in first and f"repository-code: {url}\n" in (root/"CITATION.cff").read_text()
    opened = re.search(r"default_url=/lab/tree/(\S+)", (root/"Makefile").read_text(encoding="utf-8"))[1]
    assert opened == "nbs/index.ipynb" and (root/opened).is_file()

def test_pictures_of_the_first_page_are_small(root):
    import re
    shown = re.findall(r"\]\((docs/static/[^)]+\.(?:webp|svg))\)", (root/"README.md").read_text(encoding="utf-8"))
    assert len(shown) > 1 and all((root/f).stat().st_size < 200_000 for f in shown), shown

def cells(path): return json.loads(Path(path).read_text(encoding="utf-8"))["cells"]

def test_run_notebooks_keep_one_typed_parameters_cell(copy):
    runs = sorted((copy/"nbs"/"runs").glob("*.ipynb"))
    assert runs
    for nb in runs:
        tagged = [c for c in cells(nb) if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1, nb.name
        names = [l.split(":")[0] for l in "".join(tagged[0]["source"]).splitlines() if l.strip()]
        assert names and all(n.isidentifier() for n in names), f"{nb.name}: every parameter is `name:type=default # what it is`"

def test_notebooks_open_with_a_title_and_name_a_kernel(root):
    for nb in sorted((root/"nbs").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in nb.parts: continue
        first = "".join(cells(nb)[0]["source"]).splitlines()
        assert first[0].startswith("# ") and first[1].startswith("> ") and len(
            first) == 2, f"{nb.name}: the first cell is `# title` and `> one line`"
        assert json.loads(nb.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"] == "python3", nb.name

@pytest.fixture
def settings(root):
    s = ConfigParser(delimiters=["="]); s.read(root/"settings.ini", encoding="utf-8")
    return s

def test_version_has_one_value(root, settings):
    from vlm4vla import __version__
    want = settings["DEFAULT"]["version"]
    assert want == __version__ == version("vlm4vla")
    assert f"version: {want}\n" in (root/"CITATION.cff").read_text(encoding="utf-8")
    assert f"## {want}" in (root/"CHANGELOG.md").read_text(encoding="utf-8")

def test_python_has_one_floor(root, settings):
    import tomllib
    project = tomllib.loads((root/"pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"].startswith(f">={settings['DEFAULT']['min_python']}")
    assert project["name"] == settings["DEFAULT"]["lib_name"] and "version" in project["dynamic"]

def test_constraints_hold_every_requirement_in_its_range(root, settings):
    pins = dict(l.split("==") for l in (root/"constraints.txt").read_text().splitlines() if l and l[0] != "#")
    pins = {k.lower().replace("_", "-"): v for k, v in pins.items()}
    extras = {k: v for k, v in settings["extras"].items() if k not in settings["DEFAULT"]}
    for line in filter(None, map(str.strip, "\n".join([settings["DEFAULT"]["requirements"], *extras.values()]).splitlines())):
        r = Requirement(line)
        assert r.name.lower() in pins, f"{r.name} has no exact version in constraints.txt"
        assert r.specifier.contains(pins[r.name.lower()]), line

def test_no_machine_in_the_sources(root):
    for pattern in ("nbs/**/*.ipynb", "tests/*.py", "*.md", "Makefile", "docs/*.py"):
        for name, text in texts(root, pattern).items():
            for word in ("/" + "root/", "/" + "home/", "/" + "work/", "/" + "mnt/"):
                assert word not in text, f"{name} names a folder of some machine ({word})"
