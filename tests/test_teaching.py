"A VLM that is taught a task: to the bit after a kill, merged as it was, frozen where it says so, made before what needs it."
import json, signal, subprocess, sys, time
from functools import partial
from pathlib import Path
import numpy as np, pytest
torch = pytest.importorskip("torch")
from toys import notebook
from vlm4vla.auxiliary.records import Record, Turn, read_records, write_records
from vlm4vla.auxiliary.teaching import (_part, _record, add_action_words, hold_still, read_mixture, record_row, take_action_words, teach,
                                        tower_layers)
from vlm4vla.auxiliary.tuned import BESIDE, Pupil, finish_tuned
from vlm4vla.catalog.auxiliary import AuxData, aux_data
from vlm4vla.catalog.backbones import TUNED, backbones
from vlm4vla.catalog.experiments import Experiment, experiments
from vlm4vla.catalog.tunings import check_tuned, is_tuned, tuning
from vlm4vla.core import UserError
from vlm4vla.launch.sweep import sweep
from vlm4vla.results.tables import load
from vlm4vla.training.adapters import add_adapters, remove_adapters
from vlm4vla.vlm.family import families, part_of
from vlm4vla.vlm.loading import Encoder, load_config, load_model

TINY = [b.name for b in backbones.values() if b.kind == "tiny"]
NAME = "tiny-qwen2.5-vl+robopoint"

def toy_set(folder, task="robopoint", n=6, tokens=False):
    images = {f"{i}.png": np.full((32, 32, 3), 40*i, np.uint8) for i in range(n)}
    said = lambda i: [Turn("what next ?", f"<robot_action_{i % 3}><robot_action_2>", "tokens", "next actions")] if tokens else \
        [Turn("how bright ?", str(40*i), "number", "light"), Turn("where ?", f"[(0.{i}, 0.5)]", "points", "place"), Turn("more ?", "no")]
    return write_records(folder, task, [Record(str(i), (f"{i}.png",), tuple(said(i))) for i in range(n)], images)

@pytest.fixture(scope="module")
def toy(tmp_path_factory): return read_records(toy_set(tmp_path_factory.mktemp("toy")/"set"))

def tiny(name="tiny-qwen2.5-vl", seed=0):
    torch.manual_seed(seed); return load_model(backbones[name], headless=False).eval(), Encoder(name)

def weights(model): return {n: w.clone() for n, w in model.state_dict().items()}

def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)

