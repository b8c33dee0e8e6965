"Cards, folders for the hub and for lerobot, the zoo, recordings: what is written, what is refused, what comes back."
import json, os, shutil, subprocess, sys, zipfile
from pathlib import Path
import numpy as np, pytest
torch = pytest.importorskip("torch")
from vlm4vla.catalog.backbones import Backbone, backbones
from vlm4vla.core import UserError, assets_dir, file_hash
from vlm4vla.policy.shipped import shipped
from vlm4vla.sharing import hub
from vlm4vla.sharing.card import licence_of, model_card, policy_facts
from vlm4vla.sharing.hub import check_repo, fetch_policy, is_repo, open_policy, push_policy, write_folder
from vlm4vla.sharing.lerobot import check_lerobot, LEROBOT_HOW, compare_lerobot, lerobot_files, what_is_seen, write_plugin
from vlm4vla.sharing.recordings import check_rollout_loggers, log_rollouts, rollout_rows, write_recording
from vlm4vla.sharing.zoo import zoo, zoo_folder, zoo_state, zoo_table

SHIPPED, IMAGE = shipped()["grinningface-pretrained"], np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)

def one_sentence(heard, *parts):
    s = str(heard.value); assert all(p in s for p in parts) and "\n" not in s and s[-1] in ".?" and len(s) < 400, s

@pytest.fixture
def offline(tmp_path, monkeypatch):
    "The hub's library without a network, a login or anything fetched before."
    import huggingface_hub.constants as c
    for name, value in dict(HF_HUB_CACHE=tmp_path/"hub", HF_HUB_OFFLINE=True, HF_TOKEN_PATH=str(tmp_path/"token")).items():
        monkeypatch.setattr(c, name, str(value) if isinstance(value, Path) else value)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path/"hub")); monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path/"hub"

def cached(cache, repo, folder, commit, branch="main"):
    "A folder as the hub's library keeps what it has fetched: a snapshot under its commit, a branch that points there."
    there = cache/f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, there/"snapshots"/commit)
    (there/"refs").mkdir(exist_ok=True); (there/"refs"/branch).write_text(commit)

# --- names, licences, wholeness ---

