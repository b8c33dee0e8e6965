"Rows: the committed ones are in order, and no accident loses or doubles one."
import errno, json, os, re, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import pandas as pd, pytest
from vlm4vla import core
import vlm4vla.results.tables as results
from vlm4vla.core import UserError, read_provenance, write_provenance
from vlm4vla.results.tables import append, dictionary, load, tables, unmeasured, why_failed
from vlm4vla.results.scores import check, rebuild_scores, scores
from vlm4vla.catalog.experiments import studies
from vlm4vla.results.arms import arm_label, arm_of

ROW = dict(run_id="a__b__c__s0", benchmark="grinningface", split="id", task="place", episode=0, chunk_mode="5 of 10", success=True,
           n_steps=31, seconds=1.5,
           detail=dict(execution=True, recognition=True))
def rows(n, start=0, **kw): return [{**ROW, "episode": start+i, **kw} for i in range(n)]

# the committed results

def test_the_committed_results_are_in_order(root):
    assert check(root/"results") == []

def test_scores_equal_their_rebuild(root):
    out = root/"results"
    pd.testing.assert_frame_equal(load("scores", out), scores(load("episodes", out)))

def test_nothing_tiny_is_a_result(root):
    for name, column in (("episodes", "run_id"), ("runs", "run_id"), ("train_log", "run_id"), ("vqa_measured", "backbone")):
        assert not load(name, root/"results")[column].str.contains("tiny|smoke|demo").any(), name

def test_every_run_is_a_known_experiment(root):
    from vlm4vla.catalog.experiments import experiments
    runs = load("runs", root/"results")
    for r in runs[runs.kind.isin(["train", "eval"])].itertuples():
        e = experiments[r.run_id]
        assert (e.backbone, e.benchmark, e.variant, e.seed) == (r.backbone, r.benchmark, r.variant, r.seed)

def test_the_data_dictionary_is_current(root):
    path = root/"results"/"README.md"
    if not any((root/"results"/t.file).exists() for t in tables.values()): pytest.skip("no results yet")
    assert path.read_text(encoding="utf-8") == dictionary(), "run: python -c 'from vlm4vla.results.tables import *; write_dictionary()'"

# failures

KEY = {k: ROW[k] for k in ("run_id", "benchmark", "split", "task", "chunk_mode")}
def failed(*episodes, why="worker died (signal 9)"): return [dict(KEY, episode=i, failure=why) for i in episodes]

def test_a_failure_among_the_episodes_of_an_older_version_is_one(tmp_path):
    older = results.frame("episodes", [*rows(3), *rows(2, 3, success=False, failure="no answer within 180 s", detail={})])
    results._write(tables["episodes"], older, tmp_path/"episodes.parquet")
    assert load("episodes", tmp_path).episode.tolist() == [0, 1, 2] and load("failures", tmp_path).episode.tolist() == [3, 4]
    append("episodes", rows(1, 3), tmp_path)                       # tried again: it moves to its own table, and the row takes its place
    assert load("episodes", tmp_path).episode.tolist() == [0, 1, 2, 3]
    assert unmeasured(load("episodes", tmp_path), load("failures", tmp_path)).episode.tolist() == [4]
    assert pd.read_parquet(tmp_path/"episodes.parquet").episode.tolist() == [0, 1, 2, 3] and len(pd.read_csv(tmp_path/"failures.csv")) == 2

def test_attempts_are_counted_wherever_they_were_written(tmp_path, monkeypatch):
    append("failures", failed(0, 0, 1), tmp_path)
    monkeypatch.setenv(results.PART, "job-1"); append("failures", failed(0), tmp_path); append("episodes", rows(1, 1), tmp_path)
    monkeypatch.delenv(results.PART); append("failures", failed(0, why="no answer"), tmp_path)
    f = load("failures", tmp_path)
    assert f[f.episode == 0].sort_values("attempt").attempt.tolist() == [1, 2, 3, 4]
    results.compact(tmp_path)
    assert not list(tmp_path.glob("parts/*/*")) and load("failures", tmp_path).sort_values(["episode", "attempt"],
        ignore_index=True).equals(f.sort_values(["episode", "attempt"], ignore_index=True))
    lost = unmeasured(load("episodes", tmp_path), f)
    assert lost.episode.tolist() == [0] and why_failed(lost) == "no answer"

