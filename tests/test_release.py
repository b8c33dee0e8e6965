"The variant `release`: the points where paper and released code differ, and what a recipe makes of them."
import json
from dataclasses import asdict, fields
import numpy as np, pytest
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.core import home, to_jsonable
from vlm4vla.catalog.experiments import Experiment, Recipe, Variant, check_recipe, differences, experiments, resolve, variants

SUITES = [next(b for b in benchmarks.values() if b.suite == s) for s in ("grinningface", "calvin", "simpler", "libero")]
FIELDS = {f.name for f in fields(Recipe)}

def changed(backbone, suite):
    "Fields in which the two recipes differ."
    a, b = (asdict(check_recipe(resolve(backbone, suite, v))) for v in ("base", "release"))
    return {k for k in a if a[k] != b[k]}

@pytest.mark.parametrize("d", differences, ids=lambda d: d.what)
def test_a_difference_is_set_by_a_recipe_or_says_why_not(d):
    seen = {k for b in backbones for s in SUITES for k in changed(b, s)}
    assert d.paper and d.release and d.source and set(d.fields) <= FIELDS & seen
    assert d.fields or d.ours.endswith(".")

def test_no_change_goes_unnamed():
    named = {f for d in differences for f in d.fields}
    assert {k for b in backbones for s in SUITES for k in changed(b, s)} == named
    assert len({d.what for d in differences}) == len(differences)

def test_the_released_codes_learning_rates():
    rates = {(n, s.suite): resolve(n, s, "release").lr
             for n in ("qwen2.5-vl-7b", "qwen3-vl-30b-a3b", "internvl3.5-4b", "kosmos-2", "paligemma-2") for s in SUITES[1:]}
    slow = ("kosmos-2", "paligemma-2")
    assert all(lr == (5e-5 if n in slow and s != "calvin" else 2e-5) for (n, s), lr in rates.items())

def test_small_backbones_know_no_release_of_the_tabletop():
    for b in backbones.values():
        if b.kind != "hub": assert not changed(b.name, SUITES[0]), b.name

@pytest.mark.parametrize("path", sorted((home()/"results"/"provenance").glob("*__*.json")), ids=lambda p: p.stem)
def test_recorded_runs_would_train_alike_today(path):
    was, now = json.loads(path.read_text(encoding="utf-8"))["train"]["resolved"]["recipe"], to_jsonable(
        asdict(experiments[path.stem].recipe))
    assert {k: now[k] for k in was} == was
    for f in fields(Recipe): assert f.name in was or now[f.name] == to_jsonable(f.default), f.name

@pytest.fixture
def cropped():
    "An experiment of a few steps with all that the release does to data."
    v = variants.add(Variant(
        "cropped", "For this test.", {**variants["smoke"].changes, "augment": "crop", "action_range": "benchmark", "action_keep": .65}))
    yield Experiment("tiny-qwen3-vl", "grinningface", v.name, 0)
    del variants[v.name]

def test_changed_images_are_the_same_after_a_kill(cropped, tmp_path):
    pytest.importorskip("torch")
    from vlm4vla.policy.train import train
    policy, log, inputs = train(cropped, tmp_path/"a")
    train(cropped, tmp_path/"b", stop_at=2); _, log2, inputs2 = train(cropped, tmp_path/"b")
    assert log == log2 and inputs == inputs2
    plain_log = train("tiny-qwen3-vl__grinningface__smoke__s0", tmp_path/"c")[1]
    assert log != plain_log
    assert np.allclose(policy.stats.hi, .065) and np.allclose(policy.stats.lo, -.065)

def test_a_cropped_policy_looks_at_the_middle(cropped, tmp_path):
    pytest.importorskip("torch")
    from vlm4vla.policy.policy import Policy
    policy = Policy.new(cropped).eval()
    from vlm4vla.data.actions import ActionStats
    policy.stats = ActionStats.from_range(-.1, .1)
    policy.save(tmp_path)
    seen = []; policy.forward = lambda images, *a, **k: seen.append(images) or Policy.forward(policy, images, *a, **k)
    im = np.zeros((1,224,224,3), np.uint8); im[:, :5] = 255 # a stripe that the crop leaves out
    policy.act(im, ["pick up cube"])
    assert seen[0].shape[1] == policy.encoder.facts["size"] and seen[0][:, 1:].max() == 0
    assert Policy.load(tmp_path).facts["augment"] == "crop"