# --- teaching --------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["full", "lora", "quarter"])
def test_a_teaching_that_was_cut_off_ends_to_the_bit(toy, tmp_path, how):
    ends = []
    for stops in ((), (2, 3)):
        for stop in (*stops, None):
            model, enc = tiny() # a new process begins with the base again
            log = teach(model, enc, toy, steps=5, batch_size=3, lr=1e-2, how=how, lora_rank=2, turns=2, schedule="cosine", warmup=1,
                        checkpoint_every=1, log_every=1, folder=tmp_path/str(len(stops)), stop_at=stop)
        ends.append((weights(model), log))
    assert same(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    with pytest.raises(UserError, match="made with other turns"):
        teach(*tiny(), toy, steps=5, batch_size=3, lr=1e-2, how=how, lora_rank=2, turns=1, schedule="cosine", warmup=1,
              folder=tmp_path/"0")

@pytest.mark.parametrize("name", ["tiny-qwen2.5-vl", "tiny-qwen3-vl-moe", "tiny-kosmos-2"])
def test_merged_adapters_are_what_they_stood_beside(toy, name):
    model, enc = tiny(name); before, names = weights(model), [n for n, _ in model.named_parameters()]
    inputs, _ = _part(enc, [record_row(enc, toy[0].turns)], [toy.image(0, enc.facts["size"])], "cpu")
    add_adapters(model, 2); torch.manual_seed(1)
    with torch.no_grad():
        for n, w in model.named_parameters():
            if "lora_B" in n: w.normal_(std=.05)
        beside = model(**inputs).logits
        remove_adapters(model); merged = model(**inputs).logits
    assert [n for n, _ in model.named_parameters()] == names and all(w.requires_grad for w in model.parameters())
    assert not same(before, weights(model)) and (beside - merged).abs().max() < 1e-4*merged.abs().max()

@pytest.mark.parametrize("name", ["tiny-qwen2.5-vl", "tiny-paligemma", "tiny-openvla"])
def test_a_way_holds_still_what_it_says(toy, name):
    family = families[backbones[name].family]
    for how, freeze in (("quarter", False), ("full", True)):
        model, enc = tiny(name); before = weights(model)
        teach(model, enc, toy, steps=2, batch_size=2, lr=1e-2, how=how, freeze_vision=freeze)
        moved = {n for n, w in model.state_dict().items() if not torch.equal(w, before[n])}
        vision = {n for n, _ in model.named_parameters() if part_of(family, n) == "vision"}
        if freeze: assert not moved & vision and moved; continue
        stacks = tower_layers(model, family); last = {n for s in stacks for n in s[-1]}
        assert not moved & {n for s in stacks for layer in s[:-1] for n in layer} # two layers, so the last is the last quarter
        assert moved & last and any(part_of(family, n) == "language" for n in moved)

def test_parts_of_a_batch_add_up_to_it(toy):
    ends = []
    for micro in (0, 1):
        model, enc = tiny(); teach(model, enc, toy, steps=2, batch_size=3, lr=1e-3, micro_batch=micro, grad_clip=1.)
        ends.append(weights(model))
    assert max(float((ends[0][n] - ends[1][n]).abs().max()) for n in ends[0]) < 1e-4

@pytest.mark.parametrize("name", TINY)
def test_words_for_actions_come_and_go(name):
    model, _ = tiny(name); before = weights(model); first = add_action_words(model, 3, seed=1)
    taken = take_action_words(model, first)
    assert same(before, weights(model)) and all(len(w) == 3 for w in taken.values())
    again = add_action_words(model, 3, given=taken)
    assert again == first and torch.equal(model.get_input_embeddings().weight[first:], taken["words_in"])

def test_what_cannot_be_taught_is_told(toy, tmp_path):
    empty = read_records(write_records(tmp_path/"e", "robopoint", [Record("0", ("0.png",), (Turn("?", ""),), {})],
                                       {"0.png": np.zeros((8, 8, 3), np.uint8)}))
    for call, part in ((lambda: hold_still(*tiny()[:1], families["qwen2_5_vl"], "some"), "no way 'some'"),
                       (lambda: _record(empty, 0, 5, None), "No record of"), (lambda: read_mixture(" , "), "No set is named"),
                       (lambda: read_mixture("nowhere"), "nowhere"), (lambda: read_mixture("tabletop-robopoint:0"), "weight of")):
        with pytest.raises(UserError, match=part): call()

# --- names and folders -----------------------------------------------------------------------------------------------------------------

def test_a_taught_backbone_is_named_by_base_task_and_way():
    b = backbones["qwen2.5-vl-3b+tabletop-robopoint-lora-freeze-vision"]
    assert (b.kind, b.base, b.taught, b.how, b.freeze_vision) == ("tuned", "qwen2.5-vl-3b", "tabletop-robopoint", "lora", True)
    assert load_config(backbones[NAME]).to_dict() == load_config(backbones["tiny-qwen2.5-vl"]).to_dict()
    run = f"{NAME}__grinningface__smoke__s1"
    assert run in experiments and experiments[run] == Experiment(NAME, "grinningface", "smoke", 1) and experiments[run].run_id == run
    assert NAME in backbones and NAME not in list(backbones) and backbones.get("tiny-qwen2.5-vl+nothing") is None

@pytest.mark.parametrize("name, part", [
    ("mini-qwen2.5-vl+robopont", "did you mean 'robopoint'"), ("mini-qwen2.5-vl+robopoint-lroa", "did you mean 'robopoint-lora'"),
    ("mini-qwen2.5-vl+robopoint-quarter-freeze-vision", "nothing called"), ("mini-qwen2-vl+fast", "did you mean 'mini-qwen"),
    ("mini-qwen2.5-vl+", "nothing called ''"), ("+robopoint", "There is no backbone"), (f"mini-qwen2.5-vl{'+vica332k'*7}", "more than 64")])
def test_a_wrong_part_of_a_name_is_told(name, part):
    with pytest.raises(UserError, match=part.replace("+", r"\+")): backbones[name]
    assert name not in backbones

@pytest.fixture
def cache(tmp_path, monkeypatch, toy):
    "A cache of its own, and a miniature that is there at once."
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"cache"))
    for task, tokens in (("robopoint", False), ("fast", True)):
        make = lambda folder, *_, made=partial(toy_set, task=task, tokens=tokens): folder if Path(folder).is_dir() else made(folder)
        monkeypatch.setitem(aux_data, f"tabletop-{task}", AuxData(name=f"tabletop-{task}", task=task, suite="grinningface", make=make))
    return tmp_path/"cache"

def taught(name):
    b = backbones[name]; t = tuning(b); sets = read_mixture(t.data, t.records); p = Pupil.new(backbones[b.base], [s for s, _ in sets])
    p.learn(sets, t); p.rounded().keep(b.place); finish_tuned(b.place, name, backbones[b.base], t, sets, [])
    return p