def test_failures_in_a_part_of_an_older_version_survive_a_compaction(tmp_path):
    part = tmp_path/"parts"/"episodes"/"job.parquet"; part.parent.mkdir(parents=True)
    results._write(tables["episodes"], results.frame("episodes", [*rows(2), *rows(1, 2, success=False, failure="worker died (signal 9)")]),
                   part)
    results.compact(tmp_path)
    assert load("episodes", tmp_path).episode.tolist() == [0, 1] and load("failures",
        tmp_path).failure.tolist() == ["worker died (signal 9)"]
    assert pd.read_csv(tmp_path/"failures.csv").episode.tolist() == [2]

def test_an_episode_that_was_measured_cannot_fail_afterwards(tmp_path):
    append("episodes", rows(2), tmp_path)
    with pytest.raises(UserError, match="already; nothing was written"):
        append("episodes", rows(1, 0, success=False, failure="late"), tmp_path)
    append("failures", failed(0), tmp_path)
    assert not len(unmeasured(load("episodes", tmp_path), load("failures", tmp_path)))

def test_episodes_are_not_mixed(tmp_path, monkeypatch):
    from vlm4vla.results import provenance as account
    from vlm4vla.catalog.experiments import experiments
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]
    run = dict(run_id=e.run_id, kind="eval", backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=0, step=1,
               checkpoint="aaaa", status="failed", git_sha="", started="", seconds=1.)
    append("runs", [run], tmp_path); append("episodes", rows(1, run_id=e.run_id), tmp_path)
    with pytest.raises(UserError, match=r"1 episodes .* another weights \(aaaa, now bbbb\); evaluate into another folder"):
        account.check_origin(e, tmp_path, weights="bbbb") # an older run, without a note
    monkeypatch.setattr(account, "git_sha", lambda: "c0ffee")
    account.check_origin(e, tmp_path, weights="aaaa", policy="p")
    with pytest.raises(UserError, match="another policy"): account.check_origin(e, tmp_path, weights="aaaa", policy="q")
    recipe = e.recipe
    # how many there are changes none of them
    for change, says in ((dict(lr=.1), r"another recipe \(lr: 0.0003, now 0.1\)"), (dict(eval_episodes=7), None)):
        monkeypatch.setattr(type(e), "recipe", property(lambda self: replace(recipe, **change)))
        if not says: account.check_origin(e, tmp_path, weights="aaaa", policy="p"); continue
        with pytest.raises(UserError, match=says): account.check_origin(e, tmp_path, weights="aaaa", policy="p")
    monkeypatch.undo(); monkeypatch.setattr(account, "git_sha", lambda: "bea")
    with pytest.warns(UserWarning, match="code of commit bea; episodes so far are of c0ffee"):
        account.check_origin(e, tmp_path, weights="aaaa", policy="p")
    assert json.loads((tmp_path/"provenance"/f"{e.run_id}.json").read_text())["episodes"]["code"] == ["c0ffee", "bea"]

