"What the lessons of the policy's pages no longer show: one step, frozen parts, adapters, sizes, and refusals, in every family."
import json
import numpy as np, pytest, torch
from safetensors.torch import save_file
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, seed_everything
from vlm4vla.data.actions import ActionStats
from vlm4vla.data.samples import resize_images
from vlm4vla.heads.registry import MLPHead, heads, losses
from vlm4vla.policy.policy import Policy
from vlm4vla.policy.query import ActionQuery, query_states
from vlm4vla.vlm.family import part_of
from vlm4vla.vlm.loading import Encoder, load_model

TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
SAID = ["pick up cube", "open the drawer"]
IMAGES = np.random.default_rng(0).integers(0, 255, (2,224,224,3), dtype=np.uint8)

# --- the query ---------------------------------------------------------------------------------------------------------------------------

def test_the_query_learns():
    seed_everything(0); model, enc = load_model(backbones["tiny-qwen3-vl"]).eval(), Encoder("tiny-qwen3-vl"); s = enc.facts["size"]
    query = ActionQuery(model, enc.query_id); query.vectors.data.normal_()
    query_states(model, enc([enc.prompt(i) for i in SAID], torch.from_numpy(resize_images(IMAGES, s))), enc.query_id).sum().backward()
    assert query.vectors.grad.isfinite().all() and query.vectors.grad.abs().sum() > 0

def test_a_mask_or_a_scale_that_a_family_does_not_have():
    with pytest.raises(UserError, match="has no mask 'prefix'"): Encoder("tiny-qwen3-vl", text_mask="prefix")
    with pytest.raises(UserError, match="leave query_scale at 'none'"):
        ActionQuery(load_model(backbones["tiny-qwen3-vl"]), 300, scale="words")

# --- heads -------------------------------------------------------------------------------------------------------------------------------

def test_both_losses_by_hand():
    "And what lies past the end of a trajectory does not count."
    arm, logit, target, mask = torch.zeros(1,2,6), torch.zeros(1,2), torch.ones(1,2,7), torch.tensor([[True, False]])
    both = [losses(arm, logit, target, mask, p)[0].item() for p in ("paper", "release")]
    assert np.allclose(both, (1+np.log(2), .5+.01*np.log(2)), atol=1e-6, rtol=0)
    target[:,1] = 99.
    assert losses(arm, logit, target, mask)[0].item() == both[0]

def test_the_heads_of_the_papers_models_have_its_sizes():
    sizes = [sum(p.numel() for p in MLPHead(h, 10).parameters()) for h in (2048, 2304, 2560, 3584, 4096)]
    assert [round(n/1e6, 3) for n in sizes] == [6.577, 7.265, 8.019, 11.690, 13.918] # Table 9

def test_a_head_that_is_not_there_is_named():
    with pytest.raises(UserError, match="did you mean 'mlp'"): heads["mpl"]

# --- the policy --------------------------------------------------------------------------------------------------------------------------

def policy(name="tiny-qwen3-vl", chunk_size=4, **kw):
    seed_everything(0); p = Policy(backbones[name], chunk_size, **kw).eval(); p.stats = ActionStats.from_range(-.1, .1); return p

def batch_for(p):
    return dict(images=resize_images(IMAGES, p.encoder.facts["size"]), instructions=SAID,
                actions=np.full((2,4,7), .05, np.float32), mask=np.ones((2,4), bool))

def test_a_policy_comes_back_from_disk(tmp_path):
    p = policy(); want = p.act(IMAGES, SAID); p.save(tmp_path)
    assert want.shape == (2,4,7) and np.array_equal(Policy.load(tmp_path).act(IMAGES, SAID), want)
    with pytest.raises(UserError, match="no checkpoint"): Policy.load("nowhere")

