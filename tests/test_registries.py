"The registries agree with each other."
import re
from dataclasses import fields, replace
import pytest
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.core import UserError
from vlm4vla.catalog.experiments import Recipe, check_recipe, experiments, overrides, studies, variants

def test_labels_are_unique():
    for registry in (backbones, benchmarks):
        labels = [e.label for e in registry.values()]
        assert len(set(labels)) == len(labels)

def test_names_are_safe_in_files_and_ids():
    for registry in (backbones, benchmarks, variants, studies):
        for name in registry: assert re.fullmatch(r"[a-z0-9]+([.+-][a-z0-9]+)*", name), name

def test_a_family_has_one_colour_and_a_tiny_backbone():
    colours, tiny = {}, {b.family for b in backbones.values() if b.kind == "tiny"}
    for b in backbones.values():
        assert re.fullmatch("#[0-9A-Fa-f]{6}", b.color) and colours.setdefault(b.family, b.color) == b.color, b.name
        assert b.kind in ("hub", "mini", "tiny") and b.family in tiny, b.name
        assert bool(b.repo_id) == (b.kind == "hub") and bool(b.folder) == (b.kind == "mini"), b.name
    assert len(set(colours.values())) == len(colours)

def test_every_family_exists():
    families = pytest.importorskip("vlm4vla.vlm.loading").families
    assert {b.family for b in backbones.values()} <= set(families)

def test_a_family_is_told_what_to_read():
    families = pytest.importorskip("vlm4vla.vlm.loading").families
    for f in families.values():
        c = f.config()
        assert c.model_type == f.model_type and "long" in f.prompts and f.specials.count(f.image_token) == 1, f.name
        for text in (*f.prompts.values(), f.question): assert text.count("{image}") == 1
        for text in f.prompts.values(): assert text.count("{instruction}") == 1
        assert {f.pad, f.eos} <= set(f.specials) and set(f.parts) == {"vision", "projector", "language", "embedding"}, f.name
        known = getattr(c, "image_token_id", None)
        assert known is None or known == f.specials.index(f.image_token), f.name

def test_sizes_are_those_that_were_counted():
    from vlm4vla.results.tables import load
    counted = load("sizes").query("part == 'backbone'").set_index("backbone").parameters
    assert len(counted) == 10
    for name, n in counted.items(): assert round(n/1e9, 2) == backbones[name].params_b, name

def test_published_backbones_are_registered():
    from vlm4vla.results.tables import load
    named = set(load("reported").backbone.dropna()) - {""}
    assert {b for b in named if b.startswith(("qwen", "pali", "kosmos"))} <= set(backbones)

def test_every_experiment_resolves():
    for run_id, e in experiments.items():
        assert e.run_id == run_id and check_recipe(e.recipe)
        micro = backbones[e.backbone].micro_batch
        assert e.recipe.batch_size % min(micro, e.recipe.batch_size) == 0, f"{run_id}: accumulation is not whole"

def test_variants_and_overrides_change_real_fields_and_say_why():
    known = {f.name for f in fields(Recipe)}
    for v in (*variants.values(), *overrides): assert set(v.changes) <= known and v.why.endswith((".", "?"))
    assert variants["base"].changes == {}

def test_pretrained_and_scratch_differ_in_nothing_else():
    for a, b in (("base", "scratch"), ("demo", "demo-scratch")):
        x, y = (experiments[f"mini-qwen3-vl__grinningface__{v}__s0"].recipe for v in (a, b))
        assert {f.name for f in fields(Recipe) if getattr(x, f.name) != getattr(y, f.name)} == {"init"}

def test_benchmarks_are_consistent():
    for b in benchmarks.values():
        assert len(b.action_lo) == len(b.action_hi) == 7 and all(lo < hi for lo, hi in zip(b.action_lo, b.action_hi))
        assert all(m.lo < m.hi and m.label for m in b.metrics) and b.splits and b.tasks

def test_studies_name_experiments():
    for s in studies.values():
        ids = [e.run_id for e in s.rows]
        assert len(set(ids)) == len(ids) and all(i in experiments for i in ids) and s.question.endswith("?")

def test_a_duplicate_is_refused():
    with pytest.raises(UserError, match="registered already"): backbones.add(replace(backbones["tiny-qwen3-vl"], label="another"))

@pytest.mark.parametrize("name", [b.name for b in backbones.values() if b.kind == "mini"])
def test_mini_backbone_is_a_real_one(name):
    mini = backbones[name]
    try: folder = mini.source
    except UserError as e: pytest.skip(str(e))
    from pathlib import Path
    names = {p.name for p in Path(folder).iterdir()}
    assert {"config.json", "tokenizer.json"} <= names and any(n.endswith(".safetensors") for n in names)
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    assert size <= 15*2**20, f"the small pretrained VLM has {size/2**20:.1f} MiB; 15 is the limit"
    from safetensors import safe_open
    n = 0
    for f in Path(folder).glob("*.safetensors"):
        with safe_open(f, "np") as s:
            n += sum(s.get_slice(k).get_shape() and __import__("math").prod(s.get_slice(k).get_shape()) for k in s.keys())
    assert abs(n/1e9/mini.params_b - 1) < .1, f"params_b says {mini.params_b}, the file has {n/1e9:.5f}"
