"Every head against a forward built by hand, and what all of them owe: ends, batches, checkpoints, resuming, variants, refusals."
import json, math, shutil
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
import numpy as np, pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
import torch.nn.functional as F
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.experiments import Experiment, with_settings
from vlm4vla.core import UserError
from vlm4vla.data.actions import ActionStats, encode
from vlm4vla.heads import codes
from vlm4vla.heads.codes import LatentHead
from vlm4vla.heads.compute import row_positions
from vlm4vla.heads.flow import FlowHead
from vlm4vla.heads.registry import heads
from vlm4vla.policy.policy import Policy
from vlm4vla.policy.train import train
from vlm4vla.heads.words import last_word
from vlm4vla.vlm.loading import load_model

K, HEADS = 4, ("oft", "bins", "fast-256", "flow", "insulated-256", "latent")
WORDS, FLOW = ("bins", "fast-256", "insulated-256"), ("flow", "insulated-256")
TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
RUNNING = ("tiny-qwen3.5", "tiny-lfm2-vl") # layers that keep a running state
SAID = ["go", "pick the cube up", "a b c", "open the drawer", "pick up the bowl", "x", "put it down there", "close it"] # of many lengths

def demos():
    "Smooth movements and a gripper that opens and closes, as a head prepares itself with them."
    acts = np.sin(np.arange(200)[:,None]/(5 + np.arange(7)))/10; acts[:,6] = np.arange(200)//9%2
    return SimpleNamespace(mask=np.ones((190, K), bool), actions=acts, chunk_size=K, reader=None)

def policy(head, name="tiny-qwen3-vl", **kw):
    "A tiny policy with weights that differ all over, its tokenizer fitted."
    torch.manual_seed(0)
    p = Policy(backbones[name], K, head=head, image_size=64, **kw).eval(); p.stats = ActionStats.from_range(-.1, .1)
    if hasattr(p.head, "slots"): p.head.slots.data.normal_()
    if hasattr(p.head, "prepare") and head != "latent": p.head.prepare(p, demos()) # whose codes come with a batch, below
    return p

def batch(p, n=4):
    rng = np.random.default_rng(1); s, d = p.encoder.facts["size"], demos().actions
    at = np.arange(n)[:,None]*20 + np.arange(K)
    return dict(images=rng.integers(0, 256, (n,s,s,3), dtype=np.uint8), instructions=SAID[:n], actions=d[at],
                mask=np.ones((n,K), bool), keys=[(3, i) for i in range(n)], codes=rng.integers(0, 16, (n, 4)))

def part(b, rows):
    return {k: [v[i] for i in rows] if isinstance(v, list) else v[rows] for k,v in b.items()}

def one_sentence(heard, part): s = str(heard.value); assert part in s and "\n" not in s and s[-1] in ".?" and len(s) < 330, s

# --- flow: against transformers' own π0, and layer by layer ------------------------------------------------------------------------------

THEIRS = dict(state="embed_action_time.state_proj", action_in="embed_action_time.action_in_proj", action_out="action_out_proj",
              time_in="embed_action_time.action_time_mlp_in", time_out="embed_action_time.action_time_mlp_out")

@cache
def pi0():
    "A small π0 as transformers has it, and a policy with the same random weights."
    p = policy("flow", "tiny-paligemma", text_mask="prefix")
    p.head = FlowHead(64, K, p.vlm.config.get_text_config(), dims=32, state=32).eval()
    for w in p.parameters(): w.data.normal_(0, .15 if w.dim() > 1 else .1)
    c = transformers.PI0Config(vlm_config=p.vlm.config.to_dict(), dit_config=p.head.expert.config.to_dict(), chunk_size=K)
    m = transformers.PI0ForConditionalGeneration(c).eval()
    w = {f"model.vlm.{n}": v for n,v in p.vlm.state_dict().items()} | {f"model.dit.{n}": v for n,v in p.head.expert.state_dict().items()}
    w |= {f"{b}.{n}": v for a,b in THEIRS.items() for n,v in getattr(p.head, a).state_dict().items()}
    odd = m.load_state_dict(w, strict=False)
    assert odd == (["model.dit.embed_tokens.weight"], []) # words that an expert never hears
    return p, m

