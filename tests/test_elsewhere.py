"Recordings and images made under a simulator's own interpreter are those made here."
import sys
from importlib.util import find_spec
import pytest
from vlm4vla.sim import elsewhere
from vlm4vla.sim import install as simulators
from vlm4vla.core import UserError
from vlm4vla.tasks.tabletop.demonstrations import demo_sets, make_block
from vlm4vla.sim.elsewhere import interpreter_of
from vlm4vla.tasks.tabletop.questions import scenes

here = pytest.mark.skipif(not find_spec("pybullet"), reason="PyBullet is not in this Python, so there is nothing to compare with.")

@pytest.fixture
def away(monkeypatch):
    "As if PyBullet could not be imported here, but by another Python."
    monkeypatch.setattr(elsewhere, "is_importable", lambda suite: False)
    monkeypatch.setenv("VLM4VLA_GRINNINGFACE_PYTHON", sys.executable)

@here
def test_recordings_and_pictures_are_the_same_to_the_bit(away, monkeypatch):
    name = "grinningface-smoke"
    there = make_block(name, 1), scenes("vqa", 3, 2, 64)
    monkeypatch.setattr(elsewhere, "is_importable", lambda suite: True)
    again = make_block(name, 1), scenes("vqa", 3, 2, 64)
    assert len(there[0]) == len(demo_sets[name].episodes) - demo_sets[name].block
    for a, b in zip(there[0], again[0]):
        assert a.keys() == b.keys() and a["detail"] == b["detail"]
        for k in ("images", "actions", "executed"): assert (a[k] == b[k]).all() and a[k].dtype == b[k].dtype, k
    assert (there[1][0] == again[1][0]).all() and str(there[1][1]) == str(again[1][1])

@here
def test_a_mistake_comes_back_as_one(away):
    with pytest.raises(UserError, match="has no split 'test'"): scenes("test", 0, 1, 64)

@here
def test_any_other_error_names_the_other_python(away):
    with pytest.raises(RuntimeError, match="ValueError"): scenes("vqa", 0, 0, 64)

@pytest.mark.parametrize("exe,words", [("/no/such/python", "does not start"), ("/bin/false", "could not run")])
def test_another_python_that_does_not_work_is_told_in_one_sentence(away, monkeypatch, exe, words):
    monkeypatch.setenv("VLM4VLA_GRINNINGFACE_PYTHON", exe)
    with pytest.raises(UserError, match=words): scenes("vqa", 0, 1, 64)

def test_without_any_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(elsewhere, "is_importable", lambda suite: False)
    monkeypatch.setenv("VLM4VLA_SIMULATORS", str(tmp_path)); monkeypatch.delenv("VLM4VLA_GRINNINGFACE_PYTHON", raising=False)
    with pytest.raises(UserError, match="`vlm4vla simulators install tabletop`"): interpreter_of("grinningface")

def test_the_tabletop_has_two_names():
    assert simulators.called("tabletop") is simulators.called("grinningface") is simulators.simulators["grinningface"]
    with pytest.raises(UserError, match="did you mean 'simpler'"): simulators.called("simplr")

@pytest.fixture
def newer(monkeypatch):
    "As if this were Python 3.13."
    monkeypatch.setattr(simulators.sys, "version_info", (3, 13, 0, "final", 0)); simulators.base_python.cache_clear()
    yield monkeypatch
    simulators.base_python.cache_clear()

def test_environments_are_made_with_a_python_of_the_tested_version(newer, tmp_path):
    wrong, right = tmp_path/"a", tmp_path/"b"
    wrong.write_text("#!/bin/sh\nexit 1\n"); right.write_text("#!/bin/sh\nexit 0\n")
    for p in (wrong, right): p.chmod(0o755)
    newer.setattr(simulators, "_pythons", lambda: [str(tmp_path/"gone"), str(wrong), str(right)])
    assert simulators.base_python() == (str(right), (3, 11)) and simulators._warned(simulators.called("tabletop")) == ""

def test_building_is_announced_and_refused_without_a_compiler(newer):
    newer.setattr(simulators, "_pythons", lambda: []); newer.setattr(simulators.shutil, "which", lambda name: "/usr/bin/c++")
    assert simulators.base_python() == (sys.executable, (3, 13))
    tabletop, libero = map(simulators.called, ("tabletop", "libero"))
    assert "more than 15 minutes" in simulators._warned(tabletop) and simulators._warned(libero) == ""
    newer.setattr(simulators.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no C\\+\\+ compiler .* install Python 3.11"): simulators._warned(simulators.called("tabletop"))

def test_pythons_are_looked_for_where_pyenv_and_uv_keep_theirs(monkeypatch, tmp_path):
    want = [tmp_path/"pyenv"/"versions"/"3.11.9"/"bin"/"python3.11", tmp_path/"uv"/"cpython-3.11.13-linux"/"bin"/"python3.11"]
    for p in want: p.parent.mkdir(parents=True); p.touch()
    for k, v in (("PYENV_ROOT", "pyenv"), ("UV_PYTHON_INSTALL_DIR", "uv"), ("PATH", "none")): monkeypatch.setenv(k, str(tmp_path/v))
    assert simulators._pythons() == [str(p) for p in want]

def test_makefile_and_package_name_the_same_index(root):
    assert f"TORCH_INDEX ?= {simulators.CPU_BUILDS}\n" in (root/"Makefile").read_text()

def test_pages_that_are_left_out_under_another_python_are_there(root, monkeypatch):
    import skips
    pages = {p.stem for p in (root/"nbs").rglob("*.ipynb")}
    assert {*skips.HANDS_ON, *skips.USING} <= pages
    monkeypatch.setattr(skips, "find_spec", lambda name: None); monkeypatch.setattr(elsewhere, "is_importable", lambda suite: False)
    monkeypatch.setenv("VLM4VLA_GRINNINGFACE_PYTHON", sys.executable)
    assert skips.skipped()[0] == skips.HANDS_ON
    monkeypatch.setenv("VLM4VLA_GRINNINGFACE_PYTHON", ""); monkeypatch.setenv("VLM4VLA_SIMULATORS", str(root/"nowhere"))
    monkeypatch.setattr(skips, "base_python", lambda: (sys.executable, (3, 13)))
    pages, why = skips.skipped()
    assert pages == skips.HANDS_ON + skips.USING and "vlm4vla simulators install tabletop" in why
