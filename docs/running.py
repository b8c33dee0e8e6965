"""Run the notebooks of a folder and save what their cells show: `python docs/running.py nbs`, with as many at a time as `WORKERS` says.

What takes long to import is imported once, before this process becomes one for each page; the package itself every page imports anew. A
page that has not changed, and for which neither the package nor the tables have, is not run again: its outputs are remembered in
build/outputs/, under the hash of all these."""
import gc, hashlib, json, os, re, sys, time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY = ROOT/"build"/"outputs"
sys.path.append(str(ROOT/"tests"))
from notebooks import LONG   # the pages that take longest

PASSING = {"__pycache__", "executed", "videos", "checkpoints"}   # folders that come and go

def digest(*paths):
    "What lies in files and folders, as a hash."
    h = hashlib.sha256()
    for folder in paths:
        files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file() and not PASSING & set(p.parts))
        for p in files: h.update(f"{p.relative_to(ROOT)}\0".encode() + p.read_bytes() + b"\0")
    return h.hexdigest()

def world():
    "What every page may read beside itself: the package, the tables, simulators that are installed, versions."
    versions = [version(p) for p in ("torch", "transformers", "pandas", "matplotlib")]
    simulators = sorted((ROOT/".cache"/"simulators").glob("*/made.json"))
    return digest(ROOT/"vlm4vla", ROOT/"results", ROOT/"settings.ini", *simulators) + " ".join([sys.version, *versions])

def key(text, around):
    "The hash under which a page's outputs are remembered; one that speaks of other notebooks hangs on them, too."
    notebooks = digest(ROOT/"nbs", ROOT/"figures") if re.search(r"\bnbs\b|\.ipynb\b", text) else ""
    return hashlib.sha256(f"{text}\0{around}\0{notebooks}".encode()).hexdigest()

def sources(path): return [[c["cell_type"], "".join(c["source"])] for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]

def place(path, folder): return MEMORY/path.relative_to(folder).with_suffix(".json")

def remember(path, folder, found, seconds):
    "Keep a page's outputs, with what they hang on and what they took of a processor."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    place(path, folder).parent.mkdir(parents=True, exist_ok=True)
    place(path, folder).write_text(json.dumps(dict(key=found, seconds=round(seconds, 1), outputs=[c.get("outputs") for c in cells])),
                                   encoding="utf-8")

def kept(path, folder):
    there = place(path, folder)
    return json.loads(there.read_text(encoding="utf-8")) if there.is_file() else dict(key="", seconds=0)

def recall(path, folder, found):
    "Give a page its outputs of the last time, if they are still true."
    last = kept(path, folder)
    if last["key"] != found: return False
    nb = json.loads(path.read_text(encoding="utf-8"))
    for c, o in zip(nb["cells"], last["outputs"], strict=True):
        if o is not None: c["outputs"] = o
    path.write_text(json.dumps(nb), encoding="utf-8")
    return True

def prepare():
    "Imports that take seconds and change nothing that a page could see."
    gc.disable()
    import h5py, matplotlib.pyplot, pandas, peft, pyarrow.parquet, scipy.stats, seaborn, statsmodels.api, torch, transformers
    import execnb.shell, nbdev.test
    gc.enable(); gc.collect(); gc.freeze()   # what is here already stays one copy in memory
    return execnb.shell.CaptureShell, nbdev.test.nb_test_cells

def run(path, Shell, cells_of):
    "Run one page, in a process of its own."
    from fastcore.nbio import read_nb, write_nb
    os.environ["IN_TEST"] = "1"
    os.chdir(path.parent)
    nb, todo = read_nb(path), {c.id for c in cells_of(path)}
    shell = Shell(path)
    try: shell.run_all(nb, exc_stop=True, preproc=lambda c: c.id not in todo, cell_timeout=600)
    except BaseException as e:
        sys.__stderr__.write(f"{shell.prettytb(fname=path) or repr(e)}\n")
        return 1
    write_nb(nb, path)
    return 0

def begin(path, *how):
    "A process that runs a page."
    sys.stdout.flush(); sys.stderr.flush()
    if pid := os.fork(): return pid
    code = 1
    try: code = run(path, *how)
    finally: os._exit(code)

def main(folder, workers, without=()):
    "Run what is not remembered, except the pages of some folders."
    around, started, used = world(), time.monotonic(), 0
    pages = [p for p in sorted(folder.rglob("*.ipynb")) if p.relative_to(folder).parts[0] not in without]
    keys = {p: key(json.dumps(sources(p)), around) for p in pages}
    todo = [p for p, k in keys.items() if not recall(p, folder, k)]
    todo.sort(key=lambda p: (-kept(p, folder)["seconds"], LONG.index(p.stem) if p.stem in LONG else len(LONG)))
    how, running, failed = prepare() if todo else (), {}, []
    for path in [*todo, *[None]*workers]:
        if running and (len(running) >= workers or path is None):
            pid, status, spent = os.wait4(-1, 0)
            done, seconds = running.pop(pid), spent.ru_utime + spent.ru_stime
            used += seconds
            if status: failed.append(done.name)
            else: remember(done, folder, keys[done], seconds)
        if path: running[begin(path, *how)] = path
    print(f"{len(todo)} of {len(keys)} pages run in {time.monotonic() - started:.0f} s ({used:.0f} s of processors), the others remembered")
    if failed: sys.exit(f"These pages failed: {', '.join(sorted(failed))}; see above.")

if __name__ == "__main__":
    workers = int(os.environ.get("WORKERS", "2"))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1)//workers)))
    main(Path(sys.argv[1]).resolve(), workers, sys.argv[2:])
