"OpenVLA's published files: weights, config, tokenizer and pixels, each written here as it lies on the hub, and read back."
import json, os
from dataclasses import replace
import numpy as np, pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
import torch.nn.functional as F
from safetensors.torch import save_file
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, write_json
from vlm4vla.vlm.family import families, small_tokenizer
from vlm4vla.vlm.loading import Encoder, load_config, load_model
from vlm4vla.vlm.sizes import count_parts, skeleton, visual_tokens

WORDS, SPARE, IMAGE, PATCH = 259, 64, 56, 14 # tokens of the language model, rows behind them, pixels
LLAMA = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, head_dim=16)
TOWERS = [dict(width=32, depth=3, heads=2, inner=128, patch=PATCH, registers=4),
          dict(width=48, depth=4, heads=4, inner=80, patch=PATCH, registers=0)]
BRIDGE = dict(action=dict(q01=[-.03, -.04, -.04, -.08, -.09, -.2, 0.], q99=[.03, .04, .04, .08, .08, .2, 1.], mask=[True]*6 + [False]))

# --- a checkpoint as it is published, written by hand -----------------------------------------------------------------------------------

def config(**said):
    "A published `config.json`, with small sizes stated where the published one names its towers."
    remote = dict(AutoConfig="configuration_prismatic.OpenVLAConfig",
                  AutoModelForVision2Seq="modeling_prismatic.OpenVLAForActionPrediction")
    return dict(architectures=["OpenVLAForActionPrediction"], model_type="openvla", arch_specifier="no-align+fused-gelu-mlp",
                auto_map=remote, hf_llm_id="meta-llama/Llama-2-7b-hf", image_resize_strategy="resize-naive", image_sizes=[IMAGE, IMAGE],
                llm_backbone_id="llama2-7b-pure", llm_max_length=2048, n_action_bins=256, norm_stats=dict(bridge_orig=BRIDGE),
                output_projector_states=False, pad_to_multiple_of=SPARE, pad_token_id=WORDS, text_config=dict(
                    model_type="llama", pad_token_id=WORDS, torch_dtype="float32", vocab_size=WORDS + SPARE, **LLAMA),
                timm_model_ids=["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"], towers=TOWERS,
                timm_override_act_layers=[None, None], torch_dtype="float32", transformers_version="4.40.1", use_fused_vision_backbone=True,
                vision_backbone_id="dinosiglip-vit-so-224px") | said

def block(D, H, scaled): # names and shapes in a block of timm's
    lines = {"attn.qkv": (3*D, D), "attn.proj": (D, D), "mlp.fc1": (H, D), "mlp.fc2": (D, H)}
    return ({f"{n}.weight": s for n,s in lines.items()} | {f"{n}.bias": s[:1] for n,s in lines.items()}
            | {f"norm{i}.{w}": (D,) for i in (1, 2) for w in ("weight", "bias")}
            | ({f"ls{i}.scale_factor": (D,) for i in (1, 2)} if scaled else {}))

