"Probes with known answers: a planted direction, noise, a turned space, an untouched backbone, a looked-at corner."
import numpy as np, pytest, torch
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.sets import PROBE_PARTS, ProbeInstruction, ProbeScene, ProbeSet, QuestionSet, question_sets
from vlm4vla.core import UserError
from vlm4vla.policy.policy import Policy
from vlm4vla.probing import drift, features, left, linear, predictors, retention
from vlm4vla.results.tables import frame

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
CORNER = ((0., 0.), (.5, 0.), (.5, .5), (0., .5))
REST = ((.5, .5), (1., .5), (1., 1.), (.5, 1.))

def scene(i):
    told = [ProbeInstruction(instruction=f"go to {w}", facts={"named": w}, pointing=f"where is {w}?", region=r, others=(o,))
            for w, r, o in (("here", CORNER, REST), ("there", REST, CORNER))]
    return ProbeScene(state=dict(i=i), facts={"spot": (float(i%3), float(i%2)), "odd": "yes" if i%2 else "no"}, told=tuple(told))

def ask(state, rng, kinds): return [(k, f"is it {state['i']}?", "yes" if state["i"]%2 else "no", "all") for k in kinds]
def pictures(n, size): return IMAGES[np.arange(n)%len(IMAGES)], [scene(i) for i in range(n)]
def moves(n, size):
    e = np.repeat(np.arange(n), 4); i = np.arange(len(e))
    return IMAGES[i%len(IMAGES)], ["go"]*len(e), np.c_[np.sin(i), np.zeros(len(e)), i%2.], e

HERE = f"{__name__}:"
TOY = ProbeSet(name="toy", questions="toy", pictures=HERE + "pictures", moves=HERE + "moves")

@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(question_sets, "toy", QuestionSet(name="toy", ask=ask, weights=dict(odd=1)))
    return TOY

def planted(n=120, width=24, noise=.3):
    x = RNG.normal(size=(n, width)); return x, (x@RNG.normal(size=(width, 1)) + noise*RNG.normal(size=(n, 1)))[:, 0], np.arange(n)//3

def test_a_probe_finds_what_is_planted_and_its_shuffles_do_not():
    x, y, groups = planted(); r = linear.linear_probe(x, y, groups)
    assert r["value"] > .9 and r["ci_low"] > .85 and r["shuffled_most"] < .1 and r["p"] == 1/11 and (r["n"], r["groups"]) == (120, 40)
    w = linear.linear_probe(x, np.where(y > 0, "up", "down").tolist(), groups)
    assert w["metric"] == "accuracy" and w["ci_low"] > w["chance"] + .1 and w["ci_low"] > w["shuffled"]

@pytest.mark.parametrize("seed", range(3))
def test_a_probe_does_not_beat_chance_on_noise(seed):
    rng = np.random.default_rng(seed); x, groups = rng.normal(size=(150, 200)), np.arange(150)//3
    r = linear.linear_probe(x, rng.normal(size=50)[groups], groups); assert r["value"] < .05
    w = linear.linear_probe(x, rng.choice(["a", "b", "c"], 150).tolist(), groups)
    assert w["ci_low"] < w["chance"] + .02 and w["value"] <= w["shuffled_most"] + .08

def test_rows_of_a_group_are_never_split():
    "Every group has a place of its own in the states and a label at random: known by heart, it would be read perfectly."
    groups = np.arange(60)//3; x = np.eye(20)[groups] + .01*RNG.normal(size=(60, 20)); label = RNG.normal(size=20)[groups]
    assert linear.linear_probe(x, label, groups)["value"] < .1 < .9 < linear.linear_probe(x, label, np.arange(60))["value"]

def test_a_probe_is_the_same_twice_and_refuses_what_cannot_be_tried():
    x, y, groups = planted(60)
    assert linear.linear_probe(x, y, groups) == linear.linear_probe(x, y, groups)
    with pytest.raises(UserError, match="one group alone"): linear.ridge_predictions(x, y[:, None], np.zeros(60))
    with pytest.raises(UserError, match="nothing to probe for"): linear.linear_probe(x, ["same"]*60, groups)
    with pytest.raises(UserError, match="one of each"): linear.ridge_predictions(x, y[:5, None], groups)

def test_cka_of_a_turned_space_is_one_and_of_another_none():
    x, other = RNG.normal(size=(50, 30)), RNG.normal(size=(50, 300)); turn = np.linalg.qr(RNG.normal(size=(30, 30)))[0]
    value, low, high = drift.cka(x, 5*x@turn - 3); assert value == pytest.approx(1, abs=1e-9) and high <= 1
    assert abs(drift.cka(x, other)[0]) < .15 and drift.cka(x, np.ones((50, 3)))[0] != drift.cka(x, np.ones((50, 3)))[0]
    half = drift.cka(x, x + RNG.normal(size=x.shape)); assert half[1] < half[0] < half[2] and .2 < half[0] < .9
    with pytest.raises(UserError, match="the same rows"): drift.cka(x, other[:7])

