"π0's published files: both layouts and the older one, each written here as it lies on the hub, and read back."
import json
import numpy as np, pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
from safetensors.torch import save_file
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, write_json
from vlm4vla.data.actions import encode
from vlm4vla.heads.flow import flow_noise
from vlm4vla.policy.pi0 import pi0_act, pi0_facts, pi0_sizes, pi0_statistics, read_pi0
from vlm4vla.policy.policy import Policy

K, TINY = 5, backbones["tiny-paligemma"]
rng = np.random.default_rng(0)
STATS = {k: dict(mean=rng.normal(0, .1, n), std=rng.uniform(.1, .3, n), q01=rng.uniform(-.9, -.5, n), q99=rng.uniform(.5, .9, n),
                 min=rng.uniform(-2, -1, n), max=rng.uniform(1, 2, n)) for k, n in (("state", 8), ("action", 7))}
IMAGES = rng.integers(0, 256, (8, 224, 224, 3), dtype=np.uint8); STATES = rng.normal(0, .3, (8, 8))
SAID = ["go", "pick the cube up", "a b c", "open the drawer", "pick up the bowl", "x", "put it down there", "close it"]

# --- a checkpoint in the layouts that are published, written by hand --------------------------------------------------------------------

def model():
    "A small π0 of transformers, with weights that differ all over."
    p = Policy(TINY, K, head="pi0", init="scratch", text_mask="prefix")
    c = transformers.PI0Config(vlm_config=p.vlm.config.to_dict(), dit_config=p.head.expert.config.to_dict(), chunk_size=K)
    m = transformers.PI0ForConditionalGeneration(c).eval(); g = torch.Generator().manual_seed(0)
    for w in m.parameters(): w.data.copy_(torch.randn(w.shape, generator=g)*(.12 if w.dim() > 1 else .1))
    return m