def tower(t):
    D, H, n = t["width"], t["inner"], (IMAGE//PATCH)**2
    own = {"pos_embed": (1, n, D), "patch_embed.proj.weight": (D, 3, PATCH, PATCH), "patch_embed.proj.bias": (D,), "norm.weight": (D,),
           "norm.bias": (D,)}
    if t["registers"]: own |= {"cls_token": (1, 1, D), "reg_token": (1, t["registers"], D)}
    else:
        lines = {"q": (D, D), "kv": (2*D, D), "proj": (D, D), "mlp.fc1": (H, D), "mlp.fc2": (D, H)}
        own |= {f"attn_pool.{n}.weight": s for n,s in lines.items()} | {f"attn_pool.{n}.bias": s[:1] for n,s in lines.items()}
        own |= {"attn_pool.latent": (1, 1, D), "attn_pool.norm.weight": (D,), "attn_pool.norm.bias": (D,)}
    return own | {f"blocks.{i}.{n}": s for i in range(t["depth"]) for n,s in block(D, H, t["registers"]).items()}

def llama(V=WORDS + SPARE):
    D, H = LLAMA["hidden_size"], LLAMA["intermediate_size"]
    lines = {f"self_attn.{n}_proj": (D, D) for n in "qkvo"} | {"mlp.gate_proj": (H, D), "mlp.up_proj": (H, D), "mlp.down_proj": (D, H),
                                                               "input_layernorm": (D,), "post_attention_layernorm": (D,)}
    return {"lm_head.weight": (V, D), "model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)} | {
        f"model.layers.{i}.{n}.weight": s for i in range(LLAMA["num_hidden_layers"]) for n,s in lines.items()}

def names():
    "Every weight of the file and its shape."
    n, D = sum(t["width"] for t in TOWERS), LLAMA["hidden_size"]
    projector = {"fc1": (4*n, n), "fc2": (D, 4*n), "fc3": (D, D)}
    return ({f"vision_backbone.featurizer.{k}": s for k,s in tower(TOWERS[0]).items()}
            | {f"vision_backbone.fused_featurizer.{k}": s for k,s in tower(TOWERS[1]).items()}
            | {f"projector.{k}.weight": s for k,s in projector.items()} | {f"projector.{k}.bias": s[:1] for k,s in projector.items()}
            | {f"language_model.{k}": s for k,s in llama().items()})

def weights():
    g = torch.Generator().manual_seed(0)
    return {n: torch.randn(s, generator=g)*(.15 if len(s) > 1 else .5) + ("norm" in n and "weight" in n) for n,s in names().items()}

def publish(folder, w=None, shards=3, **said):
    "A folder as the hub has it."
    folder.mkdir(parents=True, exist_ok=True); w = weights() if w is None else w; where = {}
    for i in range(shards):
        part = dict(sorted(w.items())[i::shards]); name = f"model-{i+1:05}-of-{shards:05}.safetensors"
        save_file(part, folder/name, metadata=dict(format="pt")); where |= dict.fromkeys(part, name)
    total = 4*sum(v.numel() for v in w.values())
    write_json(folder/"model.safetensors.index.json", dict(metadata=dict(total_size=total), weight_map=where))
    (folder/"config.json").write_text(json.dumps(config(**said)))
    tok = small_tokenizer([], vocab=WORDS, specials=("<unk>", "<s>", "</s>"), pad="</s>", eos="</s>")
    tok.add_special_tokens(dict(pad_token="<PAD>")); tok.save_pretrained(folder)
    write_json(folder/"preprocessor_config.json", dict(
        auto_map=dict(AutoImageProcessor="processing_prismatic.PrismaticImageProcessor"), image_processor_type="PrismaticImageProcessor",
        image_resize_strategy="resize-naive", input_sizes=[[3, IMAGE, IMAGE]]*2, interpolations=["bicubic"]*2,
        means=[[.484375, .455078125, .40625], [.5]*3], stds=[[.228515625, .2236328125, .224609375], [.5]*3],
        use_fused_vision_backbone=True))
    return folder

def there(folder, name="mine"): return replace(backbones["openvla-7b"], name=name, repo_id=str(folder))

@pytest.fixture(scope="module")
def openvla(tmp_path_factory): return publish(tmp_path_factory.mktemp("hub")/"openvla-small")

# --- weights ----------------------------------------------------------------------------------------------------------------------------

def own_name(n): # as the headed model calls it
    return n.replace("language_model.lm_head", "lm_head").replace("language_model.model", "model.language_model") if n.startswith(
        "language") else f"model.{n}"

@pytest.mark.parametrize("headless", [True, False])
def test_every_weight_is_where_its_name_says(openvla, headless):
    w = {own_name(n): v for n,v in weights().items()}; model = load_model(there(openvla), headless=headless)
    got = {("model."+n if headless else n): v for n,v in model.named_parameters()}
    left = set(w) - set(got)
    assert set(got) <= set(w) and all(torch.equal(v, w[n]) for n,v in got.items())
    assert {n.split("featurizer.")[-1].split(".")[0] for n in left if "featurizer" in n} == {"blocks", "norm", "attn_pool"}
    assert {n for n in left if "featurizer" not in n} == ({"lm_head.weight"} if headless else set())
    assert all(".blocks.2." in n or ".fused_featurizer.blocks.3." in n for n in left if ".blocks." in n)

def test_a_whole_model_is_written_as_it_was_published(openvla, tmp_path):
    from safetensors.torch import load_file
    auto = transformers.AutoModelForImageTextToText
    auto.from_pretrained(openvla, trust_remote_code=False).save_pretrained(tmp_path)
    again, w = load_file(tmp_path/"model.safetensors"), weights()
    assert again.keys() == w.keys() and all(torch.equal(again[n], w[n]) for n in w)

def test_the_names_are_those_of_the_real_size():
    "The same list, with the published sizes: as many numbers as the published files hold."
    real = transformers.AutoConfig.for_model("openvla")
    with torch.device("meta"): whole = transformers.AutoModelForImageTextToText.from_config(real)
    assert sum(p.numel() for p in whole.parameters()) == 15_082_474_368//2 # `total_size` of its index, 16-bit numbers
    b = backbones["openvla-7b"]; parts, all_of_it = count_parts(b), sum(p.numel() for p in whole.parameters())
    assert round(all_of_it/1e9, 2) == b.params_b == round(sum(count_parts(b, headless=False).values())/1e9, 2)
    assert parts["projector"] == sum((a+1)*c for a,c in ((2176, 8704), (8704, 4096), (4096, 4096))) and visual_tokens(b) == 256
    last = {("featurizer", 1024): 23, ("fused_featurizer", 1152): 26}; vision = whole.model.vision_backbone
    unread = sum(p.numel() for (t, D), i in last.items() for p in getattr(vision, t).blocks[i].parameters()) + 2*1024 + 2*1152
    unread += sum(p.numel() for p in vision.fused_featurizer.attn_pool.parameters())
    assert all_of_it - sum(parts.values()) == 32064*4096 + unread
    assert not [n for n,_ in skeleton(b).named_parameters() if "attn_pool" in n]

def said_of(folder, **kw):
    try: load_model(there(folder), **kw); return ""
    except UserError as e: return str(e)

HARM = {"part": (dict(w=lambda w: {n: v for n,v in w.items() if "projector" not in n}), "are not those of its config.json (6 are missing"),
        "tower": (dict(w=lambda w: {n: v for n,v in w.items() if ".fused_featurizer.blocks.1." not in n}), "(12 are missing"),
        "sizes": (dict(text_config=config()["text_config"] | dict(intermediate_size=64)), "of another size, such as language_model.l"),
        "unknown towers": (dict(towers=None, timm_model_ids=["vit_giant_patch14_dinov2", "vit_so400m_patch14_siglip_224"]),
                   "The vision tower 'vit_giant_patch14_dinov2' of this OpenVLA is not one that is known here"),
        "single": (dict(use_fused_vision_backbone=False, image_sizes=[224]), "has not two vision towers")}

@pytest.mark.parametrize("what", HARM)
def test_a_folder_that_is_not_whole_is_one_sentence(tmp_path, what):
    said, part = HARM[what]; said = dict(said); w = said.pop("w", lambda w: w)(weights())
    heard = said_of(publish(tmp_path/"v", w, **said))
    assert part in heard and heard.endswith(".") and "\n" not in heard, heard

def test_files_that_are_not_there(openvla, tmp_path):
    folder = publish(tmp_path/"v"); (folder/"model-00002-of-00003.safetensors").unlink()
    assert "is damaged or missing (No such file" in said_of(folder)
    for f in folder.glob("model*"): f.unlink()
    torch.save({}, folder/"pytorch_model.bin"); assert "pickled ones (.bin) are never read" in said_of(folder)

def test_code_beside_the_weights_is_not_run(openvla, tmp_path):
    folder = publish(tmp_path/"v")
    for f in ("configuration_prismatic", "modeling_prismatic", "processing_prismatic"):
        (folder/f"{f}.py").write_text(f"open({str(tmp_path/'ran')!r}, 'w').close()\nclass OpenVLAConfig: pass\n")
    load_model(there(folder)); Encoder(there(folder)); assert not (tmp_path/"ran").exists()

# --- what it computes -------------------------------------------------------------------------------------------------------------------

def line(w, n, x): return F.linear(x, w[n+".weight"], w.get(n+".bias"))

def seen_by(w, x, t): # the second last block of a tower, by torch's own functions on the weights of the file
    D = t["width"]; norm = lambda n, y: F.layer_norm(y, (D,), w[n+".weight"], w[n+".bias"], 1e-6)
    y = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH).flatten(2).transpose(1,2) + w["pos_embed"]
    if t["registers"]: y = torch.cat([w[n].expand(len(x),-1,-1) for n in ("cls_token", "reg_token")] + [y], 1)
    for i in range(t["depth"]-1):
        b = f"blocks.{i}."; scale = lambda n, z: z*w.get(b+n+".scale_factor", 1.)
        q, k, v = (z.unflatten(-1, (t["heads"], -1)).transpose(1,2) for z in line(w, b+"attn.qkv", norm(b+"norm1", y)).chunk(3, -1))
        y = y + scale("ls1", line(w, b+"attn.proj", F.scaled_dot_product_attention(q, k, v).transpose(1,2).flatten(2)))
        y = y + scale("ls2", line(w, b+"mlp.fc2", F.gelu(line(w, b+"mlp.fc1", norm(b+"norm2", y)))))
    return y[:,-(IMAGE//PATCH)**2:]

def below(w, prefix): return {n.removeprefix(prefix): v for n,v in w.items() if n.startswith(prefix)}

def by_hand(w, enc, rows, images): # logits at the last token, each row alone, the image inserted behind its first token
    out = []
    text = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config()["text_config"])).eval()
    text.load_state_dict(below(w, "language_model."))
    for ids, image in zip(rows, images):
        x = image.permute(2,0,1)[None]/255; means, stds = (enc.facts[k] for k in ("means", "stds"))
        a, b = ((x - torch.tensor(m)[:,None,None])/torch.tensor(s)[:,None,None] for m,s in zip(means, stds))
        y = torch.cat([seen_by(below(w, "vision_backbone.featurizer."), a, TOWERS[0]),
                       seen_by(below(w, "vision_backbone.fused_featurizer."), b, TOWERS[1])], -1)
        for n in ("fc1", "fc2", "fc3"): y = line(w, "projector."+n, y if n == "fc1" else F.gelu(y))
        words = text.get_input_embeddings()(torch.tensor([[i for i in ids if i != enc.image_id]]))
        out.append(text(inputs_embeds=torch.cat([words[:,:1], y, words[:,1:]], 1)).logits[0,-1])
    return torch.stack(out)

