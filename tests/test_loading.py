"Loading a backbone: from the hub, of which a small server plays the part, and from folders; each way to fail is one sentence."
import hashlib, json, os, shutil, subprocess, sys, threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit
import pytest
torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file
import vlm4vla.vlm.loading as m
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError, seed_everything
from vlm4vla.vlm.loading import Encoder, families, load_config, load_model, load_tokenizer

def save(folder, name="tiny-qwen3-vl"):
    "A tiny backbone as a checkpoint."
    b, f = backbones[name], families[backbones[name].family]; seed_everything(0)
    for part in (load_model(b, headless=False), load_tokenizer(b), f.processor(f, 224, 16)): part.save_pretrained(folder)
    return folder

def mine(**facts): return replace(backbones["qwen3-vl-2b"], name="mine", **facts)

def states(folder, **facts):
    "Edit what a folder's config.json says."
    path = folder/"config.json"; path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **facts}), encoding="utf-8")

def halve(path): path.write_bytes(path.read_bytes()[:path.stat().st_size//2])

def drop_a_weight(folder):
    w = load_file(folder/"model.safetensors"); del w[min(w)]; save_file(w, folder/"model.safetensors", metadata=dict(format="pt"))

def lose_a_shard(folder):
    (folder/"model.safetensors").unlink()
    load_model(mine(repo_id=str(folder.parent/"good")), headless=False).save_pretrained(folder, max_shard_size="200KB")
    min(folder.glob("model-*.safetensors")).unlink()

def pickle_weights(folder): torch.save({}, folder/"pytorch_model.bin"); (folder/"model.safetensors").unlink()

def is_one_sentence(s): return "\n" not in s and s.endswith(".") and ": " in s and len(s) < 260

# name → what was done to a good checkpoint, and part of what is said of it by the encoder and by the model ("": nothing is wrong)
BROKEN = dict(
    good=(lambda d: None, "", ""),
    pickled=(pickle_weights, "", "never read: choose a checkpoint that has them"),
    damaged=(lambda d: halve(d/"model.safetensors"), "", "is damaged or missing (Error while deserializing header"),
    pointer=(lambda d: (d/"model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 12\n"), "", "is damaged"),
    sharded=(lose_a_shard, "", "is damaged or missing (No such file"),
    gapped=(drop_a_weight, "", "are not those of its config.json (1 are missing"),
    widened=(lambda d: states(
        d, text_config={**json.loads((d/"config.json").read_text(encoding="utf-8"))["text_config"], "intermediate_size": 256}), "",
        "missing or of another size"),
    foreign=(lambda d: families["paligemma"].config().save_pretrained(d), "is a paligemma (gemma), not a qwen3_vl: correct the family",
             "not a qwen3_vl"),
    coded=(lambda d: states(d, model_type="internvl_chat", auto_map=dict(AutoConfig="x.C", AutoModel="x.M")),
           "never run: choose a checkpoint in transformers' own format", "never run"),
    newer=(lambda d: states(d, model_type="qwen9_vl"), "transformers' own format", "transformers' own format"),
    bare=(lambda d: (d/"config.json").unlink(), "has no config.json", "has no config.json"),
    garbled=(lambda d: halve(d/"config.json"), "is damaged", "is damaged"),
    wordless=(lambda d: [p.unlink() for p in d.glob("tokenizer*")], "has no token <|image_pad|>", ""),
    speechless=(lambda d: (d/"tokenizer.json").write_text("{}"), "has no tokenizer that transformers can read", ""),
    blind=(lambda d: (d/"preprocessor_config.json").unlink(), "has no preprocessor_config.json: ", ""))

@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub"); save(root/"good")
    for name, (harm, *_) in BROKEN.items():
        if name != "good": harm(shutil.copytree(root/"good", root/name))
    return root

def said(load, b):
    "What a UserError says; nothing where there is none."
    try: load(b); return ""
    except UserError as e: return str(e)

def fits(heard, part): return part in heard and is_one_sentence(heard) if part else heard == ""

# --- folders ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_loads_or_says_why_not(checkpoints, name):
    b = mine(repo_id=str(checkpoints/name)); _, encoder, model = BROKEN[name]
    for load, part in ((Encoder, encoder), (load_model, model)):
        heard = said(load, b)
        assert fits(heard, part) and "hf download" not in heard, heard

def test_a_folder_is_the_checkpoint_it_holds(checkpoints):
    got, want = load_model(mine(repo_id=str(checkpoints/"good"))).state_dict(), load_file(checkpoints/"good"/"model.safetensors")
    assert got and all(torch.equal(w, want[f"model.{n}"]) for n,w in got.items())

@pytest.mark.parametrize("repo_id", ["no/such/folder", "/no/such/folder", "~/folder", "two words"])
def test_neither_a_folder_nor_a_name(repo_id):
    heard = said(load_model, mine(repo_id=repo_id))
    assert fits(heard, "is neither a folder here nor the name of a repository: correct the `repo_id` of 'mine'"), heard

def test_a_mini_backbone_is_made_again(checkpoints):
    for name in ("pickled", "damaged", "gapped"):
        assert fits(said(load_model, mine(kind="mini", folder=str(checkpoints/name))), "pretrain_mini.ipynb")

@pytest.mark.parametrize("family,other", [("paligemma", "paligemma2"), ("paligemma2", "paligemma")])
def test_the_two_paligemmas_are_not_taken_for_each_other(tmp_path, family, other): # their configs differ in the language model only
    families[family].config().save_pretrained(tmp_path)
    assert load_config(mine(repo_id=str(tmp_path), family=family)).model_type == "paligemma"
    assert fits(said(load_config, mine(repo_id=str(tmp_path), family=other)), "correct the family of 'mine'")

@pytest.mark.parametrize("family", families)
@pytest.mark.parametrize("headless", [True, False])
def test_a_whole_checkpoint_lacks_nothing(tmp_path, family, headless):
    name = next(b.name for b in backbones.values() if b.family == family and b.kind == "tiny"); save(tmp_path, name)
    assert said(lambda b: load_model(b, headless=headless), mine(repo_id=str(tmp_path), family=family)) == ""

def test_a_full_disk_is_named(checkpoints):
    b = mine(repo_id="someone/a-vlm")
    with pytest.raises(UserError, match="No space left on device.*see to the disk"):
        with m._explained(b, "has nothing"): raise OSError(28, "No space left on device")

# --- attention -------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["tiny-qwen3-vl", "tiny-paligemma", "mini-qwen3-vl"])
def test_flash_attention_that_is_missing_is_said_and_not_swapped(monkeypatch, name):
    monkeypatch.setitem(m._ATTENTION, "flash_attention_2", lambda: False)
    # with it transformers would fetch a compiled kernel
    monkeypatch.setattr("transformers.modeling_utils.is_kernels_available", lambda *a, **k: True)
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", lambda *a, **k: pytest.fail("a kernel was asked for"))
    assert fits(said(lambda b: load_model(b, attn="flash_attention_2"), backbones[name]), "FlashAttention is not installed")

def test_attention_that_a_model_does_not_take_is_said(monkeypatch):
    monkeypatch.setitem(m._ATTENTION, "flash_attention_2", lambda: True)
    assert fits(said(lambda b: load_model(b, attn="flash_attention_2"), backbones["tiny-kosmos-2"]), "choose 'sdpa' or 'eager'")

@pytest.mark.parametrize("attn", ["flash", "kernels-community/flash-attn2"])
def test_attention_is_one_of_a_list(attn):
    assert "no attention implementation" in said(lambda b: load_model(b, attn=attn), backbones["tiny-qwen3-vl"])

# --- the hub ---------------------------------------------------------------------------------------------------------------------------

COMMIT = "a"*40

class Hub(BaseHTTPRequestHandler):
    "Answers as the hub does; the owner in a repository's name says how: `gated`, `private`, `locked` (its weights), `busy`, or any other."
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for k,v in {**headers, "Content-Length": len(body)}.items(): self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)
    def refuse(self, status, code): self.reply(status, b"{}", X_Error_Code=code, X_Error_Message=code)
    def do_GET(self):
        path = urlsplit(self.path).path.strip("/"); self.server.asked.append((self.command, path))
        owner, name, kind, rev, *rest = path.removeprefix("api/models/").split("/") + [""]*4
        api, folder, file = path.startswith("api/"), self.server.root/name, "/".join(rest).strip("/")
        if owner == "gated": return self.refuse(int(name), "GatedRepo")
        if owner == "private" or not folder.is_dir(): return self.refuse(401 if owner == "private" else 404, "RepoNotFound")
        if rev not in ("main", COMMIT, ""): return self.refuse(404, "RevisionNotFound")
        if api: return self.listing(folder, f"{owner}/{name}", kind)
        if not (folder/file).is_file(): return self.refuse(404, "EntryNotFound")
        if owner == "locked" and file.endswith(".safetensors"): return self.refuse(403, "GatedRepo")
        if owner == "busy" and self.command == "GET": return self.refuse(418, "Busy")
        body = (folder/file).read_bytes()
        self.reply(200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=COMMIT)
    def listing(self, folder, repo, kind):
        files = sorted(folder.iterdir())
        about = [dict(type="file", path=f.name, size=f.stat().st_size, oid=f.name) for f in files] if kind == "tree" else dict(id=repo,
            sha=COMMIT, private=False, siblings=[dict(rfilename=f.name) for f in files])
        self.reply(200, json.dumps(about).encode(), Content_Type="application/json")
    do_HEAD = do_POST = do_GET

@pytest.fixture(scope="module")
def hub(checkpoints):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub); server.root, server.asked = checkpoints, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown(); server.server_close()