TOWER = [*(f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"]
GEMMA = [*(f"self_attn.{n}_proj" for n in "qkvo"), *(f"mlp.{n}_proj" for n in ("gate", "up", "down")), "input_layernorm",
         "post_attention_layernorm"]

def published(older=False):
    "Name in a published file → name in transformers' model."
    both = lambda n, m=None: {f"{n}.{w}": f"{m or n}.{w}" for w in ("weight", "bias")}
    vlm = "paligemma_with_expert.paligemma." + ("" if older else "model.")
    text = vlm + ("language_model.model." if older else "language_model.")
    see, seen = f"{vlm}vision_tower.vision_model.", "model.vlm.vision_tower."
    expert = "paligemma_with_expert.gemma_expert.model."
    out = both(f"{see}embeddings.patch_embedding", f"{seen}embeddings.patch_embedding")
    out |= {f"{see}embeddings.position_embedding.weight": f"{seen}embeddings.position_embedding.weight"}
    out |= both(f"{see}post_layernorm", f"{seen}post_layernorm")
    for i in range(2):
        for n in TOWER: out |= both(f"{see}encoder.layers.{i}.{n}", f"{seen}encoder.layers.{i}.{n}")
        for n in GEMMA:
            out[f"{text}layers.{i}.{n}.weight"] = f"model.vlm.language_model.layers.{i}.{n}.weight"
            out[f"{expert}layers.{i}.{n}.weight"] = f"model.dit.layers.{i}.{n}.weight"
    out |= {f"{text}norm.weight": "model.vlm.language_model.norm.weight", f"{expert}norm.weight": "model.dit.norm.weight"}
    out |= both(f"{vlm}multi_modal_projector.linear", "model.vlm.multi_modal_projector.linear")
    head = "paligemma_with_expert.paligemma." + ("language_model." if older else "")
    out |= {f"{head}lm_head.weight": "model.vlm.language_model.embed_tokens.weight",
            "paligemma_with_expert.gemma_expert.lm_head.weight": "model.dit.embed_tokens.weight"}
    for n in ("state_proj", "action_in_proj", "action_time_mlp_in", "action_time_mlp_out"): out |= both(n, f"embed_action_time.{n}")
    return out | both("action_out_proj")

@pytest.fixture(scope="module")
def pi0(): return model()

def weights(m, older=False, rows=None):
    have = {n.replace("vision_tower.vision_model.", "vision_tower."): w for n,w in m.state_dict().items()}
    w = {a: have[b].clone() for a,b in published(older).items()}
    if rows: w = {n: v[:rows].clone() if n.endswith("paligemma.lm_head.weight") else v for n,v in w.items()}
    return w

def openpi(folder, w, name="libero", stats=STATS, **said):
    (folder/"assets"/"physical-intelligence"/name).mkdir(parents=True); save_file(w, folder/"model.safetensors")
    lists = lambda d: {k: v.tolist() for k,v in d.items() if k in ("mean", "std", "q01", "q99")}
    write_json(folder/"assets"/"physical-intelligence"/name/"norm_stats.json",
               dict(norm_stats=dict(state=lists(stats["state"]), actions=lists(stats["action"]))))
    write_json(folder/"config.json", dict(action_dim=32, action_horizon=K, paligemma_variant="gemma_2b",
                                          action_expert_variant="gemma_300m", precision="float32") | said)
    return folder

def lerobot(folder, w, ways="MEAN_STD", stats=STATS, older=False, **said):
    folder.mkdir(parents=True); w = {f"model.{n}": v for n,v in w.items()}
    t = {k: {n: torch.tensor(v, dtype=torch.float32) for n,v in d.items()} for k,d in stats.items()}
    if older:
        w |= {f"normalize_inputs.buffer_observation_state.{n}": t["state"][n] for n in ("mean", "std")}
        w |= {f"{a}.buffer_action.{n}": t["action"][n].clone()
              for a in ("normalize_targets", "unnormalize_outputs") for n in ("mean", "std")}
    else:
        both = {f"observation.state.{n}": v for n,v in t["state"].items()} | {f"action.{n}": v for n,v in t["action"].items()}
        save_file(both, folder/"policy_preprocessor_step_6_normalizer_processor.safetensors")
        save_file(both, folder/"policy_postprocessor_step_0_unnormalizer_processor.safetensors")
    save_file(w, folder/"model.safetensors")
    write_json(folder/"config.json", dict(
        type="pi0", n_obs_steps=1, chunk_size=K, n_action_steps=K, max_state_dim=32, max_action_dim=32, dtype="float32",
        input_features={"observation.images.image": dict(type="VISUAL", shape=[3, 224, 224]),
                        "observation.state": dict(type="STATE", shape=[8])},
        output_features=dict(action=dict(type="ACTION", shape=[7])), use_relative_actions=False,
        normalization_mapping=dict(VISUAL="IDENTITY", STATE=ways, ACTION=ways),
        **dict(num_steps=10) if older else dict(num_inference_steps=10)) | said)
    return folder

def read(folder, **kw): return read_pi0(Policy(TINY, init="scratch", **pi0_facts(folder)), folder, **kw)

LAYOUTS = {"openpi": lambda d, m: openpi(d, weights(m)), "LeRobot": lambda d, m: lerobot(d, weights(m)),
           "older LeRobot": lambda d, m: lerobot(d, weights(m, older=True), older=True),
           "a shorter vocabulary": lambda d, m: openpi(d, weights(m, rows=TINY_ROWS - 30)),
           "both names of the vocabulary": lambda d, m: openpi(d, weights(m) | {
               "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight":
               m.model.vlm.language_model.embed_tokens.weight.data.clone()})}
TINY_ROWS = 300

@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_becomes_the_same_policy(layout, pi0, tmp_path):
    folder = LAYOUTS[layout](tmp_path/"a", pi0); p = read(folder); own = p.state_dict()
    have = {n.replace("vision_tower.vision_model.", "vision_tower."): w for n,w in pi0.state_dict().items()}
    where = dict(state="embed_action_time.state_proj", action_in="embed_action_time.action_in_proj", action_out="action_out_proj",
                 time_in="embed_action_time.action_time_mlp_in", time_out="embed_action_time.action_time_mlp_out")
    met = set()
    for n, w in own.items():
        a, b, rest = n.partition(".")[0], n.split(".")[1], n.split(".", 2)[-1]
        theirs = f"model.{n}" if a == "vlm" else f"model.dit.{rest}" if b == "expert" else f"{where[b]}.{rest}"
        want = have[theirs.replace("vision_tower.vision_model.", "vision_tower.")]; met.add(theirs)
        if "embed_tokens" in n and "shorter" in layout: want = torch.cat([want[:TINY_ROWS-30], torch.zeros(30, want.shape[1])])
        assert torch.equal(w, want), n
    assert set(have) - {n.replace("vision_tower.vision_model.", "vision_tower.") for n in met} == {"model.dit.embed_tokens.weight"}
    assert p.facts["chunk_size"] == K and p.facts["text_mask"] == "prefix" and not p.training
    p.save(tmp_path/"b"); again = Policy.load(tmp_path/"b"); args = IMAGES[:2], SAID[:2], STATES[:2]
    assert np.array_equal(pi0_act(p, *args), pi0_act(again, *args)) and again.head.units == p.head.units and again.stats == p.stats

def test_it_acts_as_published(pi0, tmp_path):
    "The file goes through transformers' own names and model, the numbers through openpi's formulas; rows of many lengths."
    w = weights(pi0); p = read(openpi(tmp_path/"a", w)); hub = tmp_path/"hub"; hub.mkdir()
    save_file(w, hub/"model.safetensors", metadata=dict(format="pt")); pi0.config.save_pretrained(hub)
    m = transformers.PI0ForConditionalGeneration.from_pretrained(hub).eval()
    assert all(torch.equal(a, b) for (n, a), (_, b) in zip(m.named_parameters(), pi0.named_parameters()) if "dit.embed_tokens" not in n)
    rows = [p.encoder.tok("<image>"*p.encoder.n_visual + "<bos>" + s + "\n", add_special_tokens=False)["input_ids"] for s in SAID[:3]]
    T = max(map(len, rows)); left = lambda x, r: torch.tensor([x]*(T - len(r)) + r)
    s, a = STATS["state"], STATS["action"]; noise = flow_noise(torch.from_numpy(IMAGES[:3]), (K, 32))
    x = m.sample_actions(
        state=torch.tensor(np.pad((STATES[:3] - s["mean"])/(s["std"] + 1e-6), ((0, 0), (0, 24))), dtype=torch.float32),
        input_ids=torch.stack([left(p.encoder.pad_id, r) for r in rows]), attention_mask=torch.stack([left(0, [1]*len(r)) for r in rows]),
        pixel_values=torch.from_numpy(IMAGES[:3]).permute(0, 3, 1, 2)[:,None]/127.5 - 1, noise=noise,
        pixel_attention_mask=torch.ones(3, 1, dtype=torch.bool)).numpy()
    want = x[...,:7]*(a["std"] + 1e-6) + a["mean"]; got = pi0_act(p, IMAGES[:3], SAID[:3], STATES[:3])
    assert np.abs(got[...,:6] - want[...,:6]).max() < 1e-5 and want.std() > .05
    assert (got[...,6] == (want[...,6] < 0)).all() and 0 < got[...,6].mean() < 1 # nearer to −1: open, which is 1 by default

def test_a_row_acts_alike_whoever_shares_its_batch(pi0, tmp_path):
    p = read(openpi(tmp_path/"a", weights(pi0))); want = pi0_act(p, IMAGES, SAID, STATES)
    alone = np.concatenate([pi0_act(p, IMAGES[i:i+1], SAID[i:i+1], STATES[i:i+1]) for i in range(8)])
    assert np.abs(want - alone).max() < 1e-5
    assert np.array_equal(pi0_act(p, IMAGES[:1], [" go_to\nit"], STATES[:1]), pi0_act(p, IMAGES[:1], ["go to it"], STATES[:1]))

# --- units ------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ways", ["MEAN_STD", "QUANTILES", "MIN_MAX"])
def test_statistics_are_their_formulas(ways, pi0, tmp_path):
    got = pi0_statistics(lerobot(tmp_path/"a", {}, ways)); x = rng.normal(size=(9, 8))
    for k in ("state", "action"):
        d, n = STATS[k], len(STATS[k]["mean"]); shift, scale = got[k]; y = x[:,:n]
        lo, hi = (d["q01"], d["q99"]) if ways == "QUANTILES" else (d["min"], d["max"])
        raw = y*d["std"] + d["mean"] if ways == "MEAN_STD" else (y + 1)/2*(hi - lo) + lo
        assert np.allclose(y*scale + shift, raw, atol=1e-6)
    other = pi0_statistics(openpi(tmp_path/"b", {})) # π0 is scaled by mean and spread, though quantiles are there
    assert np.allclose(other["action"][1], STATS["action"]["std"] + 1e-6) and np.allclose(other["state"][0], STATS["state"]["mean"])

def test_statistics_are_chosen_by_name(tmp_path):
    folder = openpi(tmp_path/"a", {}); other = folder/"assets"/"droid"; other.mkdir()
    d = json.loads(next(folder.rglob("norm_stats.json")).read_text()); d["norm_stats"]["actions"]["mean"][0] = 7.
    write_json(other/"norm_stats.json", d); assert pi0_statistics(folder, "droid")["action"][0][0] == 7
    for name, said in (("", "droid, physical-intelligence/libero; choose one by its name"), ("drid", "did you mean 'droid'")):
        with pytest.raises(UserError, match=said): pi0_statistics(folder, name)

def test_actions_go_in_and_out(pi0, tmp_path):
    p = read(openpi(tmp_path/"a", weights(pi0)), data_gripper=(-1., 1.), opened=0., closed=2.); u, a = p.head.units, STATS["action"]
    raw = np.concatenate([rng.normal(0, .3, (4, K, 6)), rng.integers(0, 2, (4, K, 1))*2.], -1)
    x = u.numbers(torch.tensor(encode(raw, p.stats)))
    assert np.allclose(x[...,:6], (raw[...,:6] - a["mean"][:6])/(a["std"][:6] + 1e-6), atol=1e-4)
    assert np.allclose(x[...,6]*(a["std"][6] + 1e-6) + a["mean"][6], raw[...,6] - 1, atol=1e-5) # closed 2 here, 1 in the data
    assert (x[...,7:] == 0).all() and torch.allclose(u.actions(x), torch.tensor(encode(raw, p.stats)), atol=1e-6)

def test_numbers_that_no_robot_has_are_not_learnt(pi0, tmp_path):
    p = read(openpi(tmp_path/"a", weights(pi0))); target = torch.tensor(encode(rng.normal(0, .3, (2, K, 7)), p.stats))
    mask = torch.ones(2, K, dtype=torch.bool); mask[0,2:] = False
    given = dict(actions=target, mask=mask, keys=[(0, 1), (0, 2)]); extra = dict(state=STATES[:2])
    loss, parts = p.head.loss(p(torch.from_numpy(IMAGES[:2]), SAID[:2], 1, given, extra), target, mask); loss.backward()
    g = p.head.action_out.weight.grad; assert (g[7:] == 0).all() and (g[:7].abs().sum(1) > 0).all() and sorted(parts) == ["arm", "gripper"]
    assert p.head.state.weight.grad[:,:8].abs().sum() > 0 and (p.head.state.weight.grad[:,8:] == 0).all()
    other = dict(given, actions=torch.where(mask[...,None], target, torch.zeros(()))) # past the end
    assert torch.equal(p.head.loss(p(torch.from_numpy(IMAGES[:2]), SAID[:2], 1, other, extra), target, mask)[0], loss)
    with pytest.raises(UserError, match="without the robot's state"): p.loss(
        dict(images=IMAGES[:2], instructions=SAID[:2], actions=np.zeros((2, K, 7)), mask=mask.numpy(), keys=given["keys"]))

# --- what is said, and what is refused --------------------------------------------------------------------------------------------------

def test_a_rollout_says_what_is_missing(pi0, tmp_path):
    read(openpi(tmp_path/"a", weights(pi0))).save(tmp_path/"b"); p = Policy.load(tmp_path/"b")
    with pytest.raises(UserError, match="images come without the robot's state, which this policy reads"):
        p.act(IMAGES[:1], SAID[:1])

def test_the_real_size_is_transformers_own():
    with torch.device("meta"): theirs = transformers.PI0ForConditionalGeneration(transformers.PI0Config())
    sizes = pi0_sizes(); rows = 257216 - 257152 # of PaliGemma's vocabulary, which π0 leaves out
    assert sum(sizes.values()) - rows*2048 == sum(p.numel() for n,p in theirs.named_parameters() if "dit.embed_tokens" not in n)
    assert round(sizes["expert"]/1e6) == 311 # openpi's gemma.py says so

def without(part): return lambda w: {n: v for n,v in w.items() if part not in n}

HARM = {"part": (dict(w=without("layers.1.mlp.up_proj")), "2 are missing"),
        "size": (dict(w=lambda w: w | {"state_proj.weight": torch.zeros(32, 8)}), "1 of another name or size, such as state_proj.weight"),
        "NaN": (dict(w=lambda w: w | {"state_proj.bias": torch.full((32,), torch.nan)}), "head.state.bias"),
        "unknown": (dict(w=lambda w: w | {"wrist.weight": torch.zeros(2)}), "such as wrist.weight"),
        "π0.5": (dict(w=lambda w: without("state_proj")(w) | {"time_mlp_in.weight": torch.zeros(2)}), "π0.5"),
        "horizon": (dict(config=dict(action_horizon="drop")), "not a π0"), "pi05": (dict(config=dict(pi05=True)), "a π0.5"),
        "another": (dict(config=dict(type="smolvla")), "'smolvla', not a π0"),
        "dims": (dict(config=dict(action_dim=24)), "24 numbers an action"),
        "base": (dict(stats="drop"), "no statistics of state and action"),
        "two arms": (dict(stats=14), "have 14 numbers, not 7"), "short": (dict(stats="short"), "no numbers mean and std"),
        "not finite": (dict(stats="nan"), "not finite"), "no weights": (dict(files="model.safetensors"), "no model.safetensors"),
        "no config": (dict(files="config.json"), "no config.json"), "damaged": (dict(files="cut"), "cannot be read")}

@pytest.mark.parametrize("what", HARM)
def test_a_folder_that_is_none_is_one_sentence(what, pi0, tmp_path):
    do, said = HARM[what]; folder = openpi(tmp_path/"a", do.get("w", dict)(weights(pi0))); p = next(folder.rglob("norm_stats.json"))
    config = json.loads((folder/"config.json").read_text()) | do.get("config", {})
    d = json.loads(p.read_text()); a = d["norm_stats"]["actions"]
    write_json(folder/"config.json", {k: v for k,v in config.items() if v != "drop"})
    if do.get("stats") == 14: a |= dict(mean=[0.]*14, std=[1.]*14)
    if do.get("stats") == "short": a.pop("std")
    if do.get("stats") == "nan": a["std"][2] = float("nan")
    p.write_text(json.dumps(d)); f = do.get("files")
    if do.get("stats") == "drop": p.unlink()
    if f == "cut": (folder/"model.safetensors").write_bytes((folder/"model.safetensors").read_bytes()[:999])
    elif f: (folder/f).unlink()
    with pytest.raises(UserError) as heard: read(folder)
    s = str(heard.value); assert said in s and "\n" not in s and s[-1] in ".?" and len(s) < 330, s

@pytest.mark.parametrize("said,part", [(dict(use_relative_actions=True), "relative to its state"), (dict(num_inference_steps=5), "5 steps"),
                                       (dict(max_state_dim=64), "64 numbers a state"), (dict(type="pi05"), "'pi05', not a π0"),
                                       (dict(output_features=dict(action=dict(type="ACTION", shape=[14]))), "14 numbers for the robot"),
                                       (dict(normalization_mapping=dict(STATE="IDENTITY", ACTION="IDENTITY")), "scaled by IDENTITY")])
def test_a_lerobot_folder_that_is_not_ours(said, part, pi0, tmp_path):
    with pytest.raises(UserError) as heard: read(lerobot(tmp_path/"a", weights(pi0), **said))
    s = str(heard.value); assert part in s and s[-1] in ".?" and len(s) < 330, s

@pytest.mark.parametrize("states,part", [(np.zeros((2, 7)), "give 8 finite ones"), (np.zeros(8), "give 8 finite ones"),
                                         (np.full((2, 8), np.nan), "finite"), (None, "give 8 finite ones"), ([["a"]*8]*2, "no numbers"),
                                         (np.zeros((1, 8)), "2 images and 1 states")])
def test_states_that_are_none(states, part, pi0, tmp_path):
    p = read(openpi(tmp_path/"a", weights(pi0)))
    with pytest.raises(UserError) as heard: pi0_act(p, IMAGES[:2], SAID[:2], states)
    assert part in str(heard.value) and p.extra == {}
    with pytest.raises(UserError, match="another head"): read_pi0(Policy(TINY, K), tmp_path/"a")
