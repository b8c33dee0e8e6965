"What the lessons of the policy's pages no longer show: one step, frozen parts, adapters, sizes, and refusals, in every family."
import numpy as np, pytest, torch
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, seed_everything
from vlm4vla.data.actions import ActionStats
from vlm4vla.data.samples import resize_images
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