def test_an_evaluation_of_other_weights_is_not_done(tmp_path):
    from vlm4vla.catalog.experiments import experiments
    from vlm4vla.launch.sweep import plan_sweep, expected_episodes
    e = experiments["tiny-qwen3-vl__grinningface__smoke__s0"]
    run = lambda kind, weights: dict(run_id=e.run_id, kind=kind, backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=0,
                                     step=1, checkpoint=weights, status="done", git_sha="", started="", seconds=1.)
    append("episodes", [r for split in ("id", "val") for r in rows(expected_episodes(e)//2, run_id=e.run_id, split=split)], tmp_path)
    for trained, says in (("aaaa", "done"), ("bbbb", "of other weights")): # what was evaluated is aaaa
        append("runs", [run("train", trained), run("eval", "aaaa")], tmp_path, replace=True)
        assert plan_sweep([e], tmp_path).evaluate.tolist() == [says]
    append("runs", [run("train", "aaaa")], tmp_path, replace=True)
    assert plan_sweep([e], tmp_path).evaluate.tolist() == ["done"]

# writing

def test_the_order_of_workers_does_not_matter(tmp_path):
    for name, parts in (("a", [rows(3), rows(3, 3)]), ("b", [rows(3, 3)[::-1], rows(3)[::-1]])):
        for p in parts: append("episodes", p, tmp_path/name)
    assert (tmp_path/"a"/"episodes.parquet").read_bytes() == (tmp_path/"b"/"episodes.parquet").read_bytes()

def test_a_duplicate_key_is_refused_and_nothing_is_written(tmp_path):
    append("episodes", rows(5), tmp_path)
    before = (tmp_path/"episodes.parquet").read_bytes()
    with pytest.raises(UserError, match="· 4 · 5 of 10 already; nothing was written"): append("episodes", rows(3, 4), tmp_path)
    assert (tmp_path/"episodes.parquet").read_bytes() == before
    append("episodes", rows(5, split="val"), tmp_path)
    assert len(load("episodes", tmp_path)) == 10

def test_a_file_with_a_duplicate_key_is_refused_when_read(tmp_path):
    append("episodes", rows(2), tmp_path)
    df = load("episodes", tmp_path)
    results._write(tables["episodes"], pd.concat([df, df[:1]]), tmp_path/"episodes.parquet")
    with pytest.raises(UserError, match=r"stands there twice\); restore it"): load("episodes", tmp_path)
    with pytest.raises(UserError, match="twice"): append("episodes", rows(1, 9), tmp_path)
    assert len(check(tmp_path)) == 1

@pytest.mark.parametrize("cut", [0, 3, 200, -20])
def test_a_damaged_file_is_one_sentence_and_is_not_written_over(tmp_path, cut):
    append("episodes", rows(40), tmp_path)
    path = tmp_path/"episodes.parquet"
    path.write_bytes(damaged := path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"episodes.parquet is damaged .*restore it with `git checkout"): load("episodes", tmp_path)
    with pytest.raises(UserError, match="damaged"): append("episodes", rows(1, 50), tmp_path)
    assert path.read_bytes() == damaged

def test_wrong_columns_are_named(tmp_path):
    for bad, message in (([{**ROW, "sucess": 1}], "no column 'sucess'; did you mean 'success'"),
                         ([{k: v for k, v in ROW.items() if k != "split"}], "'split' is missing"),
                         ([{**ROW, "n_steps": "many"}], "'n_steps' of row 1 is 'many', not int")):
        with pytest.raises(UserError, match=message): append("episodes", bad, tmp_path)
    (tmp_path/"runs.csv").write_text("run_id,kind,unknown\n")
    with pytest.raises(UserError, match="runs.csv: there is no column 'unknown'"): load("runs", tmp_path)
    (tmp_path/"runs.csv").write_text("run_id,kind\n")
    with pytest.raises(UserError, match="runs.csv: column 'backbone' is missing"): load("runs", tmp_path)
    assert not (tmp_path/"episodes.parquet").exists()

@pytest.mark.parametrize("table,row",
                         [("episodes", ROW), (
                             "runs", dict(run_id="a", kind="train", backbone="b", benchmark="", variant="", seed=0, step=1, checkpoint="",
                                                                       status="done", git_sha="", started="", seconds=1.))])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, table, row):
    append(table, [row], tmp_path)
    before = (tmp_path/tables[table].file).read_bytes()
    def full(*a, **kw): raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as m:
        m.setattr("pyarrow.parquet.write_table", full); m.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(UserError, match="The disk is full"): append(table, [{**row, "run_id": "z"}], tmp_path)
    assert (tmp_path/tables[table].file).read_bytes() == before and os.listdir(tmp_path) == [tables[table].file]
    append(table, [{**row, "run_id": "z"}], tmp_path)
    assert len(load(table, tmp_path)) == 2

WRITE = """
import sys; from vlm4vla.results.tables import append
out, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
row = dict(benchmark="grinningface", split="id", task="place", chunk_mode="5 of 10", success=True, n_steps=31, seconds=1.5)
for i in range(0, n, 20): append("episodes", [{**row, "run_id": name, "episode": i+j} for j in range(20)], out)
"""
def writer(root, out, name, n): return subprocess.Popen([sys.executable, "-c", WRITE, str(out), name, str(n)], cwd=root)

def test_four_processes_write_1200_rows_at_once(root, tmp_path):
    began = time.time()
    running = [writer(root, tmp_path, f"run{i}", 300) for i in range(4)]
    assert [p.wait(120) for p in running] == [0]*4
    assert load("episodes", tmp_path).groupby("run_id").size().tolist() == [300]*4
    assert time.time() - began < 60

def test_kill_at_any_moment_leaves_whole_flushes(root, tmp_path):
    for i in range(4):
        p = writer(root, tmp_path, f"run{i}", 100_000)
        until = time.time() + 60
        while not len(load("episodes", tmp_path).query(f"run_id == 'run{i}'")) and time.time() < until: time.sleep(.05)
        time.sleep(.13*i); p.send_signal(signal.SIGKILL); p.wait()
        counts = load("episodes", tmp_path).groupby("run_id").size()
        assert counts[f"run{i}"] >= 20 and (counts % 20 == 0).all()
    append("episodes", rows(1), tmp_path) # the lock went with its holder, and what it left half-written is cleared away
    assert os.listdir(tmp_path) == ["episodes.parquet"]

def test_replacing_is_for_accounts_of_runs_only(tmp_path):
    append("train_log", [dict(run_id="a", name="loss", step=i, value=1.) for i in range(4)], tmp_path)
    append("train_log", [dict(run_id="a", name="loss", step=i, value=2.) for i in range(2, 6)], tmp_path, replace=True)
    assert load("train_log", tmp_path).value.tolist() == [1., 1., 2., 2., 2., 2.]
    with pytest.raises(UserError, match="final"): append("episodes", rows(1), tmp_path, replace=True)
    with pytest.raises(UserError, match="derived"): append("scores", [], tmp_path)

def test_absent_stays_absent(tmp_path):
    append("episodes", rows(2) + rows(1, 5, n_subtasks=0), tmp_path)
    df = load("episodes", tmp_path)
    assert df.n_subtasks.isna().tolist() == [True, True, False] and str(df.n_subtasks.dtype) == "Int64"
    append("bench", [dict(name="train", subject="floor", value=1., unit="s", hardware="h", git_sha="", date="2026-01-01")], tmp_path)
    assert load("bench", tmp_path).ratio.isna().all()

def test_check_names_what_is_wrong(tmp_path):
    append("episodes", rows(3), tmp_path)
    rebuild_scores(tmp_path)
    assert [p.split(" ", 1)[1] for p in check(tmp_path)] == ["has episodes but no eval row in runs.csv; run its evaluation again."]
    run = dict(run_id=ROW["run_id"], kind="eval", backbone="b", benchmark="grinningface", variant="c", seed=0, step=1, checkpoint="",
               status="done", git_sha="", started="", seconds=1.)
    append("runs", [run], tmp_path)
    assert "has no account of its eval" in check(tmp_path)[0]
    core.write_json(tmp_path/"provenance"/f"{ROW['run_id']}.json", dict(run_id=ROW["run_id"], eval={}))
    assert check(tmp_path) == []
    s = (tmp_path/"scores.csv").read_text()
    (tmp_path/"scores.csv").write_text(s.replace(",3,", ",4,"))
    assert "differs from what the episodes say" in check(tmp_path)[0]
    rebuild_scores(tmp_path)
    assert (tmp_path/"scores.csv").read_text() == s
    append("vqa_measured",
           [dict(run_id=ROW["run_id"], backbone="b", vqa_benchmark="q", split="val", kind="card", metric="accuracy", value=1.2, ci_low=0.,
                 ci_high=1., n=5)], tmp_path)
    assert "a rate outside 0 … 1" in check(tmp_path)[0]

WRITER = """
import sys; sys.path.insert(0, sys.argv[2])
from test_results import rows
from vlm4vla.results.tables import append
for i in range(60): append("episodes", rows(1, start=i), sys.argv[1])
"""

def test_a_reader_sees_whole_tables_while_another_process_writes(tmp_path):
    append("episodes", rows(1, start=1000), tmp_path)
    writer, seen = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]), []
    while writer.poll() is None: seen.append(len(load("episodes", tmp_path)))
    assert writer.returncode == 0 and len(load("episodes", tmp_path)) == 61
    assert len(set(seen)) > 5 and seen == sorted(seen)

