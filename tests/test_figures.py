"Figures: the committed ones match their tables, and the same tables give the same bytes."
import json, shutil
from pathlib import Path
import pytest
from vlm4vla.results import figures
from vlm4vla.core import UserError, file_hash
from vlm4vla.results.figures import comparison, draw_comparison, example_comparison, save, comparison_table

def sidecars(root): return sorted((root/"figures").glob("*.json"))

def test_every_committed_figure_has_its_files(root):
    for path in (root/"figures").glob("*.*"):
        assert all(path.with_suffix(s).is_file() for s in (".svg", ".png", ".json")), path.name

def test_every_committed_figure_matches_its_tables_and_notebook(root):
    for path in sidecars(root):
        account = json.loads(path.read_text(encoding="utf-8"))
        assert account["caption"] and account["alt"] and account["tables"], path.name
        for t, h in account["tables"].items():
            assert file_hash(root/t) == h, f"{path.stem} is out of date with {t}: run {account['notebook']}"
        notebook = json.loads((root/account["notebook"]).read_text(encoding="utf-8"))
        source = "".join("".join(c["source"]) for c in notebook["cells"])
        assert f'"{path.stem}"' in source, f"{account['notebook']} does not draw {path.stem}"

def test_one_notebook_draws_each_figure(root):
    for path in sidecars(root):
        drawing = [p for sub in ("analysis", "bench", "runs") for p in (root/"nbs"/sub).rglob("*.ipynb")
                   if ".ipynb_checkpoints" not in p.parts and f'\\"{path.stem}\\"' in p.read_text(encoding="utf-8")]
        assert len(drawing) == 1, (path.stem, drawing)

DRAW = """
import sys; from vlm4vla.results.figures import *
c = comparison("pretrained-vs-scratch", sys.argv[1])
c.by_seed.to_csv(sys.argv[2] + "/seeds.csv")
save(draw_comparison(c), "60_x", [sys.argv[2] + "/seeds.csv"], sys.argv[2], caption="c", alt="a")
"""
def test_two_processes_draw_the_same_bytes(python, tmp_path):
    example_comparison("pretrained-vs-scratch", tmp_path/"results")
    drawn = []
    for name in ("one", "two"):
        (tmp_path/name).mkdir()
        done = python("-c", DRAW, str(tmp_path/"results"), str(tmp_path/name))
        assert done.returncode == 0, done.stderr
        drawn.append({p.name: p.read_bytes() for p in (tmp_path/name).iterdir()})
    assert drawn[0] == drawn[1] and set(drawn[0]) == {"seeds.csv", "60_x.svg", "60_x.png", "60_x.json"}

def test_the_comparison_reads_the_registry_and_not_names(tmp_path):
    example_comparison("demo", tmp_path, 20)
    example_comparison("pretrained-vs-scratch", tmp_path, 5)
    c = comparison("demo", tmp_path)
    assert dict(zip(c.episodes.variant, c.episodes.arm)) == {"demo": "pretrained", "demo-scratch": "scratch"}
    assert len(c.episodes) == 80 and set(c.paired.metric) == {"success", "execution", "recognition"}
    assert len(comparison_table(c)) == 4 and len(draw_comparison(c).axes) == 2
    ex = c.rates[c.rates.metric == "execution"]
    assert (c.rates[c.rates.metric == "recognition"].n.to_numpy() == ex.k.to_numpy()).all()

def test_half_a_study_can_be_drawn(tmp_path):
    from vlm4vla.results.tables import append, load
    example_comparison("demo", tmp_path/"all", 10)
    df = load("episodes", tmp_path/"all")
    for name, part in (("one", df[df.run_id.str.contains("scratch")]), ("none", df[:0]),
                       ("other", df[df.split.eq("id") ^ df.run_id.str.contains("scratch")])):
        append("episodes", part, tmp_path/name)
        c = comparison("demo", tmp_path/name)
        assert len(c.paired) == 0 and len(draw_comparison(c).axes) == 2
        figures.publish(c, "demo", tmp_path/name, tmp_path/name)
        assert "Not measured yet" in figures.answer_text(c)
        assert len(comparison_table(c)) == c.episodes.groupby(["split", "arm"]).ngroups

def test_a_figure_without_alt_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="no caption or no alt text"): save(None, "x", [], tmp_path, caption="c")
    with pytest.raises(UserError, match="write that table first"): save(None, "x", [tmp_path/"no.csv"], tmp_path, caption="c", alt="a")
    assert not list(Path(tmp_path).iterdir())