LOAD = """
import json, sys
from dataclasses import replace
import transformers
from vlm4vla.catalog.backbones import backbones
from vlm4vla.core import UserError
from vlm4vla.vlm.loading import Encoder, load_model
transformers.logging.set_verbosity_error()
def said(load, b):
    try: load(b); return ""
    except UserError as e: return str(e)
heard = {}
for name, facts in json.load(sys.stdin).items():
    b = replace(backbones["qwen3-vl-2b"], name="mine", **facts)
    heard[name] = [said(Encoder, b), said(load_model, b)]
print(json.dumps(heard))
"""

def ask(hub, home, cases, **env):
    "What a fresh process hears when it loads backbones from our hub, whose address it reads when it starts."
    env = {**{k: v for k,v in os.environ.items() if not k.startswith("HF_")}, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
           "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **env}
    done = subprocess.run([sys.executable, "-c", LOAD], input=json.dumps(cases), capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

# name → where it is, what the encoder says, what the model says
ONLINE = {n: (dict(repo_id=f"someone/{n}"), *BROKEN[n][1:]) for n in ("good", "pickled", "damaged", "foreign", "coded", "bare", "garbled")}
ONLINE.update({
    "pinned": (dict(repo_id="someone/good", revision=COMMIT), "", ""),
    "gated, not logged in": (
        dict(repo_id="gated/401"), *["gated/401 is gated: accept its licence on the hub and log in with `hf auth login`."]*2),
    "gated, not accepted": (dict(repo_id="gated/403"), *["gated/403 is gated: accept its licence"]*2),
    "gated weights": (dict(repo_id="locked/good"), "", "locked/good is gated"),
    "missing": (dict(repo_id="someone/nothing"), *["The hub shows no repository someone/nothing: correct the `repo_id` of 'mine'"]*2),
    "missing, with telling words in its name": (dict(repo_id="someone/delegated-revision"),
                                                *["The hub shows no repository someone/delegated-revision"]*2),
    "private": (dict(repo_id="private/good"), *["log in with `hf auth login` if it is private"]*2),
    "wrong revision": (dict(repo_id="someone/good", revision="v9"),
                       *["someone/good has no revision 'v9': correct the revision of 'mine'"]*2),
    "busy": (dict(repo_id="busy/good"), *["The hub refused busy/good"]*2)})

@pytest.fixture(scope="module")
def heard(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return home, ask(hub, home, {n: facts for n, (facts, *_) in ONLINE.items()})

@pytest.mark.parametrize("name", ONLINE)
def test_the_hub_lends_or_we_say_why_not(heard, name):
    for sentence, part in zip(heard[1][name], ONLINE[name][1:]): assert fits(sentence, part), sentence

def test_only_safetensors_are_fetched_and_nothing_else_is_asked(heard, hub):
    assert any(p.endswith("model.safetensors") for _,p in hub.asked)
    for command, path in hub.asked:
        assert command != "POST" and "discussions" not in path and not path.endswith((".bin", ".py")), (command, path)

def test_without_the_hub_what_is_here_loads(heard, hub):
    home, _ = heard; before = len(hub.asked)
    got = ask(hub, home, dict(here=dict(repo_id="someone/good"), never=dict(repo_id="someone/never"), half=dict(repo_id="locked/good")),
              HF_HUB_OFFLINE="1")
    away = "is not on this machine and the hub is out of reach: run `hf download {} --revision main`"
    assert got["here"] == ["", ""] and len(hub.asked) == before
    assert all(fits(s, away.format("someone/never")) for s in got["never"]), got
    assert got["half"][0] == "" and fits(got["half"][1], away.format("locked/good")), got
