"Pages of the site from notebooks that papermill has run: what each was given, under what it ran, what it shows. No bars, no warnings."
import json, re
from pathlib import Path
from vlm4vla.results.executed import without_progress, read_executed, read_notebook
from vlm4vla.launch.status import duration

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT/"results"/"executed"
MINE = ("parameters", "injected-parameters")   # tags of cells whose content the page shows as a table
BANNER = "papermill-error-cell-tag"   # of a cell that papermill adds above one that failed

INDEX = """# Executed runs

> The notebooks of experiments as they ran, one page each.

| state | run | notebook | when (UTC) | how long |
|---|---|---|---|---|
"""

def found(folder=FOLDER):
    "Executed notebooks, the ones that began last first."
    if not Path(folder).is_dir():
        raise SystemExit(f"There is no folder {folder}; give one with executed notebooks: make docs ARGS=--gallery=FOLDER")
    return sorted(map(read_executed, Path(folder).glob("*.ipynb")), key=lambda e: (e.started, e.path.name), reverse=True)

def shown(value):
    "A value for a table cell; a path inside the repository from its root."
    text = str(value)
    if text.startswith(f"{ROOT}/"): text = text[len(f"{ROOT}/"):]
    return f"`{text}`" if text else "–"

def facts(what, rows): return "\n".join([f"| {what} | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows if v)])

def provenance(e):
    "What the account of a run says, where there is one beside the notebooks."
    path = e.path.parent.parent/"provenance"/f"{e.run_id}.json"
    accounts = json.loads(path.read_text(encoding="utf-8")).values() if path.is_file() else ()
    a = next((a for a in accounts if isinstance(a, dict) and a.get("notebook") == f"runs/{e.notebook}"), None)
    if not a: return "No account of this run lies beside its notebook."
    on = a["hardware"]
    return facts("account",
                 [("commit", shown(a["git_sha"])), ("machine",
                                                    ", ".join(on["gpus"]) or f"{on['cores']} cores of {on['cpu']}, {on['memory_gb']} GB"),
                  ("versions", ", ".join(f"{k} {v}" for k, v in a["versions"].items())),
                  *((f"hash of {k}", shown(v[:16])) for k, v in a["inputs"].items())])

def label(e): return " ".join(filter(None, [e.notebook or e.run_id, e.shard.replace("of", "/")]))

def head(e):
    "The beginning of a page."
    given = facts("parameter",
                  [(k, shown(v)) for k, v in e.parameters.items()]) if e.parameters else "Nothing: every parameter had its default."
    when = " · ".join(filter(None, [e.state, e.started and f"{e.started.replace('T', ' ')} UTC", duration(e.seconds)]))
    return f"# {e.run_id} · {label(e)}\n\n> {when}\n\n## What it was given\n\n{given}\n\n## Under what it ran\n\n{provenance(e)}"

def pictured(cell):
    "A code cell with a text for its image, if it has one and says nothing of it."
    source = cell["source"]
    drawn = any(k.startswith("image/") for o in cell["outputs"] for k in o.get("data", {}))
    return cell if not drawn or re.search(r"^#\|\s*fig-alt:", source, re.M) else dict(cell,
        source=f"#| fig-alt: What the cell that begins with {source.splitlines()[0][:60]} shows.\n{source}")

def body(cells):
    "What follows the head of a page: no title, nothing about parameters; code that shows nothing goes with the code after it."
    told = max([0, *(i for i, c in enumerate(cells) if set(MINE) & set(c["metadata"].get("tags", []))
                     or "check_parameters(globals()" in "".join(c["source"]))])
    held = []
    for c in cells[told + 1:]:
        if BANNER in c["metadata"].get("tags", []): continue
        c = dict(c, source="".join(c["source"]), metadata={})
        if c["cell_type"] == "code" and not c["outputs"]: held.append(c); continue
        if c["cell_type"] == "code" and held: c["source"] = "\n\n".join(h["source"] for h in [*held, c])
        elif held: yield dict(held[-1], source="\n\n".join(h["source"] for h in held))
        held = []
        yield pictured(c) if c["cell_type"] == "code" else c
    if held: yield dict(held[-1], source="\n\n".join(h["source"] for h in held))

def notebook(e):
    "An executed notebook as a page."
    nb = without_progress(read_notebook(e.path))
    return dict(nb, cells=[dict(cell_type="markdown", id="head", metadata={}, source=head(e)), *body(nb["cells"])],
                metadata=dict(kernelspec=nb["metadata"].get("kernelspec", {})))

def index(runs):
    "The page that lists the others."
    rows = [f"| {e.state} | {e.run_id} | [{label(e)}](executed/{e.path.name}) | {e.started.replace('T', ' ')} | {duration(e.seconds)} |"
            for e in runs]
    return INDEX + "\n".join(rows) if runs else INDEX.partition("| state")[
        0] + "There are none yet; `vlm4vla sweep` leaves them in `results/executed/`."
