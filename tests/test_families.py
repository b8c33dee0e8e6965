"What no single page can say of families: Hugging Face's processors, every attention implementation, a round trip over the disk."
from dataclasses import replace
import pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
import numpy as np
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, seed_everything
from vlm4vla.vlm.loading import Encoder, families, image_facts, load_model, load_tokenizer
from vlm4vla.data.samples import resize_images

TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
IMAGES = np.random.default_rng(0).integers(0, 255, (2,224,224,3), dtype=np.uint8)
SAID = ["pick up cube", "open the top drawer"]

def build(name, **kwargs):
    "A model and its encoder; what would start at zero, such as Gemma 3's projector, hides nothing."
    seed_everything(0); model = load_model(backbones[name], **kwargs).eval()
    for w in model.parameters():
        if not w.any(): w.data.normal_(0, .02)
    return model, Encoder(name)

def inputs_of(enc): return enc([enc.prompt(s) for s in SAID], torch.from_numpy(resize_images(IMAGES, enc.facts["size"])))

@pytest.mark.parametrize("name", TINY)
def test_a_row_does_not_notice_who_shares_its_batch(name):
    from vlm4vla.policy.query import ActionQuery, query_states
    model, enc = build(name); ActionQuery(model, enc.query_id).vectors.data[:] = torch.randn(64)
    with torch.no_grad():
        both = query_states(model, inputs_of(enc), enc.query_id)[:,0]
        alone = [query_states(model, enc([enc.prompt(s)], torch.from_numpy(resize_images(IMAGES[i:i+1], enc.facts["size"]))),
                              enc.query_id)[0,0] for i,s in enumerate(SAID)]
    assert (both-torch.stack(alone)).abs().max() < 1e-4

@pytest.mark.parametrize("name", TINY)
def test_eager_and_sdpa_say_the_same(name):
    model, enc = build(name); other, _ = build(name, attn="eager"); x = inputs_of(enc)
    x["input_ids"] = x["input_ids"].masked_fill(x["input_ids"] == enc.query_id, 70)
    with torch.no_grad(): a, b = (m(**x, use_cache=False).last_hidden_state[x["attention_mask"] > 0] for m in (model, other))
    assert (a-b).abs().max() < 1e-4

@pytest.mark.parametrize("name", TINY)
def test_a_folder_loads_like_a_hub_model(name, tmp_path):
    b = backbones[name]; f = families[b.family]; model, enc = build(name, headless=False)
    for part in (model, enc.tok): part.save_pretrained(tmp_path)
    processor = transformers.Qwen2VLImageProcessorPil if "patch" in enc.facts else transformers.SiglipImageProcessorPil
    processor(image_mean=list(f.mean), image_std=list(f.std)).save_pretrained(tmp_path)
    there = replace(b, kind="mini", folder=str(tmp_path)); again, enc2 = load_model(there).eval(), Encoder(there)
    assert enc2.facts == enc.facts and enc2.prompt(SAID[0]) == enc.prompt(SAID[0])
    want = {n.removeprefix("model."): w for n,w in model.named_parameters()}
    for n,w in again.named_parameters(): assert torch.equal(w, want[n]), n