def test_geometry_of_clouds_with_known_shape():
    ball = RNG.normal(size=(800, 8)); line = RNG.normal(size=(100, 1))@RNG.normal(size=(1, 8))
    assert predictors.effective_rank(line) == pytest.approx(1, abs=1e-6) and 7.5 < predictors.effective_rank(ball) <= 8
    assert abs(predictors.anisotropy(ball)) < .02 and predictors.anisotropy(ball + 50) > .95
    assert predictors.alignment(ball, 3*ball) == pytest.approx(0, abs=1e-9) and predictors.alignment(ball, -ball) == pytest.approx(4)
    v, low, high = predictors.jackknife(lambda t: t.mean(), np.arange(800), ball[:, 0], blocks=800)
    assert high - v == pytest.approx(1.96*ball[:, 0].std(ddof=1)/800**.5)

def tiny(name="tiny-qwen3-vl", **kw):
    torch.manual_seed(0); return Policy(backbones[name], 2, **kw).eval()

def test_states_are_those_of_the_forward_whatever_stands_beside():
    s = features.open_subject(tiny()); texts = ["go", "put the block on the card", "stop now"]
    f = features.hidden_states(s, IMAGES[:3], texts); one = features.hidden_states(s, IMAGES[1:2], texts[1:2])
    for place in f.at: assert np.allclose(f.at[place][:, 1], one.at[place][:, 0], atol=1e-5)
    x = s.enc([s.row(t) for t in texts], s.look(IMAGES[:3]))
    with torch.no_grad(): out = s.vlm(**x, use_cache=False, output_hidden_states=True)
    mine = [h[:, -1].numpy() for h in (*out.hidden_states[:-1], out.last_hidden_state)] # the query ends every row
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(f.at["query"], mine))
    assert f.layers == 2 and [*f.at] == ["query", "last", "image", "text"]
    with pytest.raises(UserError, match="one text for each"): features.hidden_states(s, IMAGES[:2], ["go"])

def test_attention_is_shares_and_leaves_the_model_as_it_was():
    s = features.open_subject(tiny()); scenes = [scene(i) for i in range(3)]
    was = features.hidden_states(s, IMAGES[:3], ["go"]*3).at["query"]
    a = drift.attention_layers(s, IMAGES[:3], scenes); named = a[a.kind == "named"]
    assert set(a.layer) == {1, 2} and set(a.place) == {"query", "last", "text"} and a.value.between(0, 1).all()
    assert np.allclose(named.baseline, .25, atol=.1) and (a.n == 6).all()
    assert np.array_equal(features.hidden_states(s, IMAGES[:3], ["go"]*3).at["query"], was)
    for b, why in (("tiny-kosmos-2", "have no places"), ("tiny-lfm2-vl", "leave no attention weights")):
        with pytest.raises(UserError, match=why): drift.attention_layers(features.open_subject(b), IMAGES[:1], scenes[:1])

def test_regions_are_covered_by_their_tokens():
    assert drift._inside(CORNER, 4).reshape(4, 4).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0]*4, [0]*4]
    assert drift._inside([(.3, .3), (.31, .3), (.31, .31), (.3, .31)], 4).sum() == 1 # too small for any centre

@pytest.mark.parametrize("name, kw", [("tiny-qwen3-vl", {}), ("tiny-qwen3-vl-moe", dict(lora_rank=2)), ("tiny-openvla", dict(head="fast"))])
def test_weights_that_did_not_move_have_no_drift(name, kw):
    p = tiny(name, **kw); s = features.open_subject(p); before = features.Subject(name="b", vlm=s.vlm, enc=s.enc)
    if not kw.get("lora_rank"):
        d = drift.weight_drift(s, before); assert (d.change == 0).all() and np.allclose(d.cosine, 1)
        assert d.parameters.sum() == sum(w.numel() for w in s.vlm.parameters())
    headed = retention.with_output_layer(s); own = drift.vlm_weights(s)
    assert all(torch.equal(w, own[n]) for n, w in getattr(headed, "model", headed).named_parameters() if n in own)
    if p.lm_head: assert torch.equal(headed.get_output_embeddings().weight, p.lm_head.weight)

