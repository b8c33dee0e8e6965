"Doors to other people's tools: what is served, asked and imported, with the others' own packages, and whatever can go wrong on a line."
import asyncio, json, logging, os, socket, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pytest
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.benchmarks import benchmarks
from vlm4vla.catalog.experiments import variants
from vlm4vla.core import UserError
from vlm4vla.outside.forms import read_observation, to_ours, to_theirs, wire_forms
from vlm4vla.outside.imported import import_results
from vlm4vla.outside.remote import RemotePolicy, evaluate_remote, read_address
from vlm4vla.results.scores import check
from vlm4vla.results.tables import load
vla_eval = pytest.importorskip("vla_eval", reason="vla-eval is not installed (pip install 'vlm4vla[serve]')")
from vla_eval.connection import Connection
from vlm4vla.outside.registered import RegisteredBenchmark, run_harness
from vlm4vla.outside.serve import PolicyServer, listen, load_policy

CARRY = benchmarks["grinningface-carry"]
IMAGE = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
LONG = 900. # seconds that nobody waits for on an idle machine

@pytest.fixture(scope="module")
def policy():
    pytest.importorskip("torch")
    return load_policy("grinningface-pretrained")[0]

def seen(image=IMAGE, text="pick the block and place it on pizza"): return dict(images=dict(primary=image), task_description=text)
def start(episode, **task): return dict(task=dict(episode_idx=episode, **task))
def ran(f): # beside whatever loop there is
    with ThreadPoolExecutor(1) as beside: return beside.submit(asyncio.run, f).result()
def address(url): return url.replace("ws://", "vla-eval://")

@pytest.fixture
def forgotten():
    "What a remote policy registers is gone afterwards."
    before = set(backbones), set(variants)
    yield
    for registry, kept in zip((backbones, variants), before):
        for n in set(registry) - kept: del registry[n]

# --- the same episodes in both houses ---

@pytest.fixture(scope="module")
def measured(policy, tmp_path_factory):
    "Two episodes: rolled out here, by vla-eval's harness, and here again with the policy behind vla-eval's server."
    from vlm4vla.sim.rollout import rollout
    d = tmp_path_factory.mktemp("measured"); before = set(backbones), set(variants)
    here = rollout(policy, CARRY, "id", 2, workers=1)
    entry = dict(benchmark="vlm4vla.outside.registered:RegisteredBenchmark", episodes_per_task=2, params=dict(benchmark=CARRY.name))
    with listen(PolicyServer(policy, CARRY.name, name="shipped"), say=str) as url:
        theirs = run_harness(dict(server=dict(timeout=LONG), render="cpu", benchmarks=[entry]), url, output_dir=str(d/"theirs"))
        done = evaluate_remote(f"away={address(url)}", CARRY.name, d/"away", "eval_episodes=2", workers=2, timeout=LONG)
    for registry, kept in zip((backbones, variants), before):
        for n in set(registry) - kept: del registry[n]
    return d, here, theirs, done