def test_arms_differ_in_colour_and_marker():
    arms = figures.arms.values()
    assert len({a.color for a in arms}) == len({a.marker for a in arms}) == len(arms)

# a page each of ranks, fits, texts with numbers and drawn intervals; all pages pass, but take a minute
PAGES = ("62_profile", "63_regression", "72_audit", "73_minis")

@pytest.mark.parametrize("seed", [1, 2])
def test_the_last_digits_of_numbers_change_no_byte(python, root, tmp_path, seed):
    "Numbers are moved by 1e-12 of themselves where tables are read and before they are rounded; the committed files come out."
    for name in ("nbs", "results", "figures"): shutil.copytree(root/name, tmp_path/name)
    shutil.copy(root/"settings.ini", tmp_path)
    kept = {p: p.read_bytes() for sub in ("results/tables", "figures") for p in sorted((tmp_path/sub).iterdir())}
    drawn = [p for p in kept if p.stem.startswith(PAGES)
             or p.stem in ("regression", "audit", "minis", "minis_fits", "selection_bias", "selection_spread", "regression_leave_one_out",
                           "figure1_ranks")]
    for p in drawn: p.unlink()
    done = python(root/"tests"/"pages.py", str(seed), *(str(tmp_path/"nbs"/"analysis"/f"{p}.ipynb") for p in PAGES),
                  env={"VLM4VLA_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-800:]
    assert [p.name for p in drawn if p.read_bytes() != kept[p]] == [] and len(drawn) > 20

def test_a_figure_is_the_same_where_its_numbers_differ_in_the_last_digits(tmp_path):
    from matplotlib.figure import Figure
    import numpy as np
    (tmp_path/"t.csv").write_text("x\n1\n"); drawn = []
    for e in (0, 1e-13, -1e-12):
        x, y = np.array([.1, .25, 1/3])*(1 + e), np.array([.5, 12.5, 100/3])*(1 - e)
        fig = Figure(figsize=(4, 3), layout="constrained"); ax = fig.subplots()
        ax.plot(x, y, marker="o")
        ax.scatter(x, y)
        ax.vlines(x, 0, y)
        ax.fill_between(x, y - 1, y + 1)
        ax.bar(x, y, .01)
        ax.boxplot([y], positions=[x[0]], patch_artist=True, manage_ticks=False)
        ax.errorbar(x, y, [y/3, y/2]); ax.annotate("a", (x[1], y[1]), xytext=(5, 0), textcoords="offset points"); ax.axhline(y[0])
        save(fig, "60_x", [tmp_path/"t.csv"], tmp_path, caption="c", alt="a")
        drawn.append([(tmp_path/f"60_x.{s}").read_bytes() for s in ("svg", "png")])
    assert drawn[0] == drawn[1] == drawn[2]
    assert b"scale(0.015625)" in drawn[0][0] and not [n
                                                      for n in __import__("re").findall(rb"\d+\.\d{4,}",
                                                          drawn[0][0].split(b"</metadata>")[1]) if n != b"0.015625"]

def test_names_beside_points_never_cover_one_another(root):
    "Asked of the renderer, for the crowded panels that the pages draw: no name lies on another, on a point or across its panel's edge."
    import pandas as pd
    from matplotlib.text import Text
    from vlm4vla.catalog.backbones import backbones
    from vlm4vla.paper.plots import regression_panels
    t = pd.read_csv(root/"results"/"tables"/"minis.csv").dropna(subset=["execution"])
    line = dict(at=[0, 100], mean=[0, 100], low=[0, 90], high=[10, 100])
    names = [backbones[b].label.removesuffix(" mini") for b in t.backbone]
    fig = regression_panels([dict(x=100*t[s], y=100*t.execution, names=names, band=line, title=s, xlabel="x", ylabel="y", ylim=(0, 105))
                             for s in ("names", "places", "all kinds")])
    fig.draw_without_rendering()
    for ax in fig.axes:
        boxes = [Text.get_window_extent(a) for a in ax.texts]   # without its line
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)], ax.get_title(loc="left")
        at = ax.transData.transform(ax.collections[-1].get_offsets())
        assert not [p for p in at for b in boxes if b.contains(*p)], ax.get_title(loc="left")
        assert all(b.x0 >= ax.bbox.x0 - 2 and b.x1 <= ax.bbox.x1 + 2 for b in boxes)
