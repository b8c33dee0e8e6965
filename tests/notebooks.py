"""Run notebooks from top to bottom, as `make test` does: `python tests/notebooks.py WORKERS`, or with the pages after that.

What takes long to import is imported once, before this process becomes one for each page; no page sees what another one did.
The pages that take longest begin, so that no process waits for another at the end."""
import os, signal, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("bench", "analysis", "tutorials") # measurements; what tests/test_tutorials.py runs and compares
LIMIT = 1200 # seconds of a page; a page that waits for ever would have the whole test wait
LONG = ("evaluate", "06_plan", "02_demonstrations", "03_sweep", "count_operations", "02_processes", "pretrain_mini", "vlm_sft", "train",
        "03_rollout", "04_policy", "01_loop", "01_tabletop", "05_carry", "90_cli", "03_heads")

def pages(left_out):
    "The pages that are tested, the longest first."
    found = [p for p in sorted((ROOT/"nbs").rglob("*.ipynb")) if not {x for x in p.parts if x[0] in "._"} - set(ROOT.parts)]
    found = [p for p in found if p.relative_to(ROOT/"nbs").parts[0] not in ELSEWHERE and p.stem not in left_out]
    return sorted(found, key=lambda p: LONG.index(p.stem) if p.stem in LONG else len(LONG))

def prepare():
    "Imports that many pages share."
    import gc
    from vlm4vla.core import quick_imports
    with quick_imports():
        import matplotlib.pyplot, pandas, pyarrow.parquet, torch, transformers.modeling_utils, torch.distributed.fsdp
        import nbdev.test
    gc.collect(); gc.freeze() # what is here already stays one copy in memory
    return nbdev.test.test_nb

def begin(page, test_nb):
    "A process that runs a page."
    sys.stdout.flush(); sys.stderr.flush()
    if pid := os.fork(): return pid
    code = 1
    signal.alarm(LIMIT) # ends this process, and so the page has failed
    try: code = 0 if test_nb(page, basepath=ROOT)[0] else 1
    finally: os._exit(code)

def main(workers, todo):
    test_nb, running, failed, took = prepare(), {}, [], {}
    for page in [*todo, *[None]*workers]:
        if running and (len(running) >= workers or page is None):
            pid, status, spent = os.wait4(-1, 0)
            done = running.pop(pid); took[done.stem] = spent.ru_utime + spent.ru_stime
            if status: failed.append(os.path.relpath(done, ROOT))
        if page: running[begin(page, test_nb)] = page
    longest = sorted(took, key=took.get, reverse=True)[:5 if len(took) > 5 else 0]
    print(f"{len(took)} notebooks, {sum(took.values()):.0f} s of processors" + "".join(f", {p} {took[p]:.0f}" for p in longest))
    if failed: sys.exit("These notebooks failed (see above): " + ", ".join(sorted(failed)))

if __name__ == "__main__":
    import skips
    names, why = skips.skipped()
    if names: print(f"left out: {', '.join(names)}: {why}.", file=sys.stderr)
    main(int(sys.argv[1]), [Path(p).resolve() for p in sys.argv[2:]] or pages(names))