@torch.no_grad()
def test_flow_is_transformers_pi0():
    p, m = pi0(); b = batch(p, 3); images = torch.from_numpy(b["images"]); x = p.encoder(p._rows(SAID[:3]), images)
    assert len(set(x["attention_mask"].sum(1).tolist())) == 3 # left-padded rows
    rng = torch.Generator().manual_seed(0); draw = lambda *s: torch.randn(*s, generator=rng)
    state, noise, t = draw(3, 32), draw(3, K, 32), torch.tensor([1., .4, .05])
    his = dict(state=state, input_ids=x["input_ids"], attention_mask=x["attention_mask"], pixel_values=x["pixel_values"][:,None],
               pixel_attention_mask=torch.ones(3, 1, dtype=torch.bool))
    context = p.head.with_state(p.context(images, SAID[:3]), state); want = m(noise=noise, timestep=t, **his).logits
    assert (p.head(context, noise, t) - want).abs().max() < 1e-5 and want.std() > .1 # about 7e-7 where numbers are about 1
    mine, want = noise, m.sample_actions(noise=noise, **his)
    for i in range(10): mine = mine - p.head(context, mine, torch.full((3,), 1 - i/10))/10
    assert (mine - want).abs().max() < 1e-5 and (want - noise).abs().max() > .1

