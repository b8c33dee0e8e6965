"""Runs pages of the analysis on numbers that differ in the last digits, as they do between processors.

    python pages.py SEED PAGE...    SEED 0: the numbers as they are"""
import json, os, sys
from pathlib import Path
import numpy as np, pandas as pd

def shaken(seed):
    "A function that moves numbers by about 1e-12 of themselves."
    rng = np.random.default_rng(seed)
    return lambda x: x*(1 + 1e-12*rng.choice([-1, -.3, .3, 1], np.shape(x))) if seed else x

def shake(seed):
    "Move what tables hold when they are read, and what is computed before it is rounded."
    from vlm4vla.results import stats, tables as results
    move, load, steady = shaken(seed), results.load, stats.round_steady
    def moved(*args, **kw):
        df = load(*args, **kw)
        return df.assign(**{c: move(df[c]) for c in df.select_dtypes("float")})
    def rounded(x, *args): return steady(move(np.asarray(x, float)) if np.ndim(x) and not isinstance(x, pd.Series) else move(x), *args)
    results.load, stats.round_steady = moved, rounded # before anybody imports them

def run(page):
    "All cells of a page, one after the other."
    os.chdir(page.parent); space = dict(__name__="__main__", display=print)
    for c in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        if c["cell_type"] == "code": exec("".join(c["source"]), space)

if __name__ == "__main__":
    shake(int(sys.argv[1]))
    for page in [Path(p).resolve() for p in sys.argv[2:]]: run(page)
