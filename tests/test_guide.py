"""The guide as a stranger follows it: every snippet runs, in its page's order, in a fresh folder; a page is run as a script and
as a notebook.

A snippet begins with ```python or ```sh. After that word may stand
    FILE.py          it is saved under that name, as the page tells its reader to do
    no-run: REASON   it cannot run here; its commands have to exist all the same, and the test is skipped with the reason"""
import json, os, re, shlex, subprocess, sys
from dataclasses import dataclass
from pathlib import Path
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parent.parent
PAGES = {p.stem: p for p in (*sorted((ROOT/"docs"/"guide").glob("*.md")), ROOT/"CONTRIBUTING.md", ROOT/"README.md")}
KINDS = dict(python="python", py="python", sh="sh", bash="sh", shell="sh", console="sh")
DATA = ("json", "{toctree}", "text", "toml", "yaml") # shown, not run
SECONDS = 600 # of a page; on an idle core a few are enough

@dataclass(frozen=True)
class Snippet:
    "A block of a page."
    page:str
    line:int
    kind:str # python or sh
    said:str # What follows the kind
    text:str

    @property
    def why_not(self): return self.said.removeprefix("no-run:").strip() if self.said.startswith("no-run") else ""
    @property
    def file(self): return self.said if re.fullmatch(r"[\w-]+\.py", self.said) else ""

def snippets(page):
    "The blocks of a page that somebody could run."
    text = PAGES[page].read_text(encoding="utf-8")
    found = [(m, *f"{m[2]} ".split(" ", 1)) for m in re.finditer(r"(?ms)^( *)```([^\n`]+)\n(.*?)^ *```$", text)]
    assert not (odd := {kind for _, kind, _ in found if kind not in KINDS and kind not in DATA}), f"{page}: what is a block of {odd}?"
    return [Snippet(page, text[:m.start()].count("\n") + 1, KINDS[kind], said.strip(), re.sub(f"(?m)^{m[1]}", "", m[3]))
            for m, kind, said in found if kind in KINDS]

ALL = [s for page in PAGES for s in snippets(page)]
label = lambda s: f"{s.page}-{s.line}"

@pytest.mark.parametrize("s", ALL, ids=label)
def test_a_snippet_is_run_or_says_why_not(s):
    assert not s.said or s.file or len(s.why_not.split()) > 1, f"{label(s)}: {s.said!r} is no file and no reason"

# --- running ---

SHIMS = dict(vlm4vla="vlm4vla.cli", papermill="papermill")

