"OpenVLA's published files: weights, config, tokenizer and pixels, each written here as it lies on the hub, and read back."
import json, os
from dataclasses import replace
import numpy as np, pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
import tokenizers, torch.nn.functional as F
from tokenizers import decoders, models, normalizers, pre_tokenizers
from safetensors.torch import save_file
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.experiments import Experiment, with_settings
from vlm4vla.core import UserError, seed_everything, write_json
from vlm4vla.data.actions import ActionStats, decode, encode
from vlm4vla.policy.openvla import openvla_policy, openvla_stats, place_openvla
from vlm4vla.policy.policy import Policy
from vlm4vla.heads.words import last_word
from vlm4vla.vlm.loading import Encoder, load_config, load_model
from vlm4vla.policy.own import given_policy, is_openvla, openvla_statistics
from vlm4vla.vlm.sizes import count_parts, skeleton, visual_tokens
from test_own import REACH, nothing_of_ones_own, said, terminal # two of them fixtures, the first for every test here

LETTERS = ["▁", *"abcdefghijklmnopqrstuvwxyzACIOW:?.\n", "▁I", "▁In", "Ou", "Out"] # Llama's tokenizer in small: bytes, letters, words
WORDS, SPARE, IMAGE, PATCH = 3 + 256 + len(LETTERS), 64, 56, 14 # tokens of the language model, rows behind them, pixels
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

def write_tokenizer(folder, more=(), first=False):
    "Llama-2's kind: a space is ▁, one stands before every text, what has no word falls back to bytes; the padding is added last."
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *LETTERS, *more]
    model = models.BPE({t: i for i,t in enumerate(words)}, [("▁", "I"), ("▁I", "n"), ("O", "u"), ("Ou", "t")], unk_token="<unk>",
                       fuse_unk=True, byte_fallback=True)
    tok = tokenizers.Tokenizer(model)
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if first: tok.normalizer, tok.pre_tokenizer = None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>", "<PAD>")])
    tok.save(str(folder/"tokenizer.json"))
    write_json(folder/"tokenizer_config.json", dict(
        auto_map=dict(AutoProcessor="processing_prismatic.PrismaticProcessor"), add_bos_token=True, bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", pad_token="<PAD>", legacy=False, padding_side="right", tokenizer_class="LlamaTokenizer",
        added_tokens_decoder={str(tok.token_to_id(t)): dict(content=t, lstrip=False, normalized=False, rstrip=False, single_word=False,
                                                            special=True) for t in ("<unk>", "<s>", "</s>", "<PAD>")}))

def publish(folder, w=None, shards=3, **said):
    "A folder as the hub has it."
    folder.mkdir(parents=True, exist_ok=True); w = weights() if w is None else w; where = {}
    for i in range(shards):
        part = dict(sorted(w.items())[i::shards]); name = f"model-{i+1:05}-of-{shards:05}.safetensors"
        save_file(part, folder/name, metadata=dict(format="pt")); where |= dict.fromkeys(part, name)
    total = 4*sum(v.numel() for v in w.values())
    write_json(folder/"model.safetensors.index.json", dict(metadata=dict(total_size=total), weight_map=where))
    (folder/"config.json").write_text(json.dumps(config(**said)))
    write_tokenizer(folder)
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
    words = enc.tok.convert_ids_to_tokens([i for i in rows[1] if i != enc.image_id])
    assert words[:4] == ["<s>", "▁In", ":", "▁"] and words[-5:] == ["?", "\n", "Out", ":", "▁"] # as 512 29901 … 3744 29901 29871
    assert "".join(words) == "<s>▁In:▁What▁action▁should▁the▁robot▁take▁to▁put▁the▁carrot▁on▁the▁plate?\nOut:▁"
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

# --- as a policy ------------------------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
SAID = ["go", "put the carrot on the plate", "Fold the CLOTH", "open the drawer"]
RPT = dict(action=dict(q01=[-1.]*7, q99=[2.]*6 + [1.], mask=[True]*6 + [False]))

def talks_of_actions(w): # so that no answer is malformed
    w["language_model.lm_head.weight"][[*range(WORDS - 256), *range(WORDS, WORDS + SPARE)]] = 0
    return w

@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    "A folder with the statistics of two data sets."
    return publish(tmp_path_factory.mktemp("robots")/"openvla-small", talks_of_actions(weights()),
                   norm_stats=dict(bridge_orig=BRIDGE, berkeley_rpt=RPT))