@pytest.mark.parametrize("name", ["user", "a/b/c", "us er/x", "-a/b", "a/b.git", "a/b--c", "a/..", "", "a/", "/b", "a/b.", "é/x"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError) as heard: check_repo(name)
    one_sentence(heard, "user/name")

def test_what_may_not_be_passed_on_is_not(tmp_path, monkeypatch):
    facts = policy_facts(SHIPPED)
    def of(licence): monkeypatch.setattr(hub, "licence_of", lambda b: licence)
    of("cc-by-nd-4.0")
    with pytest.raises(UserError) as heard: write_folder(SHIPPED, tmp_path/"a")
    one_sentence(heard, "allows no changed copies")
    of("")
    with pytest.raises(UserError) as heard: write_folder(SHIPPED, tmp_path/"a")
    one_sentence(heard, "--licence")
    of("strange-1.0")
    with pytest.raises(UserError) as heard: write_folder(SHIPPED, tmp_path/"a")
    one_sentence(heard, "not known here")
    of("gemma")
    with pytest.raises(UserError) as heard: write_folder(SHIPPED, tmp_path/"a", licence="mit")
    one_sentence(heard, "stays with them")
    with pytest.raises(UserError) as heard: write_folder(SHIPPED, tmp_path/"a", licence="mitt")
    one_sentence(heard, "did you mean 'mit'")
    assert not (tmp_path/"a").exists() and not list(tmp_path.iterdir())
    write_folder(SHIPPED, tmp_path/"a")
    assert "gemma" in (tmp_path/"a"/"NOTICE").read_text() and "license: gemma" in (tmp_path/"a"/"README.md").read_text()
    assert facts.backbone.name == "mini-qwen3-vl"

def test_a_licence_is_read_from_a_folders_card(tmp_path):
    b = Backbone(name="own", label="Own", family="qwen3_vl", repo_id=str(tmp_path), params_b=1, color="#000000")
    assert licence_of(b) == ""
    (tmp_path/"README.md").write_text("---\nlicense: other\nlicense_name: ours-1.0\n---\n# x\nlicense: mit\n")
    assert licence_of(b) == "ours-1.0"
    (tmp_path/"README.md").write_text("---\nlicense: mit\n---\n"); assert licence_of(b) == "mit"

@pytest.mark.parametrize("how, part", [("no weights", "has no model.safetensors"), ("no json", "has no policy.json"),
                                       ("other weights", "half written"), ("no hash", "does not name its weights"),
                                       ("unknown backbone", "not known here"), ("vlm elsewhere", "not in its own folder")])
def test_a_folder_that_is_not_whole_is_not_sent(tmp_path, how, part):
    f = shutil.copytree(SHIPPED, tmp_path/"p"); said = json.loads((f/"policy.json").read_text())
    if how == "no weights": (f/"model.safetensors").unlink()
    if how == "no json": (f/"policy.json").unlink()
    if how == "other weights": (f/"model.safetensors").write_bytes((f/"model.safetensors").read_bytes()[:-9])
    changed = {"no hash": dict(weights=""), "unknown backbone": dict(backbone="my-own"), "vlm elsewhere": dict(vlm="0")}.get(how)
    if changed: (f/"policy.json").write_text(json.dumps(said | changed))
    with pytest.raises(UserError) as heard: write_folder(f, tmp_path/"to")
    one_sentence(heard, part); assert [p.name for p in tmp_path.iterdir()] == ["p"]

# --- card ---

def test_a_card_has_the_hubs_head_and_every_rate(tmp_path):
    from huggingface_hub import ModelCard
    facts = policy_facts(SHIPPED); text = model_card(facts, "someone/x"); head = ModelCard(text).data
    assert (head.license, head.library_name, head.pipeline_tag) == ("apache-2.0", "vlm4vla", "robotics")
    assert facts.said["weights"] in text and "someone/x" in text
    for r in (() if facts.rates is None else facts.rates[facts.rates.task == "all"].itertuples()):
        assert f"{r.value:.3f}" in text and f"[{r.ci_low:.3f}, {r.ci_high:.3f}]" in text
    if facts.rates is not None: assert len(head.eval_results) == (facts.rates.task == "all").sum()

def test_a_card_claims_nothing_that_is_not_recorded(tmp_path):
    f = tmp_path/"p"; f.mkdir()
    for n in ("policy.json", "model.safetensors"): shutil.copy(SHIPPED/n, f)
    said = json.loads((f/"policy.json").read_text()); del said["origin"]; (f/"policy.json").write_text(json.dumps(said))
    text = model_card(policy_facts(f, tmp_path/"empty"))
    assert text.count("not recorded") == 2 and "model-index" not in text

def test_rates_are_those_of_exactly_these_weights(tmp_path, root):
    "A run of the study, with other weights put in its place: no rate of it is claimed."
    f = tmp_path/"p"; f.mkdir()
    for n in ("policy.json", "model.safetensors"): shutil.copy(SHIPPED/n, f)
    assert policy_facts(f, root/"results").rates is None

# --- the folder and the hub ---

def test_a_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    def broken(*a): raise OSError(28, "No space left on device")
    monkeypatch.setattr(hub, "model_card", broken)
    with pytest.raises(OSError): write_folder(SHIPPED, tmp_path/"to")
    assert not list(tmp_path.iterdir())

def test_it_comes_back_by_name_from_what_the_machine_has(tmp_path, offline):
    files = dict(write_folder(SHIPPED, tmp_path/"to", "someone/placing"))
    assert {"README.md", "config.json", "policy.json", "model.safetensors", "policy_preprocessor.json"} <= {*files}
    cached(offline, "someone/placing", tmp_path/"to", "0123456789"*4)
    for said in ("someone/placing", "someone/placing@main", f"someone/placing@{'0123456789'*4}"):
        assert is_repo(said) and fetch_policy(said).name == "0123456789"*4
    a, b = (open_policy(p).act(IMAGE, ["pick up the block"]) for p in ("someone/placing", SHIPPED)); assert np.array_equal(a, b)

def test_what_is_not_there_without_a_network(offline):
    with pytest.raises(UserError) as heard: fetch_policy("someone/nowhere")
    one_sentence(heard, "someone/nowhere", "hub")

def test_another_kind_of_policy_is_told(tmp_path, offline):
    (tmp_path/"x").mkdir(); (tmp_path/"x"/"config.json").write_text('{"type": "act"}')
    cached(offline, "someone/act", tmp_path/"x", "a"*40)
    with pytest.raises(UserError) as heard: fetch_policy("someone/act")
    one_sentence(heard, "lerobot's own")

def test_a_backbone_of_ones_own_travels_with_its_policy(tmp_path):
    from vlm4vla.data.actions import ActionStats
    from vlm4vla.policy.own import _add, given_backbone
    from vlm4vla.policy.policy import Policy
    from vlm4vla.vlm.loading import image_facts, load_model, load_tokenizer
    tiny, own = backbones["tiny-qwen3-vl"], tmp_path/"vlm"; load_model(tiny, headless=False).save_pretrained(own)
    load_tokenizer(tiny).save_pretrained(own); facts = image_facts(tiny)
    said = dict(image_mean=facts["mean"], image_std=facts["std"], size=dict(height=facts["size"], width=facts["size"]))
    (own/"preprocessor_config.json").write_text(json.dumps(said)); (own/"README.md").write_text("---\nlicense: mit\n---\n")
    b = _add(given_backbone(f"travels={own}"))
    try:
        p = Policy(b, 2).eval(); p.stats = ActionStats.from_range(-.1, .1); p.save(tmp_path/"p"); want = p.act(IMAGE, ["go"])
        files = dict(write_folder(tmp_path/"p", tmp_path/"to"))
        assert "backbone/config.json" in files and not [n for n in files if n.startswith("backbone/") and n.endswith(".safetensors")]
        del backbones[b.name]; shutil.rmtree(own) # somewhere else
        assert np.array_equal(open_policy(tmp_path/"to").act(IMAGE, ["go"]), want)
    finally: backbones.pop(b.name, None)

def test_an_account_that_travels_names_no_folder_of_its_machine():
    whole = dict(run_id="mine__grinningface__base__s0", train=dict(settings=dict(HOME="/disk/me"),
        parameters=dict(experiment="/disk/me/plan", n=3),
        resolved=dict(backbone=dict(repo_id="~/vlms/mine", label="A/B"), inputs=[["/data/set", 1.5], None])))
    kept = hub._without_places(whole)
    assert "/disk" not in str(kept) and "~" not in str(kept) and "/data" not in str(kept)
    assert kept["train"] == dict(parameters=dict(experiment="plan", n=3), resolved=dict(backbone=dict(repo_id="mine", label="A/B"),
                                                                                       inputs=[["set", 1.5], None]))

def test_without_a_login_nothing_is_sent(offline):
    with pytest.raises(UserError) as heard: push_policy(SHIPPED, "someone/placing", say=lambda l: None)
    one_sentence(heard, "hf auth login")

class Double:
    "Stands for the hub's client: what is sent is kept, or refused. No hub is reached in any test."
    made, sent = [], {}
    def create_repo(self, repo, **kw): self.made.append((repo, kw))
    def upload_folder(self, repo_id, folder_path, commit_message):
        from types import SimpleNamespace
        self.sent[repo_id] = sorted(p.relative_to(folder_path).as_posix() for p in Path(folder_path).rglob("*") if p.is_file())
        return SimpleNamespace(oid="b"*40)

def test_what_is_said_is_what_is_sent(monkeypatch, offline):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, "HfApi", Double); monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x"); lines = []
    assert push_policy(SHIPPED, "someone/placing", say=lines.append) == f"someone/placing@{'b'*40}"
    assert Double.made == [("someone/placing", dict(private=True, exist_ok=True))]
    assert [l.split()[0] for l in lines[:-2]] == Double.sent["someone/placing"] and "only you" in lines[-1]