def test_a_folder_loads_by_its_name_and_not_after_another_recipe(cache):
    b = backbones[NAME]
    with pytest.raises(UserError, match="is not in .* yet; `vlm4vla run` makes it"): load_model(b)
    assert not is_tuned(b); p = taught(NAME); assert is_tuned(b)
    got = load_model(b).state_dict()
    assert all(torch.equal(w, p.model.state_dict()[f"model.{n}"]) for n, w in got.items())
    said = json.loads((b.place/TUNED).read_text()); said["recipe"]["lr"] = .5; (b.place/TUNED).write_text(json.dumps(said))
    with pytest.raises(UserError, match="made by another recipe .lr was 0.5"): load_model(b)
    (b.place/TUNED).write_text("{"); pytest.raises(UserError, check_tuned, b)

def test_action_words_lie_beside_and_are_found_again(cache):
    p = taught("tiny-qwen2.5-vl+fast"); b = backbones["tiny-qwen2.5-vl+fast"]
    assert p.words == 3 and (b.place/BESIDE).is_file()
    base, made = (load_model(backbones[n], headless=False).get_input_embeddings().num_embeddings for n in (b.base, b.name))
    again = Pupil.new(b)
    assert base == made and again.words == 3 and again.first == base
    assert torch.equal(again.model.get_input_embeddings().weight[base:], p.model.get_input_embeddings().weight[base:])
    assert Pupil.new(backbones["tiny-qwen2.5-vl"]).words == 0

# --- a sweep ---------------------------------------------------------------------------------------------------------------------------

DONE = """
import json, time
from dataclasses import asdict
from pathlib import Path
from vlm4vla.results.tables import append, done_keys
out = Path(out)
def note(run_id, kind, checkpoint="", **kw):
    with open(out/"starts.txt", "a") as f: f.write(f"{kind} {run_id}\\n")
    append("runs", [dict(run_id=run_id, kind=kind, backbone="", benchmark="", variant="", seed=0, step=1, checkpoint=checkpoint,
                         status="done", git_sha="", started="", seconds=0.)], out, replace=True)
"""
TEACH = """
from vlm4vla.catalog.backbones import TUNED, backbones
from vlm4vla.catalog.tunings import tuning
if (out/"broken").exists(): raise ValueError("the toy cannot be taught")
b = backbones[tuned]; time.sleep(.5); b.place.mkdir(parents=True, exist_ok=True)
append("vqa_measured", [dict(run_id=tuned, backbone=tuned, vqa_benchmark="toy", split="test", kind="k", metric="exact", value=.5, ci_low=0.,
                             ci_high=1., n=2)], out, replace=True)
(b.place/TUNED).write_text(json.dumps(dict(recipe=asdict(tuning(b)), weights="w"))); note(tuned, "vlm_sft", "w")
"""
TRAIN = """
from vlm4vla.catalog.backbones import backbones
e = experiments[experiment]; b = backbones[e.backbone]; assert b.kind == "tiny" or b.source; time.sleep(.5)
folder = out/"checkpoints"/e.run_id; folder.mkdir(parents=True, exist_ok=True); (folder/"model.safetensors").write_text("w")
note(e.run_id, "train")
"""
EVALUATE = """
e = experiments[experiment]
for split in benchmarks[e.benchmark].splits:
    for i in range(e.recipe.eval_episodes):
        row = dict(run_id=e.run_id, benchmark=e.benchmark, split=split, task="place", episode=i, chunk_mode="5 of 10", success=i % 2 == 0,
                   n_steps=1, seconds=0.)
        if (e.run_id, e.benchmark, split, "place", i, "5 of 10") not in done_keys(e.run_id, out): append("episodes", [row], out)
note(e.run_id, "eval")
"""
KNOW = "from vlm4vla.catalog.experiments import experiments\nfrom vlm4vla.catalog.benchmarks import benchmarks\n"
IDS = [f"{NAME}__grinningface__smoke__s{i}" for i in range(2)]

@pytest.fixture
def runs(tmp_path, cache):
    folder = tmp_path/"runs"; folder.mkdir()
    notebook(folder/"vlm_sft.ipynb", 'tuned:str = "" # which\nout:str = "" # where', DONE, TEACH)
    for name, body in (("train", TRAIN), ("evaluate", EVALUATE)):
        notebook(folder/f"{name}.ipynb", 'experiment:str = "" # which\nout:str = "" # where', KNOW + DONE, body)
    return folder

def rows(out): return tuple((out/n).read_bytes() for n in ("episodes.parquet", "runs.csv", "scores.csv", "vqa_measured.csv"))

def starts(out): return (out/"starts.txt").read_text().split("\n")[:-1] if (out/"starts.txt").exists() else []