def hugging_face(name, facts):
    "The processor that ships with a family, as its checkpoints set it up, but without tiles."
    stats = dict(image_mean=facts["mean"], image_std=facts["std"])
    qwen = lambda patch: transformers.Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, temporal_patch_size=2,
                                                               size=dict(shortest_edge=56**2, longest_edge=12845056), **stats)
    square = dict(height=facts["size"], width=facts["size"])
    siglip = transformers.SiglipImageProcessorPil(size=square)
    fused = lambda **kw: dict(pixel_values=torch.cat([transformers.SiglipImageProcessorPil(
        size=square, image_mean=m, image_std=s)(**kw)["pixel_values"] for m,s in zip(facts.get("means", []), facts.get("stds", []))], 1))
    whole = dict(do_image_splitting=False, size=dict(longest_edge=facts["size"]), max_image_size=dict(longest_edge=facts["size"]))
    return {"tiny-qwen3-vl": qwen(16), "tiny-qwen3-vl-moe": qwen(16), "tiny-qwen2.5-vl": qwen(14), "tiny-paligemma": siglip,
            "tiny-paligemma-2": siglip,
            "tiny-kosmos-2": transformers.CLIPImageProcessorPil(use_square_size=True),
            "tiny-internvl": transformers.GotOcr2ImageProcessorPil(size=square, crop_to_patches=True, **stats),
            "tiny-qwen2-vl": qwen(14), "tiny-qwen3.5": qwen(16), "tiny-glm-4.1v": transformers.Glm4vImageProcessorPil(),
            "tiny-gemma-3": transformers.Gemma3ImageProcessorPil(size=square),
            "tiny-llava-onevision": transformers.LlavaOnevisionImageProcessorPil(size=square, **stats),
            "tiny-smolvlm": transformers.SmolVLMImageProcessorPil(**whole),
            "tiny-idefics3": transformers.Idefics3ImageProcessorPil(**whole),
            "tiny-lfm2-vl": transformers.Siglip2ImageProcessorPil(patch_size=16, max_num_patches=(facts["size"]//16)**2),
            "tiny-openvla": fused}[name]

@pytest.mark.parametrize("name", TINY)
def test_pixels_are_those_of_the_hugging_face_processor(name):
    enc = Encoder(name); ours = inputs_of(enc)["pixel_values"]
    images = IMAGES if name == "tiny-internvl" else resize_images(IMAGES, enc.facts["size"]) # whose processor resizes as we do
    # images of one prompt: LLaVA-OneVision then cuts no tiles
    theirs = hugging_face(name, enc.facts)(images=[list(images)], return_tensors="pt")["pixel_values"]
    theirs = theirs.flatten(0,1)[:,None] if ours.dim() == 5 else theirs.reshape(ours.shape)
    assert ours.shape == theirs.shape and (ours-theirs).abs().max() < 1e-5

def test_older_checkpoints_state_their_limit_otherwise():
    f = families["qwen2_5_vl"]
    assert f.image_facts(f.config(), dict(max_pixels=12845056)) == f.image_facts(f.config(),
                                                                     dict(size=dict(shortest_edge=3136,
                                                                         longest_edge=12845056))) == f.image_facts(f.config(), {})

def test_a_tokenizer_of_another_family_is_refused(monkeypatch):
    import vlm4vla.vlm.loading as m
    monkeypatch.setattr(m, "load_tokenizer", lambda b: load_tokenizer(backbones["tiny-qwen3-vl"]))
    with pytest.raises(UserError, match="has no token <image>"): m.Encoder("tiny-paligemma")

def test_paligemma_and_kosmos_sequences_are_their_processors():
    enc = Encoder("tiny-paligemma"); images = transformers.SiglipImageProcessorPil(); images.image_seq_length = enc.n_visual
    enc.tok.add_special_tokens(dict(bos_token="<bos>"))
    hf = transformers.PaliGemmaProcessor(images, enc.tok)(images=list(IMAGES[:1]), text=["<image>pick up cube"])
    assert list(hf["input_ids"][0]) == enc.prompt("pick up cube")[:-1]
    enc = Encoder("tiny-kosmos-2"); enc.tok.add_special_tokens(dict(bos_token="<s>", unk_token="<unk>"))
    hf = transformers.Kosmos2Processor(transformers.CLIPImageProcessorPil(use_square_size=True), enc.tok)(images=list(IMAGES[:1]),
        text=["<phrase>pick up cube\n</phrase>"], num_image_tokens=enc.n_visual)
    ours = enc.prompt("pick up cube")[:-1]; at = np.array(hf["image_embeds_position_mask"][0]) > 0
    assert at.tolist() == [i == enc.image_id for i in ours]
    assert np.where(at, -1, hf["input_ids"][0]).tolist() == np.where(at, -1, ours).tolist()

@pytest.mark.parametrize("name", [b.name for b in backbones.values() if b.kind == "mini"])
def test_a_shipped_folder_shows_plain_transformers_what_it_shows_us(name):
    enc = Encoder(name); s = enc.facts["size"]; images = resize_images(IMAGES, s)
    x = enc([enc.prompt(i) for i in SAID], torch.from_numpy(images))
    theirs = transformers.AutoImageProcessor.from_pretrained(backbones[name].source, backend="pil")(images=list(images),
        return_tensors="pt")
    assert theirs["pixel_values"].numel() == x["pixel_values"].numel()
    assert (theirs["pixel_values"].reshape(x["pixel_values"].shape) - x["pixel_values"]).abs().max() < 1e-5
    if "image_grid_thw" in x: assert torch.equal(theirs["image_grid_thw"], x["image_grid_thw"])

def test_a_new_mini_is_written_with_the_processor_it_ships_with(tmp_path):
    from vlm4vla.vlm.pretrain import SIZES
    for f in {backbones[b].family: families[backbones[b].family] for b in backbones if backbones[b].kind == "mini"}.values():
        z = SIZES | f.mini; f.processor(f, z["image"], z["patch"]).save_pretrained(tmp_path)
        ours = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
        small = np.random.default_rng(1).integers(0, 255, (z["image"], z["image"], 3), dtype=np.uint8)
        kept = next(b for b in backbones.values() if b.kind == "mini" and b.family == f.name)
        theirs = transformers.AutoImageProcessor.from_pretrained(kept.source, backend="pil")
        assert torch.equal(*(p(images=[small], return_tensors="pt")["pixel_values"] for p in (ours, theirs))), f.name
