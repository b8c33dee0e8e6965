"""Run pages that are committed with what they show, and keep it in them: `python docs/outputs.py nbs/tutorials nbs/analysis`.

A notebook on a repository's page then reads like the site. Kept is what every machine shows: no progress bars, no warnings, no
numbers of cells. `tests/test_tutorials.py` runs the same pages and compares."""
import base64, io, json, multiprocessing, os, re, subprocess, sys, tempfile, traceback
from pathlib import Path
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))   # the package of this checkout, whichever is installed
from vlm4vla.core import write_text
from vlm4vla.results.executed import output_text

KEPT = ("tutorials", "analysis")   # folders of nbs/ whose pages are committed with their outputs
LARGEST = 200_000   # bytes of an image in a committed page

def pages(where):
    "The pages of a folder, or the one page."
    where = Path(where)
    return [where] if where.is_file() else sorted(p for p in where.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

def read(path): return json.loads(Path(path).read_text(encoding="utf-8"))

# --- what is kept of an output ---

def said(kind, value):
    "What an output holds in one form, as notebooks keep it: text in lines, an image in one piece."
    value = "".join(value)
    if kind == "text/html": value = re.sub(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", small, value)
    if kind.startswith("image/") and kind != "image/svg+xml": return value.rstrip()
    return re.sub(r"(<.*?) at 0x[0-9a-fA-F]+(>)", r"\1\2", value).splitlines(keepends=True)

def small(found):
    "A drawing inside HTML; in place of one of many lines stands the PNG that lies in figures/, in 256 colours."
    svg = base64.b64decode(found[1])
    if len(svg) <= LARGEST: return found[0]
    name = re.search(rb"<dc:title>([^<]*)<", svg)[1].decode()
    Image.open(ROOT/"figures"/f"{name}.png").convert("P", palette=Image.Palette.ADAPTIVE).save(buf := io.BytesIO(), "PNG", optimize=True)
    return f'data:image/png;base64,{base64.b64encode(buf.getvalue()).decode()}" data-drawing="{name}'

def drawn(html, up):
    "HTML of a committed page with the drawings themselves, for the site, where they follow the dark and can be enlarged: as files, `up`."
    return re.sub(r'data:image/png;base64,[^"]*" data-drawing="(\w+)"', rf'{up}figures/\1.svg"', html)

def worth_keeping(output):
    "Is it more than progress bars and warnings?"
    return output.get("name") != "stderr" or bool(output_text("".join(output["text"])))

def kept(output):
    "An output without what differs from run to run; a plain text only where there is nothing better to see."
    if output["output_type"] == "stream":
        return dict(name=output["name"], output_type="stream", text=said("text", output["text"]))
    data = output["data"] if len(output["data"]) == 1 else {k: v for k, v in output["data"].items() if k != "text/plain"}
    data = {k: said(k, v) if k.startswith(("text/", "image/")) else v for k, v in data.items()}
    return dict(data=data, metadata={}, output_type=output["output_type"],
                **(dict(execution_count=None) if output["output_type"] == "execute_result" else {}))

# --- running ---

RUN = """
import sys
from execnb.shell import CaptureShell
from fastcore.nbio import read_nb, write_nb
nb = read_nb(sys.argv[1])
CaptureShell(path=".", mpl_format="png").run_all(nb, exc_stop=True, preproc=lambda c: c.cell_type != "code" or "#| eval: false" in c.source)
write_nb(nb, sys.argv[2])
"""

HERE = dict(PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])), VLM4VLA_HOME=str(ROOT))

def outputs_in(ran): return [[kept(o) for o in c.get("outputs", []) if worth_keeping(o)] for c in read(ran)["cells"]]

def executed(path, **env):
    "What each cell of a page shows when it is run in the page's folder, by a Python of its own; `env` is added to the environment."
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory() as d:
        done = subprocess.run([sys.executable, "-c", RUN, path.name, f"{d}/ran.ipynb"], cwd=path.parent, capture_output=True, text=True,
                              env={**os.environ, **HERE, "TMPDIR": d, **env})
        if done.returncode: raise RuntimeError(f"{path.name} failed:\n{done.stderr[-3000:]}")
        return outputs_in(f"{d}/ran.ipynb")

# What most pages import takes longer than most pages: it is imported once, and each page has a process that begins there.
IMPORTED = ("IPython", "execnb.shell", "matplotlib.pyplot", "pyarrow.parquet", "scipy.stats", "statsmodels.stats.multitest",
            "vlm4vla.results.arms", "vlm4vla.paper.small")

def shown(path):
    "The same in this process, which was made for this page alone."
    path = Path(path).resolve()
    with tempfile.TemporaryDirectory() as d, open(f"{d}/said", "w") as f:
        for n in (1, 2): os.dup2(f.fileno(), n)
        os.chdir(path.parent); tempfile.tempdir = d; sys.argv = ["", path.name, f"{d}/ran.ipynb"]
        try: exec(RUN, {})
        except Exception: raise RuntimeError(f"{path.name} failed:\n{traceback.format_exc()[-3000:]}") from None
        finally: os.chdir(ROOT)
        return outputs_in(f"{d}/ran.ipynb")

def keep(path):
    "Run a page and write what it shows into it; was anything new?"
    path = Path(path).resolve(); nb, before = read(path), path.read_text(encoding="utf-8")
    for cell, outputs in zip(nb["cells"], shown(path), strict=True):
        if cell["cell_type"] == "code": cell.update(outputs=outputs, execution_count=None)
    text = json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n"   # as nbdev-clean leaves it
    if text != before: write_text(path, text)
    return text != before

if __name__ == "__main__":
    todo = [p for where in sys.argv[1:] or [ROOT/"nbs"/room for room in KEPT] for p in pages(where)]
    os.environ |= HERE
    makes = multiprocessing.get_context("forkserver"); makes.set_forkserver_preload(["__main__", *IMPORTED])
    with makes.Pool(int(os.environ.get("WORKERS", "1")), maxtasksperchild=1) as pool:
        for path, new in zip(todo, pool.imap(keep, todo)): print(f"{path}: {'written anew' if new else 'as before'}", flush=True)