def test_a_backbone_is_taught_once_before_what_needs_it_and_a_failure_stops_that_alone(runs, tmp_path):
    out, plain = tmp_path/"out", "tiny-qwen2.5-vl__grinningface__smoke__s0"; out.mkdir(); (out/"broken").touch()
    report = sweep([*IDS, plain], out, jobs=2, notebooks=runs).set_index(["run_id", "notebook"])
    assert report.loc[(NAME, "vlm_sft")].status == "failed" and "cannot be taught" in report.loc[(NAME, "vlm_sft")].error
    for e in IDS: assert report.loc[(e, "train")].error == f"the making of {NAME} did not succeed"
    assert (report.loc[plain].status == "done").all() and starts(out) == [f"{k} {plain}" for k in ("train", "eval")]
    (out/"broken").unlink(); assert (sweep(IDS, out, jobs=2, notebooks=runs).status == "done").all()
    assert [s for s in starts(out) if s.startswith("vlm_sft")] == [f"vlm_sft {NAME}"] and not len(sweep(IDS, out, notebooks=runs))
    from vlm4vla.launch.status import status
    table = status(IDS, out).set_index(["run_id", "notebook"]).state
    assert table.iloc[0] == "done" and table.index[0] == (NAME, "vlm_sft") and (table == "done").all()
    from vlm4vla.launch.tunings import plan_tunings
    assert plan_tunings([experiments[i] for i in IDS], tmp_path/"other").vlm_sft.tolist() == ["to do"] # other tables get its rows, too

KILLED = "import sys; from vlm4vla.launch.sweep import sweep; sweep(sys.argv[3:], sys.argv[1], jobs=2, notebooks=sys.argv[2])"

def test_a_chain_that_was_killed_twice_ends_with_the_same_rows(runs, tmp_path, root, monkeypatch):
    calm, out = tmp_path/"calm", tmp_path/"out"; calm.mkdir(); out.mkdir()
    assert (sweep(IDS, calm, jobs=2, notebooks=runs).status == "done").all()
    monkeypatch.setenv("VLM4VLA_CACHE", str(tmp_path/"second"))
    for wait in (lambda: (out/"executed"/f"{NAME}.vlm_sft.ipynb").exists(), lambda: f"vlm_sft {NAME}" in starts(out)):
        p = subprocess.Popen([sys.executable, "-c", KILLED, str(out), str(runs), *IDS], cwd=root, stderr=subprocess.DEVNULL)
        until = time.time() + 100
        while not wait() and time.time() < until: time.sleep(.05)
        assert p.poll() is None; p.send_signal(signal.SIGKILL); p.wait()
    assert (sweep(IDS, out, jobs=2, notebooks=runs).status == "done").all()
    assert rows(out) == rows(calm)

# --- a cluster, a plan -----------------------------------------------------------------------------------------------------------------

def test_jobs_wait_for_the_teaching_of_their_backbone(tmp_path, monkeypatch, cache):
    from vlm4vla.launch import slurm
    handed = []
    def array(out, r, name, work, gpus=0, nodes=1, dependency="", whole=False):
        ids = [f"{len(handed) + 1}_{k}" if len(work) > 1 else str(len(handed) + 1) for k in range(len(work))]
        handed.append((name, [(j.run_id, j.notebook) for j in work], dependency)); return ids
    monkeypatch.setattr(slurm, "_array", array); monkeypatch.setattr(slurm, "jobs", lambda out, last=False: load_jobs())
    import pandas as pd
    def load_jobs(): return pd.DataFrame(columns=["run_id", "notebook", "shard", "job", "state", "reason", "node"])
    plain, twice = "tiny-qwen3-vl__grinningface__smoke__s0", f"{NAME}+fast__grinningface__smoke__s0"
    slurm.submit([*IDS, plain, twice], tmp_path, slurm.Request())
    assert handed[:2] == [("teach", [(NAME, "vlm_sft")], ""), ("teach", [(f"{NAME}+fast", "vlm_sft")], "afterok:1")]
    assert handed[2:5] == [("train", [(e, "train") for e in IDS], "afterok:1"), ("train", [(plain, "train")], ""),
                           ("train", [(twice, "train")], "afterok:2")]
    assert [h[0] for h in handed[5:]] == ["evaluate"]*3 + ["finish"]

def test_a_plan_prices_the_teaching_of_a_hub_model_too():
    from vlm4vla.paper.cost import teaching
    from vlm4vla.policy.plan import teaching_counts
    full, lora, quarter = (teaching_counts(backbones[f"qwen2.5-vl-3b+robopoint{w}"]) for w in ("", "-lora", "-quarter"))
    assert lora.trained < .1*quarter.trained < .1*full.trained and quarter.flops < full.flops
    assert 1 < teaching("qwen2.5-vl-3b+robopoint", "h100", 8)["train_gpu_hours"] < 1000