@torch.no_grad()
def test_it_computes_what_is_published(openvla):
    b = there(openvla); enc, model = Encoder(b), load_model(b, headless=False).eval(); s = enc.facts["size"]
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2,s,s,3), dtype=np.uint8))
    rows = [enc.prompt(t)[:-1] for t in ("go", "put the carrot on the plate")]; want = by_hand(weights(), enc, rows, images)
    for multiple in (1, 32): # rows of two lengths, filled up on the left
        got = model(**enc(rows, images, multiple)).logits[:,-1]
        assert (got-want).norm() < 1e-5*want.norm() and want.std() > .1
    text = enc.tok.decode([i for i in rows[1] if i != enc.image_id])
    assert text == "<s> In: What action should the robot take to put the carrot on the plate?\nOut: "
    assert rows[1][1:1+enc.n_visual] == [enc.image_id]*16 and enc.prompt("Put the CARROT on the plate")[:-1] == rows[1]

def test_pixels_and_tokens_are_the_files_own(openvla):
    enc = Encoder(there(openvla))
    assert enc.facts["means"][0] == [.484375, .455078125, .40625] and enc.facts["size"] == IMAGE
    assert (enc.pad_id, enc.image_id, enc.query_id) == (WORDS, WORDS+1, WORDS+2) == (load_config(there(openvla)).pad_token_id,
                                                                                    load_config(there(openvla)).image_token_id, WORDS+2)

def test_gradients_reach_all_that_is_read(openvla):
    model = load_model(there(openvla)); enc = Encoder(there(openvla)); model.gradient_checkpointing_enable(); model.train()
    x = enc([enc.prompt("go")[:-1]], torch.zeros(1, IMAGE, IMAGE, 3, dtype=torch.uint8) + 90)
    model(**x, use_cache=False).last_hidden_state.sum().backward()
    assert not [n for n,w in model.named_parameters() if w.grad is None]