def as_published(folder, key, enc, images, said):
    "`predict_action` of the published code, in our words: greedy, one image at a time, numbers without a gripper's meaning."
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False).eval()
    a = json.loads((folder/"config.json").read_text())["norm_stats"][key]["action"]
    lo, hi, edges, out = np.array(a["q01"]), np.array(a["q99"]), np.linspace(-1, 1, 256), []
    for image, words in zip(images, said):
        x = enc([enc.prompt(words.lower())[:-1]], torch.from_numpy(image[None]))
        ids = model.generate(**x, max_new_tokens=7, do_sample=False, eos_token_id=None)[0,-7:].numpy()
        number = ((edges[:-1] + edges[1:])/2)[np.clip(WORDS - ids - 1, 0, 254)]
        out.append(np.where(a["mask"], .5*(number+1)*(hi-lo) + lo, number))
    return np.array(out)

@pytest.mark.parametrize("key", ["bridge_orig", "berkeley_rpt"])
def test_it_acts_as_the_published_code_does(robot, key):
    p = openvla_policy(f"{robot}#{key}", opened=1., closed=-1.); act = p.act(IMAGES, SAID)
    want = as_published(robot, key, p.encoder, p.look(IMAGES), SAID)
    assert act.shape == (4, 1, 7) and np.abs(act[:,0,:6] - want[:,:6]).max() < 1e-6
    assert (act[:,0,6] == np.where(want[:,6] > .5, 1, -1)).all() and len(np.unique(act[:,0,:6], axis=0)) > 1
    assert p.head.answered == dict(chunks=4, malformed=0) and last_word(p) == WORDS - 1
    for i in range(4): assert np.array_equal(p.act(IMAGES[i:i+1], SAID[i:i+1]), act[i:i+1]) # whoever shares the batch

def test_an_answer_that_is_no_action_is_counted_and_keeps_still(tmp_path):
    w = weights(); w["language_model.lm_head.weight"][:] = 0 # it says <unk>, always
    p = openvla_policy(publish(tmp_path/"mute", w)); act = p.act(IMAGES, SAID)
    assert p.head.answered == dict(chunks=4, malformed=4) and np.abs(act[...,:6]).max() < 1e-8 and (act[...,6] == 1).all()

@pytest.mark.parametrize("name", ["simpler-bridge", "libero-10", "calvin-abc-d", "grinningface"])
def test_open_and_closed_are_the_benchmarks(robot, tmp_path, name):
    place_openvla(f"{robot}#bridge_orig", tmp_path, name); p, b = Policy.load(tmp_path), benchmarks[name]
    assert (p.stats.opened, p.stats.closed) == (b.action_hi[6], b.action_lo[6]) and p.stats.lo == tuple(BRIDGE["action"]["q01"][:6])
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 4096 # nothing is copied
    opened, closed = decode(np.r_[np.zeros(6), 1.], p.stats)[6], decode(np.zeros(7), p.stats)[6]
    assert opened == b.action_hi[6] and closed == b.action_lo[6]

def test_what_is_placed_acts_alike(robot, tmp_path):
    place_openvla(f"{robot}#bridge_orig", tmp_path, "simpler-bridge"); a = Policy.load(tmp_path)
    assert np.array_equal(a.act(IMAGES, SAID), openvla_policy(f"{robot}#bridge_orig").act(IMAGES, SAID)) and not a.training
    a.save(tmp_path/"whole"); assert np.array_equal(Policy.load(tmp_path/"whole").act(IMAGES, SAID), a.act(IMAGES, SAID)) # its own file

def test_half_precision_is_kept(tmp_path):
    p = openvla_policy(publish(tmp_path/"half", talks_of_actions(weights()), torch_dtype="bfloat16"))
    assert {w.dtype for w in p.vlm.parameters()} == {torch.bfloat16} and p.act(IMAGES[:1], SAID[:1]).shape == (1, 1, 7)
    assert given_policy(tmp_path/"half")[1].changes["precision"] == "bfloat16"

def test_statistics():
    s = openvla_stats(dict(BRIDGE["action"], mask=[True, False]*3 + [False])); x = np.random.default_rng(0).uniform(-1, 1, (99, 7))
    assert s.lo[1] == -1 and s.hi[1] == 1 and np.abs(decode(x, s)[:,1] - x[:,1]).max() < 1e-6
    raw = decode(x, s); assert np.abs(encode(raw, s)[:,:6] - x[:,:6]).max() < 1e-5
    assert openvla_stats(dict(q01=[0.]*7, q99=[0.]*7)).lo == (0.,)*6 # a number that never moves, and no mask