@pytest.fixture
def fresh(tmp_path, monkeypatch):
    "A fresh folder that has the run notebooks, like a checkout in which nothing has been done; commands are those of this Python."
    (tmp_path/"nbs").symlink_to(ROOT/"nbs")
    (tmp_path/"settings.ini").write_text((ROOT/"settings.ini").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path/".bin").mkdir()
    for name, module in SHIMS.items():
        (tmp_path/".bin"/name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        (tmp_path/".bin"/name).chmod(0o755)
    for gone in [k for k in os.environ if k.startswith("VLM4VLA_") and k != "VLM4VLA_CACHE"]: monkeypatch.delenv(gone)
    paths = lambda first, name: os.pathsep.join(filter(None, [str(first), os.environ.get(name)]))
    monkeypatch.setenv("PATH", paths(tmp_path/".bin", "PATH"))
    monkeypatch.setenv("PYTHONPATH", paths(ROOT, "PYTHONPATH"))
    monkeypatch.setenv("VLM4VLA_CACHE", str(ROOT/".cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path

def wanted(page):
    "What of a page is run, and what its reader saves as a file."
    here = [s for s in snippets(page) if not s.why_not]
    return [s for s in here if not s.file], {s.file: s.text for s in here if s.file}

def save(files):
    for name, text in files.items(): Path(name).write_text(text, encoding="utf-8")

SHELL = "import subprocess\ndef shell(text): subprocess.run(['bash', '-euo', 'pipefail', '-c', text], check=True)"
def as_python(s): return s.text if s.kind == "python" else f"shell({s.text!r})"

def ran(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

def runnable(kind=None): return [p for p in PAGES if any(kind in (None, s.kind) for s in wanted(p)[0])]

@pytest.mark.parametrize("page", runnable())
def test_a_page_runs_as_a_script(page, fresh):
    todo, files = wanted(page); save(files)
    Path("page.py").write_text("\n\n".join([SHELL, *map(as_python, todo)]) + "\n", encoding="utf-8")
    ran([sys.executable, "page.py"])

@pytest.mark.parametrize("page", runnable("python"))
def test_a_page_runs_as_a_notebook(page, fresh):
    "Only its Python: what a shell does is the same, and was done by the script."
    todo, files = wanted(page); save(files)
    cells = [new_markdown_cell(f"# {page}\n> From the guide."), *(new_code_cell(s.text) for s in todo if s.kind == "python")]
    nb = new_notebook(cells=cells, metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")))
    nbformat.write(nb, "page.ipynb")
    from papermill import execute_notebook
    execute_notebook("page.ipynb", "out.ipynb", progress_bar=False, execution_timeout=SECONDS)

# --- what cannot run here ---

def commands(s):
    "The commands of a snippet that are ours, as words."
    lines = re.sub(r"\\\n\s*", " ", s.text).splitlines() if s.kind == "sh" else []
    said = [shlex.split(l, comments=True) for l in lines]
    return [words[1:] for w in said if (words := w[next((i for i, x in enumerate(w) if "=" not in x), 0):]) and words[0] == "vlm4vla"]

@pytest.mark.parametrize("s", [s for s in ALL if s.why_not], ids=label)
def test_what_cannot_run_here_is_spelled_right(s):
    from vlm4vla.cli import parser
    if s.kind == "python": compile(s.text, label(s), "exec")
    for words in commands(s):
        args = parser().parse_args(words)
        old = [was for name, (was, _) in getattr(args, "renamed", {}).items() if getattr(args, f"old_{name}", None) is not None]
        assert not old, f"{label(s)} uses old names: {old}"
    pytest.skip(f"{label(s)} is not run: {s.why_not}")

# --- a stranger's path: README → page → name ---

QUESTIONS = ("the loss", "an image resized", "add a head", "add a dataset format", "add a simulator", "set of questions", "add a backbone")

def where():
    "Rows of the README's answers: question, page, name."
    text = PAGES["README"].read_text(encoding="utf-8")
    section = re.search(r"(?ms)^## Where things are\n(.*?)^## ", text)[1]
    return re.findall(r"^\| (.*?) \| \[.*?\]\((nbs/\S+?\.ipynb)\) \| `(\w+)` \|$", section, re.M)

def exports(page):
    "What the module of a page exports."
    made = re.search(r"#\| default_exp ([\w.]+)", (ROOT/page).read_text(encoding="utf-8"))[1]
    from importlib import import_module
    return import_module(f"vlm4vla.{made}").__all__

def test_the_readme_answers_what_a_stranger_asks():
    asked = [q for q, *_ in where()]
    assert [q for q in QUESTIONS if not any(q in a for a in asked)] == []

@pytest.mark.parametrize("question, page, name", where(), ids=[name for *_, name in where()])
def test_an_answer_leads_to_the_page_that_has_the_name(question, page, name):
    assert (ROOT/page).is_file() and name in exports(page), f"{question} {page} does not export {name}"

ROOMS = sorted(p.parent.name for p in (ROOT/"nbs").glob("*/index.ipynb"))

@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_where_a_new_thing_goes_and_shows_it(room):
    "Its page names what lives there, what it may import, and a place for a new thing that exists; its last cell is short and runs."
    cells = json.loads((ROOT/"nbs"/room/"index.ipynb").read_text(encoding="utf-8"))["cells"]
    prose, code = "".join(cells[1]["source"]), "".join(cells[-1]["source"])
    assert all(f"**{what}**" in prose for what in ("Lives here", "May be imported", "A new thing"))
    assert cells[-1]["cell_type"] == "code" and 1 < len(code.splitlines()) <= 6
    links = re.findall(r"\]\(([^)#]+\.ipynb)", prose)
    assert [l for l in links if not (ROOT/"nbs"/room/l).is_file()] == []

def test_the_api_begins_with_fifteen_names_that_exist(python):
    code = ("import sys; sys.path.insert(0, 'docs'); import api, ast, importlib\n"
            "assert len(api.LEADING) == 15\n"
            "for m, n, example in api.LEADING:\n"
            "    ast.parse(example); assert n in example or n == 'Variant', n\n"
            "    assert n in importlib.import_module('vlm4vla.' + m).__all__, n\n"
            "print(api.leading())")
    done = python("-c", code)
    assert done.returncode == 0 and done.stdout.count("\n") == 17, done.stderr

def test_every_page_of_the_guide_is_linked_from_its_first():
    first = PAGES["index"].read_text(encoding="utf-8")
    assert [p for p in PAGES if PAGES[p].parent.name == "guide" and p != "index" and f"({p}.md)" not in first] == []

@pytest.mark.parametrize("page", list(PAGES))
def test_links_lead_somewhere_in_the_repository(page):
    "The site has its pages elsewhere; `tests/test_site.py` looks there."
    text, folder = PAGES[page].read_text(encoding="utf-8"), PAGES[page].parent
    links = [l for l in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in l]
    at_home = lambda l: (folder/l).exists() or folder.name == "guide" and (l == "../data.md" or (ROOT/"nbs"/l.removeprefix("../")).exists())
    assert [l for l in links if not at_home(l)] == []
