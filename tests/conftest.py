"Where things are, for every test."
import os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def root(): return ROOT

@pytest.fixture
def python():
    "Run this Python on some code in a fresh process and return what came of it."
    def run(*args, **kw):
        env = {**os.environ, **kw.pop("env", {})}
        return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, cwd=kw.pop("cwd", ROOT), timeout=kw.pop("timeout", 120), **kw)
    return run

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