def test_the_transcription_is_complete_and_its_findings_are_known():
    "Every cell is there, and only the cells that the paper itself prints wrong differ from what follows from the others."
    from vlm4vla.paper.tables import paper_tables, rebuilt, reported
    cells = {name: len(reported(name)) for name in paper_tables}
    assert cells == dict(table1=77, table2=84, table3=39, table4=10, table5=12, table6=12, table7=18, table8=18, table9=72, table10=61,
                         figure3=18, figure4=162, appendix4=6, headtohead=24, initialisation=54, vlaser=3)
    wrong = {(name, r.row) for name in paper_tables for r in rebuilt(name).itertuples() if not r.agrees}
    assert wrong == {("table1", "pi0* (Paligemma-1)"), ("table8", "Qwen2.5VL-7B + from scratch"),
                     ("table10", "Qwen2.5VL-7B + Omni-Generation")}

@pytest.mark.parametrize("change, says", [
    (lambda d: d.drop(columns="unit"), "column 'unit' is missing"),
    (lambda d: d.assign(value="many"), "column 'value' of row 1 is 'many'"), (lambda d: pd.concat([d, d.head(1)]), "twice")])
def test_a_damaged_file_of_published_cells_is_named(root, tmp_path, change, says):
    change(pd.read_csv(root/"results"/"reported.csv", dtype=str, keep_default_na=False)).to_csv(tmp_path/"reported.csv", index=False)
    with pytest.raises(UserError, match=says): load("reported", tmp_path)