def test_one_channel_and_foreign_weights_are_said(tmp_path):
    p = policy()
    with pytest.raises(UserError, match="height × width × 3"): p.act(IMAGES[...,:1], SAID)
    p.save(tmp_path); save_file({"x": torch.zeros(1)}, tmp_path/"model.safetensors")
    facts = json.loads((tmp_path/"policy.json").read_text()); facts.pop("weights"); (tmp_path/"policy.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="differ, such as"): Policy.load(tmp_path)

@pytest.mark.parametrize("name", TINY)
def test_one_step_lowers_the_loss(name):
    "And reaches every weight, or several processes would wait for ever."
    p = policy(name); batch = batch_for(p); opt = torch.optim.AdamW(p.parameters(), lr=1e-3) # in eval mode: without dropout losses compare
    first = p.loss(batch)[0]; first.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in p.parameters())
    opt.step(); actions = p.act(IMAGES, SAID)
    assert actions.shape == (2,4,7) and np.isfinite(actions).all() and np.abs(actions[...,:6]).max() <= .1+1e-6
    with torch.no_grad(): assert p.loss(batch)[0].item() < first.item()

@pytest.mark.parametrize("name, parts", [*((n, ("vision", "projector")) for n in TINY), ("tiny-qwen3-vl", ("embedding",)),
                                         ("tiny-kosmos-2", ("language",))])
def test_what_is_frozen_stays_as_it_was(name, parts):
    p = policy(name); counts = p.freeze(*parts); before = {n: w.detach().clone() for n,w in p.named_parameters()}
    opt = torch.optim.AdamW([w for w in p.parameters() if w.requires_grad], lr=1e-3); p.loss(batch_for(p))[0].backward(); opt.step()
    moved = {part_of(p.encoder.family, n[4:]) for n,w in p.named_parameters() if n.startswith("vlm.") and not torch.equal(w, before[n])}
    assert moved == set(p.encoder.family.parts)-set(parts) and all(counts[k] == 0 for k in parts)

def test_the_papers_encoder_is_vision_and_projector_of_qwen():
    assert policy().freeze("vision", "projector") == policy(freeze=("encoder",)).freeze("encoder")
    with pytest.raises(UserError, match="no part 'eyes'"): policy().freeze("eyes")

def test_a_policy_with_adapters_begins_as_its_plain_twin(tmp_path):
    plain, thin = policy(), policy(lora_rank=4); thin.head.load_state_dict(plain.head.state_dict())
    there = dict(thin.vlm.named_parameters())
    for n,w in plain.vlm.named_parameters():
        base = n if n in there else n.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        thin.vlm.get_parameter(base).data.copy_(w)
    assert np.array_equal(thin.act(IMAGES, SAID), plain.act(IMAGES, SAID))
    learning = {n for n,w in thin.vlm.named_parameters() if w.requires_grad}
    assert learning and all("lora_" in n for n in learning)
    thin.save(tmp_path); assert np.array_equal(Policy.load(tmp_path).act(IMAGES, SAID), thin.act(IMAGES, SAID))

@pytest.mark.parametrize("targets, kw, said", [(("q_proj", "knee"), {}, "ends in knee"),
                                               (("q_proj",), dict(freeze=("language",)), "No adapter would learn of q_proj")])
def test_adapters_that_nothing_answers_to(targets, kw, said):
    with pytest.raises(UserError, match=said): policy(init="scratch", lora_rank=4, lora_targets=targets, **kw)

def test_experts_get_adapters():
    mixed = policy("tiny-qwen3-vl-moe", init="scratch", lora_rank=4)
    experts = [n for n,w in mixed.vlm.named_parameters() if ".experts." in n and w.requires_grad]
    assert experts and all("lora_" in n for n in experts)
    frozen = policy("tiny-qwen3-vl-moe", init="scratch", lora_rank=4, lora_targets=("down_proj",), freeze=("vision",))
    assert frozen.learning()["vision"] == 0
    by_name = mixed.adapters()
    assert (by_name["language", "gate_up_proj"], by_name["language", "gate"]) == ((2, 0), (0, 2))

def test_larger_images_are_more_tokens_where_a_model_takes_them():
    tokens = {n: {s: Encoder(n, s).n_visual for s in (224, 448, 512, 768)} for n in ("tiny-qwen2.5-vl", "tiny-qwen3-vl")}
    assert tokens["tiny-qwen3-vl"] == {224: 49, 448: 196, 512: 256, 768: 576} and tokens["tiny-qwen2.5-vl"][448] == 256
    with pytest.raises(UserError, match="reads images of 224 pixels, not of 448"): policy("tiny-paligemma", model_size=448)
    assert policy(image_size=512).act(IMAGES, SAID).shape == (2,4,7)