def test_vla_evals_harness_measures_what_we_measure(measured):
    d, here, (body,), _ = measured; episodes = body["tasks"][0]["episodes"]
    assert not body["num_errors"] and body["server_info"]["model_server"] == "PolicyServer"
    assert [(e["metrics"]["success"], e["metrics"]["n_steps"]) for e in episodes] == [(r["success"], r["n_steps"]) for r in here]
    assert [e["steps"] for e in episodes] == [-(-r["n_steps"]//5) for r in here], "whole chunks are handed on"
    assert {"mean_success", "mean_execution"} <= set(body) and episodes[0]["metrics"]["chunk"] == "5 of 10"

def test_its_results_become_rows_with_an_account(measured, tmp_path):
    d, here, _, _ = measured; run_id = "shipped__grinningface-carry__vla-eval__s0"
    assert import_results(d/"theirs", tmp_path) == {run_id: dict(episodes=2, failures=0)}
    rows = load("episodes", tmp_path)
    same = ["task", "episode", "split", "chunk_mode", "success", "n_steps"]
    assert rows[same].to_dict("records") == [{k: r[k] for k in same} for r in here]
    assert check(tmp_path) == [] and set(load("scores", tmp_path).metric) >= {"success", "execution"}
    account = json.loads((tmp_path/"provenance"/f"{run_id}.json").read_text())["eval"]
    assert len(account["inputs"]["files"]) == 1 and account["resolved"]["vla_eval"][0]["harness_version"] == vla_eval.__version__
    with pytest.raises(UserError, match="give this one another name with --name"): import_results(d/"theirs", tmp_path)
    from vlm4vla.results.tables import append
    append("episodes", [dict(r, run_id="ours__grinningface-carry__base__s0") for r in here], tmp_path)
    from vlm4vla.results.compare import compare_runs
    paired = compare_runs(run_id, "ours__grinningface-carry__base__s0", tmp_path).paired
    assert (paired[paired.metric == "success"].difference == 0).all() and len(paired)

def test_a_policy_at_an_address_measures_the_same(measured):
    d, here, _, done = measured; rows = load("episodes", d/"away"); mine = rows[rows.split == "id"]
    assert list(zip(mine.success, mine.n_steps)) == [(r["success"], r["n_steps"]) for r in here]
    told = [json.loads(t) for t in rows.detail]
    assert all(t["asked"] >= 1 and t["waited"] > 0 for t in told) and done["asked"] >= 1 and done["p95_ms"] >= done["median_ms"] > 0
    assert check(d/"away") == [] and set(rows.run_id) == {done["run_id"]}
    assert done["run_id"] == "away__grinningface-carry__remote-5+eval_episodes-2__s0"
    account = json.loads((d/"away"/"provenance"/f"{done['run_id']}.json").read_text())["eval"]
    assert account["inputs"]["says"]["observation_params"]["policy"] == "shipped" and account["inputs"]["asked"] == done["asked"]

# --- conventions ---

@pytest.mark.parametrize("suite", ["libero", "simpler", "calvin", ""])
def test_declared_conventions_are_those_of_vla_evals_benchmarks(policy, suite):
    "Cameras and the state are what its benchmark declares; so are numbers, but for SimplerEnv, whose code does otherwise than it declares."
    from vla_eval.specs import check_specs
    b = next(b for b in benchmarks.values() if b.suite == (suite or "grinningface"))
    server = PolicyServer(policy, b.name)
    if suite == "libero": from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark as theirs
    elif suite == "simpler": from vla_eval.benchmarks.simpler.benchmark import SimplerEnvBenchmark as theirs
    elif suite == "calvin": from vla_eval.benchmarks.calvin.benchmark import CALVINBenchmark as theirs
    else: theirs = RegisteredBenchmark
    bench = theirs(**{k: v for k, v in server.get_observation_params().items()})
    odd = check_specs(server.get_action_spec(), bench.get_action_spec(), server.get_observation_spec(), bench.get_observation_spec())
    assert len(odd) == (2 if suite == "simpler" else 0), odd

def test_a_policy_that_reads_the_state_asks_for_what_libero_sends(policy, monkeypatch):
    monkeypatch.setattr(type(policy), "observes", ("state", "wrist"))
    server = PolicyServer(policy, "libero-10")
    assert server.get_observation_params() == dict(send_state=True, quat_no_antipodal=True, send_wrist_image=True)
    obs = dict(images=dict(agentview=IMAGE, wrist=IMAGE), states=np.arange(8.), task_description="go")
    image, text, more = read_observation(obs, server.form, server.policy.observes)
    assert text == "go" and more["state"].tolist() == list(range(8)) and more["wrist"] is not None

@pytest.mark.parametrize("name, opens", [("vla-eval libero", -1), ("vla-eval simpler", 1), ("vla-eval calvin", 1), ("openpi libero", -1)])
def test_a_gripper_opens_where_it_should(name, opens):
    b = next(b for b in benchmarks.values() if name.endswith(f" {b.suite}"))
    a = np.array([[.01, -.02, .03, .1, -.2, .3, b.action_hi[6]], [0, 0, 0, 0, 0, 0, b.action_lo[6]]])
    there = to_theirs(a, wire_forms[name], b)
    assert there[0, 6] == opens and there[1, 6] != opens
    assert np.allclose(to_ours(there, wire_forms[name], b), a, atol=1e-6)

# --- a line that fails ---

class Toy:
    "Moves ahead; of which batch it was asked is noted."
    facts, observes = dict(chunk_size=4, image_size=16), ()
    class origin: facts = dict(benchmark="grinningface-carry")
    def act(self, images, instructions, extra=None): return np.ones((len(images), 4, 7), np.float32)*.01

def test_two_clients_share_a_batch_and_a_wrong_one_takes_nothing_from_the_other():
    server = PolicyServer(Toy(), batch_size=2, patience=LONG) # all batches but the first wait until they are full
    async def both(url):
        async with Connection(url, timeout=LONG) as a, Connection(url, timeout=LONG) as b, Connection(url, timeout=LONG) as c:
            for i, x in enumerate((a, b, c)): await x.start_episode(start(i, takes_chunks=True))
            await a.act(seen()); first = asyncio.create_task(a.act(seen()))
            for bad in (dict(images={}), seen(IMAGE[..., 0]), seen(text=""), seen(IMAGE.astype(np.float32))):
                with pytest.raises(RuntimeError, match="observation_failed: UserError: The "): await c.act(bad)
            second = await b.act(seen()) # fills the batch that the first waits in
            return await first, second
    with listen(server, say=str) as url: one, two = ran(both(url))
    assert one["actions"].shape == two["actions"].shape == (4, 7) and server.calls == [1, 2]

def test_a_client_that_vanishes_leaves_the_others_alone():
    server = PolicyServer(Toy(), n_action_steps=3)
    async def leave(url):
        c = Connection(url, timeout=LONG); await c.connect(); await c.start_episode(start(5)); await c.act(seen())
        c._ws.transport.abort() # no goodbye
    async def stay(url):
        async with Connection(url, timeout=LONG) as c:
            await c.start_episode(start(1)); return [(await c.act(seen()))["actions"].shape for _ in range(4)]
    with listen(server, say=str) as url:
        ran(leave(url)); assert ran(stay(url)) == [(7,)]*4
        until = time.monotonic() + 60
        while server._chunk_buffers and time.monotonic() < until: time.sleep(.05)
    assert not server._chunk_buffers and not server.places and server.calls == [1, 1, 1], "its episode is forgotten, chunks are per session"

def test_a_server_says_where_it_listens_and_who_can_hear():
    told = []
    with listen(PolicyServer(Toy(), name="toy"), say=told.append) as url:
        port = int(url.rsplit(":", 1)[1]); assert told[0].startswith("toy (grinningface-carry, 4 of 4 actions) listens at ws://127.0.0.1:")
        with pytest.raises(UserError, match="Nothing can listen at 127.0.0.1:.* name another --port"):
            with listen(PolicyServer(Toy()), port=port, say=str): pass
    with listen(PolicyServer(Toy()), "0.0.0.0", say=told.append): assert "for everybody who can reach this machine" in told[1]
    with pytest.raises(UserError, match="name another --port"):
        with listen(PolicyServer(Toy()), port=99999, say=str): pass

@pytest.fixture
def answering():
    "A websocket server whose handler is given; ended afterwards."
    from websockets.sync.server import serve
    servers = []
    def begin(handler):
        s = serve(handler, "127.0.0.1", 0, compression=None, max_size=None); servers.append(s)
        threading.Thread(target=s.serve_forever, daemon=True).start()
        return "openpi://127.0.0.1:{}".format(s.socket.getsockname()[1])
    yield begin
    for s in servers: s.shutdown()

def openpi(actions=None, metadata=b"\x80", times=9):
    "A handler in openpi's protocol: metadata first, then an answer each."
    import msgpack
    from vlm4vla.outside.remote import _pack_array
    def handle(ws):
        ws.send(metadata)
        packed = actions if isinstance(actions, str) else msgpack.packb(actions, default=_pack_array)
        for _, message in zip(range(times), ws): ws.send(packed)
    return handle

@pytest.mark.parametrize("answer, words", [
    (dict(actions=np.zeros((5, 14))), r"actions of type float64 and shape \(5, 14\) where \(any, 7\)"),
    (dict(actions=np.full((5, 7), np.nan)), "not finite"),
    (dict(action=1), "answered with no actions"), ([1, 2], "answered with no actions"),
    (dict(actions=["left"]), "type <U4"),
    ("Traceback …\nRuntimeError: CUDA out of memory.", "failed: RuntimeError: CUDA out of memory; its own log says more")])
def test_a_strange_answer_is_a_sentence(answering, answer, words):
    with RemotePolicy(answering(openpi(answer)), CARRY, LONG) as remote, pytest.raises(UserError, match=words): remote.try_out()

def test_arrays_that_would_unpickle_are_refused(answering):
    import msgpack
    evil = msgpack.packb({b"__ndarray__": True, b"data": b"x"*8, b"dtype": "|O", b"shape": [1]})
    with pytest.raises(UserError, match="is no openpi message"): RemotePolicy(answering(openpi(metadata=evil)), CARRY, LONG)

def test_a_server_that_is_absent_slow_gone_or_something_else_is_a_sentence(answering):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); free = s.getsockname()[1]
        with pytest.raises(UserError, match="No policy answers at openpi://127.0.0.1"):
            RemotePolicy(f"openpi://127.0.0.1:{free}", CARRY, 5.)
    with pytest.raises(UserError, match="has not answered within 0.2 s; give it longer with --timeout"):
        RemotePolicy(answering(lambda ws: time.sleep(2)), CARRY, .2)
    with RemotePolicy(answering(openpi(times=0)), CARRY, LONG) as remote, pytest.raises(UserError, match="has hung up"): remote.try_out()
    with pytest.raises(UserError, match="no openpi message|no greeting"): RemotePolicy(answering(openpi(metadata=b"\xc1")), CARRY, LONG)
    with listen(PolicyServer(Toy()), say=str) as url, pytest.raises(UserError, match="has not answered within 0.3 s"):
        RemotePolicy(url.replace("ws", "openpi"), CARRY, .3) # both wait for the other to speak
    with pytest.raises(UserError, match="is no vla-eval message|no greeting"):
        RemotePolicy(answering(openpi()).replace("openpi", "vla-eval"), CARRY, LONG)

class Slow(Toy):
    "Hangs up after a few answers."
    def __init__(self, answers): self.left = answers
    def act(self, images, instructions, extra=None):
        self.left -= 1
        if self.left < 0: raise RuntimeError("the machine room is on fire")
        return super().act(images, instructions, extra)

def test_what_was_measured_is_kept_and_the_same_command_goes_on(forgotten, tmp_path):
    with listen(PolicyServer(Slow(11), name="slow"), say=str) as url:
        with pytest.raises(UserError, match="on fire"):
            evaluate_remote(address(url), CARRY.name, tmp_path, "eval_episodes=1", workers=1, timeout=LONG)
    assert list(load("episodes", tmp_path).n_steps) == [40] and load("runs", tmp_path).status.tolist() == ["failed"]
    with listen(PolicyServer(Slow(99), name="slow"), say=str) as url:
        done = evaluate_remote(address(url), CARRY.name, tmp_path, "eval_episodes=1", workers=1, timeout=LONG)
    assert done["episodes"] == 1 and len(load("episodes", tmp_path)) == 2 and check(tmp_path) == []
    other = PolicyServer(Slow(99), name="slow"); other.get_observation_params = lambda: dict(policy="slow", chunk="something else")
    with listen(other, say=str) as url, pytest.raises(UserError, match="rolled out with another policy"):
        evaluate_remote(address(url), CARRY.name, tmp_path, "eval_episodes=1", workers=1, timeout=LONG)

def test_bad_input_is_a_sentence(policy):
    for wrong, words in (("ws://h:1", "write openpi://h:1"), ("openpi://h", "write openpi://host:port"), ("tcp://h:1", "no address")):
        with pytest.raises(UserError, match=words): read_address(wrong)
    with pytest.raises(UserError, match="it cannot execute 11"): PolicyServer(policy, n_action_steps=11)
    with pytest.raises(UserError, match="no policy 'nobody'"): load_policy("nobody")
    with pytest.raises(UserError, match="render: cpu"): RegisteredBenchmark.configure_render("gpu")

@pytest.mark.parametrize("words, said", [
    (["evaluate", "openpi://127.0.0.1:1"], "add --benchmark"),
    (["evaluate", "ws://127.0.0.1:1", "--benchmark", "grinningface"], "write openpi://127.0.0.1:1 or vla-eval://127.0.0.1:1"),
    (["evaluate", "openpi://127.0.0.1:1", "--benchmark", "grinningface", "--timeout", "soon"], "give a number of seconds"),
    (["serve", "nobody"], "no policy 'nobody'"), (["serve", "grinningface-pretrained", "--port", "-1"], "--port must be"),
    (["import", "nowhere"], "There is no file or folder 'nowhere'")])
def test_commands_say_what_is_wrong(words, said, capsys, tmp_path):
    from vlm4vla.cli import main
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err

# --- openpi's own packages, where somebody has them ---

THEIRS = """
import sys, numpy as np
from openpi_client import base_policy
from openpi_server import WebsocketPolicyServer
import asyncio, websockets.asyncio.server as server
class Ahead(base_policy.BasePolicy):
    def infer(self, obs):
        image, said = obs["observation/image"], obs["prompt"]
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8 and isinstance(said, str)
        assert obs["observation/state"].shape == (7,) and obs["observation/wrist_image"].shape == (224, 224, 3)
        return dict(actions=np.tile([.01, 0, 0, 0, 0, 0, 0], (5, 1)))
    def reset(self): pass
theirs = WebsocketPolicyServer(Ahead(), host="127.0.0.1", port=0, metadata=dict(config="ahead"))
async def main():
    async with server.serve(theirs._handler, "127.0.0.1", 0, compression=None, max_size=None) as s:
        print(s.sockets[0].getsockname()[1], flush=True); await s.serve_forever()
asyncio.run(main())
"""

def test_openpis_own_server_is_evaluated(forgotten, tmp_path):
    python = os.environ.get("VLM4VLA_OPENPI_PYTHON")
    if not python: pytest.skip("VLM4VLA_OPENPI_PYTHON names no Python with openpi-client and openpi-server (they need numpy below 2)")
    p = subprocess.Popen([python, "-c", THEIRS], stdout=subprocess.PIPE, text=True)
    try:
        url = f"ahead=openpi://127.0.0.1:{int(p.stdout.readline())}"
        done = evaluate_remote(url, CARRY.name, tmp_path, "eval_episodes=1", workers=1, timeout=LONG)
    finally: p.kill(); p.wait()
    rows = load("episodes", tmp_path)
    assert done["episodes"] == 2 and rows.chunk_mode.tolist() == ["5 of 5"]*2 and done["asked"] == 16 and check(tmp_path) == []

@pytest.mark.parametrize("args,words", [
    (["evaluate", "vla-eval://localhost:99999", "--benchmark", "grinningface"], "ports go from 1 to 65535"),
    (["evaluate", "localhost:9", "--benchmark", "grinningface"], "write vla-eval://host:port"),
    (["evaluate", "vla-eval:/localhost:9", "--benchmark", "grinningface"], "write vla-eval://host:port"),
    *((["evaluate", "vla-eval://localhost:9", "--benchmark", "grinningface", "--timeout", t], "a number of seconds above 0")
      for t in ("nan", "-1", "inf", "soon")),
    (["evaluate", "vla-eval://localhost:9", "--benchmark", "grinningface", "--log-to", "tensorboard"], "takes curves of trainings"),
    (["serve", "grinningface-pretrained", "--port", "70000"], "ports go up to 65535"),
    (["serve", "~nobodyhere/x"], "begins with ~"), (["import", "no such"], "There is no file or folder 'no such'"),
    (["zoo", "--out", "no such"], "There is no folder 'no such'")])
def test_what_is_typed_wrongly_is_one_sentence(capsys, args, words):
    from vlm4vla.cli import main
    assert main(args) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1, said

@pytest.mark.parametrize("body", [dict(config={}, tasks=[dict(episodes=[])]), dict(config=[], tasks=[1]),
                                  dict(config={}, tasks=[dict(task="place-on-emoji", episodes=[dict(metrics=1)])])])
def test_a_file_of_results_that_lacks_something_is_one_sentence(tmp_path, body):
    from vlm4vla.outside.imported import OURS, import_results
    if isinstance(body["config"], dict): body["config"] = dict(benchmark=OURS, params={})
    (tmp_path/"x_aggregate.json").write_text(json.dumps(body))
    with pytest.raises(UserError, match="is no whole file of results"): import_results(tmp_path/"x_aggregate.json", tmp_path/"out")
    assert not (tmp_path/"out").exists()

def test_a_server_for_another_benchmark_says_which(tmp_path):
    from vlm4vla.outside.forms import read_observation, wire_forms
    seen = dict(images=dict(agentview=np.zeros((8, 8, 3), np.uint8)), task_description="go")
    with pytest.raises(UserError, match="ask it on grinningface, which it was trained for"):
        read_observation(seen, wire_forms["vla-eval"], (), "grinningface")
