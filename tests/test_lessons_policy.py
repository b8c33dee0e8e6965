"What the lessons of the policy's pages no longer show: one step, frozen parts, adapters, sizes, and refusals, in every family."
import numpy as np, pytest, torch
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, seed_everything
from vlm4vla.data.actions import ActionStats
from vlm4vla.data.samples import resize_images
from vlm4vla.policy.heads import MLPHead, heads, losses
from vlm4vla.policy.query import ActionQuery, query_states
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