@pytest.mark.parametrize("status, part", [(401, "hf auth login"), (403, "hf auth login"), (500, "try again later")])
def test_what_the_hub_refuses_is_one_sentence(monkeypatch, offline, status, part):
    import httpx, huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError
    class Refuses(Double):
        def create_repo(self, repo, **kw):
            raise HfHubHTTPError("No.", response=httpx.Response(status, request=httpx.Request("POST", "https://hub.example")))
    monkeypatch.setattr(huggingface_hub, "HfApi", Refuses); monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x")
    with pytest.raises(UserError) as heard: push_policy(SHIPPED, "someone/placing", say=lambda l: None)
    one_sentence(heard, part)

@pytest.mark.parametrize("module", ["httpx", "httpx2", "requests.exceptions"])
def test_no_way_to_the_hub_is_one_sentence(monkeypatch, offline, module):
    import huggingface_hub
    class Away(Double):
        def create_repo(self, repo, **kw): raise type("ConnectError", (Exception,), dict(__module__=module))("no route")
    monkeypatch.setattr(huggingface_hub, "HfApi", Away); monkeypatch.setattr(huggingface_hub, "get_token", lambda: "x")
    with pytest.raises(UserError) as heard: push_policy(SHIPPED, "someone/placing", say=lambda l: None)
    one_sentence(heard, "out of reach", "--to FOLDER")

