"Question answering by the field's harness: what is wrong is said, what is cut off goes on, and its scores are ours."
import json, subprocess, sys
from pathlib import Path
import pytest
from vlm4vla.catalog.backbones import backbones
from vlm4vla.catalog.vqa_benchmarks import vqa_benchmarks
from vlm4vla.core import UserError
from vlm4vla.harness import environment, files, measure, reader
from vlm4vla.harness.measure import Asking
from vlm4vla.results.tables import load

ROOT = Path(__file__).resolve().parent.parent
MINI = "mini-qwen2.5-vl"

def command(*words, **env):
    import os
    return subprocess.run([sys.executable, "-m", "vlm4vla.cli", *map(str, words)], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env={**os.environ, **env})

def test_the_eighteen_are_those_of_the_study():
    published = set(load("vqa_scores").vqa_benchmark)
    assert len(vqa_benchmarks) == 18 and {b.label for b in vqa_benchmarks.values()} <= published

def sentence(call):
    with pytest.raises(UserError) as e: call()
    return str(e.value)

def test_bad_names_and_absent_files_are_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("VLM4VLA_SIMULATORS", str(tmp_path)); monkeypatch.delenv("VLM4VLA_HARNESS_PYTHON", raising=False)
    b = backbones[MINI]; ask = lambda *names, **how: sentence(lambda: measure.measure_vqa(b, names, Asking(**how), tmp_path/"out"))
    assert "did you mean 'mmstar'?" in ask("mmstarr")
    assert "is scored by a language model behind a web service" in ask("mathvista")
    assert "is scored by a language model behind a web service" in ask("hallusionbench")
    assert "There is no task file" in ask("none.yaml")
    assert "lmms-eval is not installed here; `vlm4vla vqa --install`" in ask("mmstar", data=str(tmp_path))
    assert "must be a whole number of at least 1" in ask(images=0)
    absent = lambda name: sentence(lambda: files.find_files(vqa_benchmarks[name], str(tmp_path)))
    assert "hf download --repo-type dataset Lin-Chen/MMStar --local-dir" in absent("mmstar")
    assert "fill in the form at https://huggingface.co/datasets/Idavidrein/gpqa, then `hf download" in absent("gpqa")
    assert "curl --create-dirs -o" in absent("mmbench") and "unpack its videos" in absent("mvbench")
    assert not (tmp_path/"out"/"vqa_measured.csv").exists()

def test_a_checkpoint_without_an_output_layer_cannot_answer(monkeypatch):
    from vlm4vla.vlm import loading
    def lacks(*args, **kwargs): raise UserError("The weights are not those of its config.json (1 are missing, such as lm_head.weight).")
    monkeypatch.setattr(loading, "load_model", lacks)
    assert "was saved without its output layer, so it cannot answer" in sentence(lambda: reader.load_answerer(backbones[MINI]))

def test_answers_survive_a_kill(tmp_path, monkeypatch):
    from vlm4vla.vlm.loading import Encoder
    enc, asked = Encoder("tiny-qwen2.5-vl"), []
    monkeypatch.setattr(reader, "_answers", lambda self, rows, images, length: asked.append(len(rows)) or [f"batch {len(asked)}"]*len(rows))
    ask = lambda n: reader.Asker(None, enc, reader.Kept(tmp_path/"a.jsonl"), batch_size=4).answer(
        [(f"question {i}", None, 8, None) for i in range(n)], n)
    assert ask(4) == ["batch 1"]*4
    with open(tmp_path/"a.jsonl", "a") as f: f.write('["half a li')
    assert ask(6) == ["batch 1"]*4 + ["batch 2"]*2 and asked == [4, 2]
    assert ask(6) == ["batch 1"]*4 + ["batch 2"]*2 and asked == [4, 2]
    assert all(isinstance(json.loads(l), list) for l in (tmp_path/"a.jsonl").read_text().splitlines())

def test_a_long_question_has_the_tokens_of_its_whole():
    from vlm4vla.vlm.loading import Encoder
    enc = Encoder("tiny-paligemma"); text = "which of these is a cup? "*100
    whole = enc.tok(text.replace("\x00", " "), add_special_tokens=False)["input_ids"]
    row = reader._row(enc, text)
    assert str(whole[2:-2])[1:-1] in str(row) and len(text) > 2000

# --- where the harness is installed

def installed():
    try: return environment.harness_python()
    except UserError as e: pytest.skip(f"{e} This test compares its scores with ours.")

def task(folder, n=12): return measure.write_own(folder, next(iter(measure.own_sets())), n, 96)

def test_the_harness_scores_as_we_do(tmp_path):
    installed(); path = task(tmp_path); ours = measure.ask_here(backbones[MINI], path)[0]
    done = command("vqa", MINI, path, "--out", tmp_path/"out")
    assert done.returncode == 0, done.stderr
    row = load("vqa_measured", tmp_path/"out").iloc[0]
    assert row.value == pytest.approx(ours["value"], abs=1e-12) and 0 < row.value < 1 and row.n == ours["n"]
    assert (row.harness, row.version, row.metric) == ("lmms-eval", "0.7.3", "exact_match")
    assert row.ci_low < row.value < row.ci_high
    again = command("vqa", MINI, path, "--out", tmp_path/"out")
    assert again.returncode == 0 and load("vqa_measured", tmp_path/"out").iloc[0].value == row.value

def test_a_broken_task_is_said(tmp_path):
    installed(); path = task(tmp_path, 1)
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    done = command("vqa", "tiny-qwen2.5-vl", path, "--out", tmp_path/"out")
    assert done.returncode == 2 and "The harness could not ask tabletop_words" in done.stderr and "Traceback" not in done.stderr
    path.write_text("task: [nothing\n")
    done = command("vqa", "tiny-qwen2.5-vl", path, "--out", tmp_path/"out")
    assert done.returncode == 2 and "cannot be read as a task" in done.stderr and not (tmp_path/"out"/"vqa_measured.csv").exists()

def test_a_benchmark_of_the_study_from_local_files(tmp_path):
    "Its own task of the harness, on a file of the published form with our images in it."
    import pyarrow as pa, pyarrow.parquet as pq
    installed(); own = pq.read_table(task(tmp_path/"own", 2).with_suffix(".parquet")).drop_columns("answer")
    own = own.append_column("number", pa.array(range(len(own))))
    said = dict(image=dict(_type="Image"), question=dict(dtype="string", _type="Value"), number=dict(dtype="int64", _type="Value"))
    own = own.replace_schema_metadata(dict(huggingface=json.dumps(dict(info=dict(features=said)))))
    where = tmp_path/"vikhyatk"/"CountBenchQA"/"data"; where.mkdir(parents=True)
    pq.write_table(own, where/"test-00000-of-00001.parquet")
    done = command("vqa", MINI, "countbenchqa", "--data", tmp_path, "--out", tmp_path/"out", "--limit", 4, "--max-new-tokens", 4)
    assert done.returncode == 0, done.stderr
    row = load("vqa_measured", tmp_path/"out").iloc[0]
    assert (row.vqa_benchmark, row.metric, row.n, row.split) == ("countbenchqa", "acc", 4, "first 4")