@pytest.mark.parametrize("a, part", [(dict(q01=[0.]*7), "no numbers q01 and q99"), (dict(q01=["x"]*7, q99=[1.]*7), "no numbers"),
                                     (dict(q01=[0.]*6, q99=[1.]*6), "of 6 numbers, not of 7"),
                                     (dict(q01=[0.]*7, q99=[1.]*7, mask=[True]*7), "scale the gripper"),
                                     (dict(q01=[0.]*7, q99=[float("nan")]*7), "not finite"),
                                     (dict(q01=[1.]*7, q99=[0.]*7), "lower end above")])
def test_statistics_that_are_none(a, part):
    with pytest.raises(UserError, match=part): openvla_stats(a)

def test_a_data_set_is_chosen_by_its_name(robot, tmp_path):
    def heard(said):
        with pytest.raises(UserError) as e: openvla_statistics(said)
        return str(e.value)
    assert "has statistics of berkeley_rpt, bridge_orig; choose one by its name" in heard(robot)
    assert "did you mean 'bridge_orig'?" in heard(f"{robot}#bridge")
    assert openvla_statistics(f"{robot}#berkeley_rpt") == ("berkeley_rpt", RPT)
    odd = publish(tmp_path/"a#b"); assert openvla_statistics(odd)[0] == openvla_statistics(f"{odd}#bridge_orig")[0] == "bridge_orig"
    write_json(odd/"dataset_statistics.json", dict(mine=RPT)); assert openvla_statistics(odd) == ("mine", RPT) # of a fine-tuning
    bare = publish(tmp_path/"bare", norm_stats={}); assert "no norm_stats" in heard(bare) and is_openvla(bare)

def test_files_of_two_checkpoints_are_refused(robot, tmp_path):
    folder = publish(tmp_path/"v", talks_of_actions(weights())); place_openvla(folder, tmp_path/"placed", "grinningface")
    publish(folder)
    with pytest.raises(UserError, match="is not the one that"): Policy.load(tmp_path/"placed")
    write_tokenizer(folder, ("one", "two"))
    with pytest.raises(UserError, match=f"ends its words at {WORDS+2}, and its config.json says {WORDS}"): openvla_policy(folder)
    write_tokenizer(folder, first=True)
    with pytest.raises(UserError, match="reads a text behind <s> otherwise than alone"): openvla_policy(folder)

def test_a_tiny_one_learns_to_say_what_it_shall_do(tmp_path):
    e = with_settings(Experiment("tiny-openvla", "grinningface", "smoke", 0), "head=bins", "chunk_size=2", "n_action_steps=1")
    seed_everything(0); p = Policy.new(e); p.stats = ActionStats.from_range(-.1, .1); s = p.encoder.facts["size"]
    goal = np.random.default_rng(0).uniform(-.1, .1, (2, 2, 7)).astype(np.float32); goal[...,6] = [[0, 1], [1, 0]]
    batch = dict(images=np.stack([np.zeros((s,s,3), np.uint8), np.full((s,s,3), 255, np.uint8)]), instructions=["go", "stop"], actions=goal,
                 mask=np.ones((2, 2), bool))
    opt = torch.optim.AdamW(p.parameters(), lr=3e-3)
    for _ in range(60): opt.zero_grad(); loss, _ = p.loss(batch); loss.backward(); opt.step()
    act = p.eval().act(batch["images"], batch["instructions"]); bin_ = .2/255
    assert loss < .1 and np.abs(act - goal)[...,:6].max() <= bin_/2 + 1e-6 and np.array_equal(act[...,6], goal[...,6])
    p.save(tmp_path); assert np.array_equal(Policy.load(tmp_path).act(batch["images"], batch["instructions"]), act)

def test_a_folder_is_evaluated_from_a_terminal(robot, tmp_path, said):
    import pandas as pd
    (tmp_path/"my_small_toys.py").write_text(REACH.replace("my_toys", "my_small_toys"))
    ask = ("--benchmark", "reach", "--plugin", tmp_path/"my_small_toys.py", "--out", tmp_path/"out")
    done = terminal("evaluate", f"{robot}#bridge_orig", *ask, "--set", "eval_episodes=2", "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = pd.read_parquet(tmp_path/"out"/"episodes.parquet"); name = rows.run_id[0]
    assert len(rows) == 2 and name.startswith("openvla-small__reach__policy-") and "-bridge-orig+eval_episodes-2__s0" in name
    told = json.loads((tmp_path/"out"/"provenance"/f"{name}.json").read_text())["eval"]
    assert told["settings"]["VLM4VLA_POLICIES"] == f"{robot}#bridge_orig"
    again = terminal("evaluate", f"{robot}#bridge_orig", *ask, "--set", "eval_episodes=2", "--workers", 1, cwd=tmp_path)
    assert "Nothing to do" in again.stdout, again.stderr
    assert "choose one by its name" in said("evaluate", robot, *ask)