# --- lerobot ---

def test_the_plug_in_is_a_wheel_that_pip_reads(tmp_path):
    wheel = write_plugin(tmp_path); names = zipfile.ZipFile(wheel).namelist()
    have = {p.name for p in (assets_dir()/"lerobot"/"lerobot_policy_vlm4vla").glob("*.py")}
    assert {n.split("/")[1] for n in names if n.startswith("lerobot_policy_vlm4vla/")} == have
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--ignore-requires-python", "--target",
                           tmp_path/"site", wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "from importlib.metadata import distribution as d; print(d('lerobot_policy_vlm4vla').metadata['Name'])" # lerobot looks for the _
    env = {**os.environ, "PYTHONPATH": str(tmp_path/"site")}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert said.stdout.strip() == "lerobot_policy_vlm4vla", said.stderr

def test_a_batch_of_lerobot_shows_the_same_bytes():
    x = torch.from_numpy(IMAGE).permute(0, 3, 1, 2).float()/255
    images, said, extra = what_is_seen({"observation.images.primary": x, "observation.state": torch.ones(1, 7), "task": "go"}, ("state",))
    assert np.array_equal(images, IMAGE) and said == ["go"] and extra["state"].shape == (1, 7)
    for batch, part in (({"task": "go"}, "--rename_map"), ({"observation.images.primary": x}, "no task"),
                        ({"observation.images.primary": x[0], "task": "go"}, "3 × height")):
        with pytest.raises(UserError) as heard: what_is_seen(batch)
        one_sentence(heard, part)

def test_lerobots_files_follow_the_policy():
    said = json.loads((SHIPPED/"policy.json").read_text())
    more = lerobot_files(said | dict(views=2, states=dict(lo=[0]*7, hi=[1]*7)), 1)["config.json"]
    assert {*more["input_features"]} == {"observation.images.primary", "observation.images.wrist", "observation.state"}
    assert more["n_action_steps"] == 1 and more["input_features"]["observation.state"]["shape"] == [7]

@pytest.mark.parametrize("named, part", [("{d}/text", "cannot be started"), ("/bin/ls", "did not do it")])
def test_what_is_no_python_of_lerobot_is_one_sentence(monkeypatch, tmp_path, named, part):
    (tmp_path/"text").write_text("no program"); monkeypatch.setenv("VLM4VLA_LEROBOT", named.format(d=tmp_path))
    with pytest.raises(UserError) as heard: check_lerobot(SHIPPED, "grinningface")
    one_sentence(heard, part)

@pytest.mark.skipif(not os.environ.get("VLM4VLA_LEROBOT"),
                    reason=f"VLM4VLA_LEROBOT names no Python that has lerobot; make one with: {LEROBOT_HOW}")