def by_hand(head, context, x, t):
    "The expert from plain operations: norm, queries, keys and values, rotation, attention over the VLM's keys and its own, MLP."
    e, c = head.expert, head.expert.config; d = c.head_dim; plus = float(c.model_type == "gemma") # its norms count from one
    norm = lambda h, m: h/(h.square().mean(-1, keepdim=True) + c.rms_norm_eps).sqrt()*(m.weight + plus)
    act = partial(F.gelu, approximate="tanh") if plus else F.silu
    at = context.at[:,None] + torch.arange(K); waves = at[...,None]*c.rope_parameters["rope_theta"]**-(torch.arange(0, d, 2)/d)
    cos, sin = (f(torch.cat([waves, waves], -1))[:,None] for f in (torch.cos, torch.sin))
    turned = lambda q: q*cos + torch.cat([-q[...,d//2:], q[...,:d//2]], -1)*sin
    split = lambda h: h.unflatten(-1, (-1, d)).transpose(1, 2)
    freq = 2*math.pi/(.004*1000**torch.linspace(0, 1, c.hidden_size//2))
    wave = torch.cat([(t[:,None]*freq).sin(), (t[:,None]*freq).cos()], 1)[:,None].expand(-1, K, -1)
    h = head.time_out(F.silu(head.time_in(torch.cat([head.action_in(x), wave], -1))))
    for l, (k0, v0) in zip(e.layers, context.layers):
        a = l.self_attn; n = norm(h, l.input_layernorm)
        q, k, v = split(a.q_proj(n)), split(a.k_proj(n)), split(a.v_proj(n))
        if hasattr(a, "q_norm"): q, k = norm(q, a.q_norm), norm(k, a.k_norm)
        k, v = torch.cat([k0, turned(k)], 2), torch.cat([v0, v], 2); groups = q.shape[1]//k.shape[1]
        score = turned(q) @ k.repeat_interleave(groups, 1).transpose(2, 3)/d**.5
        seen = torch.cat([context.mask, torch.ones(len(x), K)], 1).bool()[:,None,None]
        o = score.masked_fill(~seen, -torch.inf).softmax(-1) @ v.repeat_interleave(groups, 1)
        h = h + a.o_proj(o.transpose(1, 2).flatten(2)); n = norm(h, l.post_attention_layernorm)
        h = h + l.mlp.down_proj(act(l.mlp.gate_proj(n))*l.mlp.up_proj(n))
    return head.action_out(norm(h, e.norm))

@pytest.mark.parametrize("name", ["tiny-paligemma", "tiny-qwen3-vl", "tiny-internvl", "tiny-llava-onevision", "tiny-smolvlm"])
@torch.no_grad()
def test_flow_is_a_forward_by_hand(name):
    p = policy("flow", name); b = batch(p, 3); context = p.context(torch.from_numpy(b["images"]), SAID[:3])
    x, t = torch.randn(3, K, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([1., .4, .05])
    want = by_hand(p.head, context, x, t)
    assert (p.head(context, x, t) - want).abs().max() < 1e-5 and want.std() > .1
    y = x
    for i in range(10): y = y - by_hand(p.head, context, y, torch.full((3,), 1 - i/10))/10
    got = p.head.denoise(p, context, x)
    assert (got[...,:6] - y[...,:6].clamp(-1, 1)).abs().max() < 1e-5 and torch.equal(got[...,6], (y[...,6] > 0).float())

# --- bins: one causal row through the whole VLM ------------------------------------------------------------------------------------------

def saying(p, images, instructions):
    "Words behind the prompt → logits of transformers' own model behind the prompt and each of them."
    whole = load_model(p.encoder.b, headless=False).eval(); inside = "model." if hasattr(whole, "model") else ""
    odd = whole.load_state_dict({f"{inside}{n}": v for n,v in p.vlm.state_dict().items()}, strict=False)
    assert not odd.unexpected_keys and all("lm_head" in k for k in odd.missing_keys)
    whole.get_output_embeddings().weight.data = (p.lm_head or p.vlm.get_input_embeddings()).weight.data
    def logits(words):
        x = p.encoder([r + w for r,w in zip(p._rows(instructions), words)], images)
        if inside: x["position_ids"] = row_positions(whole.model, x)
        return whole(**x).logits[:,-len(words[0])-1:]
    return logits

@pytest.mark.parametrize("name", [n for n in TINY if n not in RUNNING])
@torch.no_grad()
def test_bins_are_one_row_through_the_whole_vlm(name):
    p = policy("bins", name); b = batch(p, 3); images = torch.from_numpy(b["images"])
    assert (p.lm_head is not None) == (name == "tiny-openvla") # the others are tied
    target = torch.tensor(encode(b["actions"], p.stats)); words = p.head.sentences(p, target); logits = saying(p, images, SAID[:3])
    want = F.cross_entropy(logits(words[:,:-1].tolist()).flatten(0, 1), words.flatten(), reduction="none").view(words.shape)
    got = p(images, SAID[:3], given=dict(actions=target, mask=torch.ones(3, K).bool()))
    assert (got - want).abs().max() < 2e-5 and want.std() > .01
    assert abs(p.loss(b)[0] - want.mean()) < 1e-5
    rows = [[], [], []]
    for _ in range(7*K): rows = [r + [int(w)] for r,w in zip(rows, logits(rows)[:,-1].argmax(-1))]
    said = p.head.say(p, p.context(images, SAID[:3]))
    assert [[last_word(p) - t for t in r] for r in said] == rows

@torch.no_grad()
def test_words_are_capped_as_gemma_2_does():
    p = policy("bins", "tiny-paligemma-2"); c = p.vlm.config.get_text_config(); m = transformers.Gemma2ForCausalLM(c).eval()
    m.model.load_state_dict(p.vlm.language_model.state_dict()); m.lm_head.weight = m.model.embed_tokens.weight
    x = torch.randn(2, 5, c.hidden_size, generator=torch.Generator().manual_seed(0))*9
    assert torch.equal(p.logits(m.model(inputs_embeds=x).last_hidden_state), m(inputs_embeds=x).logits)

# --- what every head owes ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("head", HEADS)
def test_what_lies_past_the_end_of_a_trajectory_changes_nothing(head):
    p = policy(head); b = batch(p); b["mask"][0,2:] = False; b["mask"][1,1:] = False; other = dict(b, actions=b["actions"].copy())
    other["actions"][~b["mask"]] = .07
    (a, parts), (c, others) = p.loss(b), p.loss(other)
    if head == "bins" or head not in WORDS: assert torch.equal(a, c); return
    # a FAST sentence says the chunk as a whole, the last action again past its end, and counts as much as it has steps that exist
    assert not torch.equal(parts["words"], others["words"]) and all(torch.equal(parts[k], others[k]) for k in parts if k != "words")
    w = p.head if head in heads and not hasattr(p.head, "words") else p.head.words
    cost = w.read(p, torch.from_numpy(b["images"]), b["instructions"], 1, dict(actions=torch.tensor(encode(b["actions"], p.stats))))
    steps = torch.tensor(b["mask"].sum(1)); assert abs((cost.nanmean(1)*steps).sum()/steps.sum() - parts["words"]) < 1e-5

@pytest.mark.parametrize("name", ["tiny-qwen3-vl", "tiny-paligemma"])
@pytest.mark.parametrize("head", HEADS)
def test_a_row_acts_alike_whoever_shares_its_batch(head, name):
    p = policy(head, name); b = batch(p, 8); want = p.act(b["images"], b["instructions"])
    alone = np.concatenate([p.act(b["images"][i:i+1], b["instructions"][i:i+1]) for i in range(8)])
    again = p.act(b["images"][::-1], b["instructions"][::-1])[::-1]
    assert np.abs(want - alone).max() < 1e-6 and np.abs(want - again).max() < 1e-6 and want.shape == (8, K, 7)
    assert head in WORDS or np.ptp(want[...,:6], axis=0).max() > 1e-5 # rows differ

@pytest.mark.parametrize("head", HEADS)
def test_parts_of_a_batch_add_up_to_it(head):
    p = policy(head); b = batch(p); b["mask"][0,1:] = False; whole, n = p.loss(b)[0], b["mask"].sum()
    whole.backward(); want = {k: w.grad.clone() for k,w in p.named_parameters() if w.grad is not None}; p.zero_grad()
    parts = [p.loss(part(b, r), n=n)[0] for r in ([0, 2], [1, 3])]; sum(parts).backward()
    assert abs(sum(parts) - whole) < 1e-5
    for k, w in p.named_parameters():
        if w.requires_grad: assert (w.grad - want[k]).abs().max() < 1e-5, k

@pytest.mark.parametrize("head", HEADS)
def test_a_checkpoint_acts_as_before(head, tmp_path):
    p = policy(head, init="scratch"); b = batch(p, 3); p.save(tmp_path); again = Policy.load(tmp_path)
    assert np.array_equal(p.act(b["images"], SAID[:3]), again.act(b["images"], SAID[:3])) and again.facts == p.facts
    assert torch.equal(p.loss(b)[0], again.loss(b)[0])

@pytest.mark.parametrize("head", HEADS)
def test_compiling_and_computing_less_change_nothing(head):
    p = policy(head); b = batch(p); want = p.loss(b)[0]; want.backward(); g = {k: w.grad for k,w in p.named_parameters()}
    p.zero_grad(); acts = p.act(b["images"], b["instructions"]); p.compute_less()
    assert len(p.last) == 1
    got = p.loss(b)[0]; got.backward(); assert abs(got - want) < 1e-5
    for k, w in p.named_parameters():
        if w.requires_grad: assert (w.grad - g[k]).abs().max() < 1e-5, k
    assert np.abs(p.act(b["images"], b["instructions"]) - acts).max() < 1e-6

@pytest.mark.parametrize("kw", [dict(freeze=("vision",)), dict(freeze=("vision", "projector", "language", "embedding")),
                                dict(lora_rank=2), dict(lora_rank=2, freeze=("vision",)), dict(precision="bfloat16")])
@pytest.mark.parametrize("head", HEADS)
def test_variants_learn_what_they_say(head, kw, tmp_path):
    p = policy(head, init="scratch", **kw); b = batch(p); learns = {k for k,w in p.named_parameters() if w.requires_grad}
    loss = p.loss(b)[0]
    if not learns: assert head in ("bins", "fast-256") and kw == dict(freeze=("vision", "projector", "language", "embedding")); return
    loss.backward(); assert loss.isfinite() and {k for k,w in p.named_parameters() if w.grad is not None} == learns
    if "lora_rank" in kw: assert not any(k.startswith(("vlm.", "lm_head.")) and "lora_" not in k for k in learns)
    assert not any(p.learning()[q] for q in kw.get("freeze", ()))
    opt = torch.optim.AdamW([w for w in p.parameters() if w.requires_grad], lr=1e-3); opt.step()
    p.save(tmp_path); again = Policy.load(tmp_path)
    assert np.array_equal(again.act(b["images"], b["instructions"]), p.act(b["images"], b["instructions"]))

@pytest.mark.parametrize("head", HEADS)
def test_compiled_layers_are_called_in_two_shapes(head, monkeypatch):
    "The graphs are those of a compiled training; what a C++ compiler makes of them would take a minute."
    real = torch.nn.Module.compile; monkeypatch.setattr(torch.nn.Module, "compile", lambda m, **kw: real(m, backend="eager", dynamic=False))
    p = policy(head); b = batch(p); want, acts = p.loss(b)[0].item(), p.act(b["images"], b["instructions"])
    monkeypatch.setattr(shutil, "which", lambda tool: tool); p.compile_layers()
    assert abs(p.loss(b)[0].item() - want) < 1e-5 and np.abs(p.act(b["images"], b["instructions"]) - acts).max() < 1e-6

# --- training --------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(autouse=True)
def few_steps(monkeypatch, tmp_path):
    "Latent actions of two steps, kept with the test."
    monkeypatch.setitem(heads, "latent", replace(heads["latent"], make=partial(LatentHead, steps=2)))
    monkeypatch.setattr(codes, "cache_dir", lambda: tmp_path)

def smoke(head): return with_settings(Experiment("tiny-qwen3-vl", "grinningface", "smoke", 0), f"head={head}")

@pytest.mark.parametrize("head", HEADS)
def test_a_training_that_was_killed_goes_on_to_the_bit(head, tmp_path):
    e = smoke(head); whole, log, made = train(e, tmp_path/"whole"); train(e, tmp_path/"cut", stop_at=2)
    again, log2, made2 = train(e, tmp_path/"cut"); a, b = whole.state_dict(), again.state_dict()
    assert log == log2 and made["weights"] == made2["weights"] and all(torch.equal(a[k], b[k]) for k in a)
    images = np.random.default_rng(0).integers(0, 256, (2,64,64,3), dtype=np.uint8)
    loaded = Policy.load(tmp_path/"cut"); assert np.array_equal(loaded.act(images, SAID[:2]), whole.eval().act(images, SAID[:2]))

@pytest.mark.parametrize("name", [n for n in TINY if n not in RUNNING])
@pytest.mark.parametrize("head", ("oft", "flow"))
def test_layers_computed_again_leave_the_same(head, name):
    "To the bit; and they are computed again: each runs once more than it is called."
    if head == "flow" and name in ("tiny-kosmos-2", "tiny-glm-4.1v"): return # which cannot have an expert
    p = policy(head, name).train(); b = batch(p); want = p.loss(b)[0]; want.backward()
    g = {k: w.grad.clone() for k,w in p.named_parameters() if w.grad is not None}; p.zero_grad()
    p.vlm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False)); ran = []
    decoder = p.vlm.get_decoder(); first = getattr(decoder, "model", decoder).layers[0]
    first.self_attn.register_forward_hook(lambda *_: ran.append(0)); got = p.loss(b)[0]; calls = len(ran); got.backward()
    assert len(ran) == 2*calls and torch.equal(got, want)
    for k, w in p.named_parameters(): assert (w.grad is None) == (k not in g) and (w.grad is None or torch.equal(w.grad, g[k])), k

# --- refusals --------------------------------------------------------------------------------------------------------------------------

def edited(folder, **changes):
    d = json.loads((folder/"policy.json").read_text()) | changes
    (folder/"policy.json").write_text(json.dumps({k: v for k,v in d.items() if v != "drop"}))

@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("other", (*HEADS, "mlp"))
def test_a_checkpoint_of_another_head(head, other, tmp_path):
    if head == other: return
    p = policy(head, init="scratch"); p.save(tmp_path)
    edited(tmp_path, **(dict(head="drop") if other == "mlp" else dict(head=other)))
    with pytest.raises(UserError) as heard: Policy.load(tmp_path)
    one_sentence(heard, str(tmp_path))

@pytest.mark.parametrize("make,said", [
    (lambda: policy("flwo"), "did you mean 'flow'"),
    (lambda: policy("oft", "tiny-lfm2-vl"), "running state"), (lambda: policy("flow", "tiny-qwen3.5"), "choose another head"),
    (lambda: policy("flow", "tiny-kosmos-2"), "cannot have an expert"), (lambda: policy("insulated-256", "tiny-glm-4.1v"), "expert"),
    (lambda: policy("fast"), "more than the"), (lambda: policy("insulated"), "more than the"),
    (lambda: unfitted(), "not fitted"), (lambda: short(policy("fast-256")), "lower chunk_size")])
def test_a_head_that_cannot_be(make, said):
    with pytest.raises(UserError) as heard: make()
    one_sentence(heard, said)

def short(p):
    "Prepare a head with episodes that are all shorter than a chunk."
    p.head.prepare(p, SimpleNamespace(**vars(demos()) | dict(mask=np.zeros((190, K), bool), reader=SimpleNamespace(folder="here"))))

def unfitted():
    p = Policy(backbones["tiny-qwen3-vl"], K, head="fast-256"); p.stats = ActionStats.from_range(-.1, .1); return p.loss(batch(p))

FACTS = {"none": "drop", "empty": {}, "null tokens": dict(tokens=None), "a list": [1], "a word": dict(tokens="bins"),
         "a number": dict(tokens=7), "bins": dict(tokens=dict(kind="bins", n=256, chunk_size=K)), "cut": dict(tokens=dict(min_token=3))}
@pytest.mark.parametrize("what", FACTS)
@pytest.mark.parametrize("head", ("fast-256", "insulated-256", "bins"))
def test_head_facts_that_are_none(head, what, tmp_path):
    p = policy(head, init="scratch"); p.save(tmp_path); edited(tmp_path, head_facts=FACTS[what])
    if (head, what) == ("bins", "bins"): return # they are its own
    with pytest.raises(UserError) as heard: Policy.load(tmp_path)
    one_sentence(heard, str(tmp_path/"policy.json"))

@pytest.mark.parametrize("head", ("bins", "fast-256", "insulated-256"))
def test_a_tokenizer_of_other_chunks(head, tmp_path):
    p = policy(head, init="scratch"); p.save(tmp_path); d = json.loads((tmp_path/"policy.json").read_text())["head_facts"]
    d["tokens"]["chunk_size" if head == "bins" else "time_horizon"] = K + 1; edited(tmp_path, head_facts=d)
    with pytest.raises(UserError) as heard: Policy.load(tmp_path)
    one_sentence(heard, f"chunks of {K+1}")