NASTY = "推 %_&{}\n\"two\", lines\r with a return \udce4 and \x1b[2J " + "x"*300

@pytest.mark.parametrize("failure", [NASTY, "progress 10 %\rprogress 20 %", "\r", "a\r\nb", " , ", '"', "#", "nan", "\ufeff"])
def test_words_of_a_failure_break_no_table(tmp_path, failure):
    from vlm4vla.results.scores import write_table
    key = dict(run_id="r", benchmark="grinningface", split="id", task="place", chunk_mode="5 of 10")
    append("failures", [dict(key, episode=i, failure=f) for i, f in enumerate((failure, "other"))], tmp_path)
    got = load("failures", tmp_path)
    assert got.failure.tolist() == [failure.encode("utf-8", "backslashreplace").decode(), "other"] and got.episode.tolist() == [0, 1]
    if failure == NASTY: return
    path = write_table("nasty", pd.DataFrame(dict(a=[failure, "other"], b=[.5, 1.])), tmp_path)
    again = pd.read_csv(path, keep_default_na=False)
    assert again.a.tolist() == [failure, "other"] and again.b.tolist() == [.5, 1.]


@pytest.mark.parametrize("held", ["", '{"run_id": "mini-q', "[]", "\0\1"])
def test_a_damaged_account_is_named_and_kept(held, tmp_path):
    path = tmp_path/"provenance"/"mini-qwen3-vl__grinningface__base__s0.json"
    path.parent.mkdir(); path.write_text(held)
    for f in (lambda: read_provenance(tmp_path, path.stem),
              lambda: write_provenance(path.stem, parameters={}, resolved={}, out=tmp_path, started=0.)):
        with pytest.raises(UserError, match=f"{path} is damaged .*; restore it with `git checkout"): f()
    assert path.read_text() == held


def test_no_two_arms_of_a_study_are_printed_alike():
    for study in studies.values():
        arms = {arm_of(e)[1] for e in study.rows}; printed = {arm_label(a) for a in arms}
        assert len(printed) == len(arms) and not any(re.search(r"[_/]|  |^[ ,]", p) for p in printed)
    assert arm_label("adapt-full+lr-3e-05") == "learning rate 3e-05" and arm_label("robopoint: adapt-full") == "+ RoboPoint"

def test_an_account_names_what_lies_beside_it_from_there(tmp_path):
    given = dict(subject=str(tmp_path/"checkpoints"/"one"), other="/elsewhere/set", n=60, out=str(tmp_path), name="a/b")
    told = write_provenance("one", parameters=given, resolved={}, out=tmp_path, started=0.)["parameters"]
    assert told == dict(subject="checkpoints/one", other="/elsewhere/set", n=60, out=".", name="a/b")
