"Figures: the committed ones match their tables, and the same tables give the same bytes."
import json
from pathlib import Path
import pytest
from vlm4vla import figures
from vlm4vla.core import Mistake, file_hash
from vlm4vla.figures import comparison, draw_comparison, pretend, save, table

def sidecars(root): return sorted((root/"figures").glob("*.json"))

def test_every_committed_figure_has_its_files(root):
    for path in (root/"figures").glob("*.*"):
        assert all(path.with_suffix(s).is_file() for s in (".svg", ".png", ".json")), path.name

def test_every_committed_figure_matches_its_tables_and_notebook(root):
    for path in sidecars(root):
        account = json.loads(path.read_text(encoding="utf-8"))
        assert account["caption"] and account["alt"] and account["tables"], path.name
        for t, h in account["tables"].items(): assert file_hash(root/t) == h, f"{path.stem} is out of date with {t}: run {account['notebook']}"
        notebook = json.loads((root/account["notebook"]).read_text(encoding="utf-8"))
        source = "".join("".join(c["source"]) for c in notebook["cells"])
        assert f'"{path.stem}"' in source, f"{account['notebook']} does not draw {path.stem}"

def test_one_notebook_draws_each_figure(root):
    for path in sidecars(root):
        drawing = [p for sub in ("analysis", "bench", "runs") for p in (root/"nbs"/sub).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts and f'\\"{path.stem}\\"' in p.read_text(encoding="utf-8")]
        assert len(drawing) == 1, (path.stem, drawing)

DRAW = """
import sys; from vlm4vla.figures import *
c = comparison("pretrained-vs-scratch", sys.argv[1])
c.by_seed.to_csv(sys.argv[2] + "/seeds.csv")
save(draw_comparison(c), "60_x", [sys.argv[2] + "/seeds.csv"], sys.argv[2], caption="c", alt="a")
"""
def test_two_processes_draw_the_same_bytes(python, tmp_path):
    pretend("pretrained-vs-scratch", tmp_path/"results")
    drawn = []
    for name in ("one", "two"):
        (tmp_path/name).mkdir()
        done = python("-c", DRAW, str(tmp_path/"results"), str(tmp_path/name))
        assert done.returncode == 0, done.stderr
        drawn.append({p.name: p.read_bytes() for p in (tmp_path/name).iterdir()})
    assert drawn[0] == drawn[1] and set(drawn[0]) == {"seeds.csv", "60_x.svg", "60_x.png", "60_x.json"}

def test_the_comparison_reads_the_registry_and_not_names(tmp_path):
    pretend("demo", tmp_path, 20)
    pretend("pretrained-vs-scratch", tmp_path, 5)
    c = comparison("demo", tmp_path)
    assert dict(zip(c.episodes.variant, c.episodes.arm)) == {"demo": "pretrained", "demo-scratch": "scratch"}
    assert len(c.episodes) == 80 and set(c.paired.metric) == {"success", "execution", "recognition"}
    assert len(table(c)) == 4 and len(draw_comparison(c).axes) == 2
    ex = c.rates[c.rates.metric == "execution"]
    assert (c.rates[c.rates.metric == "recognition"].n.to_numpy() == ex.k.to_numpy()).all()

def test_half_a_study_can_be_drawn(tmp_path):
    from vlm4vla.results import append, load
    pretend("demo", tmp_path/"all", 10)
    df = load("episodes", tmp_path/"all")
    for name, part in (("one", df[df.run_id.str.contains("scratch")]), ("none", df[:0]), ("other", df[df.split.eq("id") ^ df.run_id.str.contains("scratch")])):
        append("episodes", part, tmp_path/name)
        c = comparison("demo", tmp_path/name)
        assert len(c.paired) == 0 and len(draw_comparison(c).axes) == 2
        figures.publish(c, "demo", tmp_path/name, tmp_path/name)
        assert "Not measured yet" in figures.answer(c)
        assert len(table(c)) == c.episodes.groupby(["split", "arm"]).ngroups

def test_a_figure_without_alt_text_is_refused(tmp_path):
    with pytest.raises(Mistake, match="no caption or no alt text"): save(None, "x", [], tmp_path, caption="c")
    with pytest.raises(Mistake, match="write that table first"): save(None, "x", [tmp_path/"no.csv"], tmp_path, caption="c", alt="a")
    assert not list(Path(tmp_path).iterdir())

def test_arms_differ_in_colour_and_marker():
    arms = figures.arms.values()
    assert len({a.color for a in arms}) == len({a.marker for a in arms}) == len(arms)