def test_merging_leaves_the_policy_alone():
    p = tiny(lora_rank=2); n = next(n for n, w in p.vlm.named_parameters() if "lora_B" in n); p.vlm.get_parameter(n).data.normal_()
    before = {k: v.clone() for k, v in p.state_dict().items()}; merged = drift.vlm_weights(features.open_subject(p))
    assert all(torch.equal(before[k], v) for k, v in p.state_dict().items()) and "lora" not in "".join(merged)
    base = n.split(".lora_B")[0]; assert not torch.equal(merged[f"{base}.weight"], p.vlm.get_parameter(f"{base}.base_layer.weight"))

@pytest.mark.parametrize("name, kw, word", [
    ("tiny-qwen3-vl", {}, "tied, trained"), ("tiny-qwen3-vl", dict(lora_rank=2), "tied, frozen"),
    ("tiny-qwen3-vl", dict(freeze=("embedding",)), "tied, frozen"), ("tiny-openvla", {}, "dropped"),
    ("tiny-openvla", dict(head="fast"), "trained"), ("tiny-openvla", dict(head="fast", freeze=("language",)), "frozen")])
def test_it_says_where_the_output_layer_is_from(name, kw, word): assert retention.output_layer_of(tiny(name, **kw)).startswith(word)

def answers(right):
    return [dict(kind=k, question=f"q{i}", truth="a", said="", correct=bool(r), split="all") for i, (k, r) in enumerate(right)]

def test_an_untouched_backbone_keeps_everything_and_counts_are_pairs():
    rows = answers([("a", 1), ("a", 1), ("a", 0), ("b", 1)]); same = retention.retention(rows, rows)
    assert same.kept.tolist() == [1., 1., 1.] and same.difference.tolist() == [0., 0., 0.]
    assert same.gained.sum() == 0 and set(same.p) == {1.}
    lost = retention.retention(rows, answers([("a", 1), ("a", 0), ("a", 1), ("b", 0)]))
    assert lost.loc["a", ["n", "knew", "kept", "gained"]].tolist() == [3, 2, .5, 1] and lost.loc["all", "difference"] == pytest.approx(-.25)
    with pytest.raises(UserError, match="the same questions"): retention.retention(rows, rows[:2])

def test_the_same_weights_give_the_same_answers(toy):
    s = features.open_subject("mini-qwen3-vl"); p = Policy(backbones["mini-qwen3-vl"], 2).eval()
    b, a = (retention.answers_of(x, IMAGES[:2], [dict(i=i) for i in range(2)], question_sets["toy"]) for x in (s, features.open_subject(p)))
    assert [r["said"] for r in b] == [r["said"] for r in a]

def test_predictors_say_what_they_cost_and_all_fill_their_table(toy):
    s = features.open_subject("tiny-qwen3-vl"); m = predictors.Material(s, toy, 6, 3); rows = predictors.measure_predictors(m, toy)
    t = frame("predictors", rows); assert set(t.predictor) == set(predictors.predictors) and (t.seconds >= 0).all()
    alone = predictors.measure_predictors(predictors.Material(s, toy, 6, 3), toy, names=("geometry",))
    drop = lambda rs: [{k: v for k, v in r.items() if k != "seconds"} for r in rs]
    assert drop(alone) == drop([r for r in rows if r["predictor"] == "geometry"])
    with pytest.raises(UserError, match="did you mean"): predictors.measure_predictors(m, toy, names=("geometri",))
    with pytest.raises(UserError, match="at least 5 images"): predictors.Material("tiny-qwen3-vl", toy, 2)

def test_a_part_is_charged_to_everybody_who_reads_it(toy):
    m = predictors.Material("tiny-qwen3-vl", toy, 6, 3); ticks = iter(range(100)); m.clock = lambda: float(next(ticks)) - m._free
    use = lambda m: m.part("x", lambda: 7); first, again = m.cost(use), m.cost(use)
    assert first == (7, 3.) and again == (7, 1. + 1.) # its own tick, and the one that the part took
    assert m.cost(lambda m: m.part("free", lambda: 8, free=True))[1] < 3

def test_every_part_fills_the_table_of_probes(toy):
    s = features.open_subject(tiny()); before = features.Subject(name="tiny-qwen3-vl", vlm=s.vlm, enc=s.enc)
    rows = frame("probes", left.probe_rows(s, toy, n=6, before=before)); assert set(rows.part) == set(PROBE_PARTS)
    assert not rows.duplicated(["part", "place", "layer", "kind", "metric"]).any()
    assert np.allclose(rows[(rows.part == "cka") & (rows.place == "image")].value, 1, atol=1e-6)
    assert set(left.probe_rows(before, toy, ("cka", "weights"), n=6) or ["none"]) == {"none"} # a backbone has not drifted
    assert list(left.left_of(rows, "attention", "named").columns) == [s.name]