def test_lerobot_itself_loads_and_rolls_out(tmp_path, root):
    write_folder(SHIPPED, tmp_path/"p"); data = root/".cache"/"data"/"grinningface-smoke"
    rows = compare_lerobot(tmp_path/"p", "grinningface", data if data.is_dir() else None, 2)
    assert not [r for r in rows if r["wrong"]], rows

# --- zoo and recordings ---

def test_the_zoo_holds_what_ships_and_what_is_recorded(root):
    animals, table = zoo(root/"results"), zoo_table(root/"results")
    assert {*shipped()} | {b.name for b in backbones.values() if b.kind == "mini"} <= {*animals} and list(table.index) == list(animals)
    for z in animals.values():
        if not z.ships or z.kind != "policy": continue
        assert z.weights == file_hash(shipped()[z.name]/"model.safetensors") and "n = 100" in table.rates[z.name]
        facts = policy_facts(shipped()[z.name], root/"nowhere"); assert facts.provenance["eval"]["inputs"]["weights"] == z.weights
    assert (table.weights.str.len() == 12).all()

def test_an_entry_that_is_not_built_says_how(tmp_path, root):
    run = next(n for n, z in zoo(root/"results").items() if z.kind == "policy" and not z.ships)
    shutil.copytree(root/"results", tmp_path/"r", ignore=shutil.ignore_patterns("checkpoints", "executed", "videos"))
    with pytest.raises(UserError) as heard: zoo_folder(run, tmp_path/"r")
    one_sentence(heard, "vlm4vla train"); assert zoo_state(run, tmp_path/"r") == "to build"
    (tmp_path/"r"/"checkpoints").mkdir(); shutil.copytree(SHIPPED, tmp_path/"r"/"checkpoints"/run)
    assert zoo_folder(run, tmp_path/"r").name == run and zoo_state(run, tmp_path/"r") == "built here: other bits"
    with pytest.raises(UserError) as heard: zoo_folder("grinningface-scrach")
    one_sentence(heard, "did you mean 'grinningface-scratch'?")

def test_loggers_that_take_no_rollouts(root):
    with pytest.raises(UserError) as heard: check_rollout_loggers("tensorboard")
    one_sentence(heard, "not rollouts")
    with pytest.raises(UserError) as heard: rollout_rows("mini-qwen3-vl__grinningface__base__s7", root/"results")
    one_sentence(heard, "has no episodes")

def record(run_id, out, root):
    from vlm4vla.results.tables import append, load
    rows = load("episodes", root/"results").query("run_id == 'mini-qwen3-vl__grinningface__base__s0'").head(20).assign(run_id=run_id)
    append("episodes", rows.to_dict("records"), out)

def test_rerun_gets_episodes_and_rollouts(tmp_path, root):
    pytest.importorskip("rerun", reason='rerun is not installed; get it with: pip install "vlm4vla[rerun]"')
    from vlm4vla.catalog.experiments import experiments
    from vlm4vla.sim.viewer import EpisodeRecord
    image = lambda i: np.full((32, 32, 3), i, np.uint8)
    episode = EpisodeRecord(name="x", image=image, steps=3, actions=np.zeros((2, 7)), instruction="go")
    assert write_recording([episode], tmp_path/"x.rrd").stat().st_size > 1000
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]; record(e.run_id, tmp_path/"out", root)
    log_rollouts("rerun", e, tmp_path/"out")
    assert (tmp_path/"out"/"recordings"/f"{e.run_id}.rrd").stat().st_size > 1000

def test_wandb_gets_a_table_of_rollouts(tmp_path, root, monkeypatch):
    pytest.importorskip("wandb", reason='wandb is not installed; get it with: pip install "vlm4vla[wandb]"')
    from vlm4vla.catalog.experiments import experiments
    monkeypatch.setenv("WANDB_MODE", "offline"); monkeypatch.setenv("WANDB_SILENT", "true")
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]; record(e.run_id, tmp_path, root); log_rollouts("wandb", e, tmp_path)
    tables = list(tmp_path.rglob("*rollouts*.table.json")); assert len(json.loads(tables[0].read_text())["data"]) == 20
