"A page of the gallery has parameters, account, table and picture of a run, and no noise."
import json, sys
from pathlib import Path
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"docs"))
import gallery

RUN = "tiny-qwen3-vl__grinningface__smoke__s0"
BARS = [f"\rrun: {i}%|#| {i}/100 [00:0{i % 10}<00:01, 2.00it/s, loss 0.1]" for i in range(100)]

def code(source, *outputs, **meta):
    return dict(cell_type="code", id="a", metadata=meta, source=source, execution_count=1, outputs=list(outputs))
def prose(source, **meta): return dict(cell_type="markdown", id="b", metadata=meta, source=source)
def result(**data):
    return dict(output_type="execute_result", metadata={}, execution_count=1, data={k.replace("_", "/"): v for k, v in data.items()})
def stream(text): return dict(output_type="stream", name="stderr", text=text)

@pytest.fixture
def folder(tmp_path):
    cells = [prose("# Train one experiment\n> One line."), prose("Run it here."), code("out:str = ''", tags=["parameters"]),
             code("# Parameters\nout = 'results'", tags=["injected-parameters"]),
             code("from vlm4vla.launch.parameters import check_parameters"),
             code("check_parameters(globals())", result(text_markdown="| parameter |")),
             code("import pandas", stream("/lib/tqdm/auto.py:21: TqdmWarning: IProgress not found.\n  from x import y\n")),
             code("train()", *map(stream, BARS)),
             prose("## What came of it"), code("table", result(text_html="<table></table>")), code("import json"),
             code("plot()", result(image_png="aGk="), stream("worker 3 was lost\n"))]
    facts = dict(parameters=dict(experiment=RUN, out=str(gallery.ROOT/"results")), start_time="2026-11-25T16:18:55.262696+00:00",
                 end_time="2026-11-25T16:19:55.262696+00:00", duration=60., exception=None)
    (tmp_path/"executed").mkdir(); (tmp_path/"provenance").mkdir()
    (tmp_path/"executed"/f"{RUN}.train.ipynb").write_text(
        json.dumps(dict(cells=cells, metadata=dict(papermill=facts), nbformat=4, nbformat_minor=5)))
    failed = [code("x = ''", tags=["parameters"]), prose("stopped here", tags=["papermill-error-cell-tag"]),
              code("1/0", dict(output_type="error", ename="ZeroDivisionError", evalue="", traceback=[]))]
    (tmp_path/"executed"/"page.ipynb").write_text(
        json.dumps(dict(cells=failed, metadata=dict(
            papermill=dict(facts, parameters={}, exception=True, start_time="2026-11-25T17:00:00+00:00")), nbformat=4, nbformat_minor=5)))
    account = dict(notebook="runs/train", git_sha="abc123", hardware=dict(gpus=[], cores=2, cpu="a CPU", memory_gb=8),
                   versions=dict(python="3.11"), inputs=dict(data="0123456789abcdef0123"))
    (tmp_path/"provenance"/f"{RUN}.json").write_text(json.dumps(dict(run_id=RUN, train=account)))
    return tmp_path/"executed"

def test_a_page_shows_the_run_and_nothing_else(folder):
    failed, run = gallery.found(folder)
    cells = gallery.notebook(run)["cells"]
    assert cells[0]["source"].startswith(f"# {RUN} · train\n\n> done · 2026-11-25 16:18:55 UTC · 60 s")
    for said in (f"| experiment | `{RUN}` |", "| out | `results` |", "| commit | `abc123` |", "| machine | 2 cores of a CPU, 8 GB |",
                 "| hash of data | `0123456789abcdef` |"):
        assert said in cells[0]["source"]
    # imports go with what they are for
    assert [c["source"].splitlines()[-1] for c in cells[1:]] == ["train()", "## What came of it", "table", "plot()"]
    assert [[o["output_type"] for o in c.get("outputs", [])] for c in cells[1:]] == [[], [], ["execute_result"],
        ["execute_result", "stream"]]
    assert cells[-1]["source"].startswith("#| fig-alt: ") and "it/s" not in json.dumps(cells) and "Warning" not in json.dumps(cells)

def test_a_failed_page_shows_its_error(folder):
    failed, _ = gallery.found(folder)
    cells = gallery.notebook(failed)["cells"]
    assert (failed.state, [c["source"] for c in cells[1:]]) == ("failed",
                                                                ["1/0"]) and "every parameter had its default" in cells[0]["source"]

def test_the_index_lists_what_began_last_first(folder):
    text = gallery.index(gallery.found(folder))
    assert [l.split(" | ")[0] for l in text.splitlines() if ".ipynb" in l] == ["| failed",
        "| done"] and f"| done | {RUN} | [train](executed/{RUN}.train.ipynb) | 2026-11-25 16:18:55 | 60 s |" in text
    with pytest.raises(SystemExit, match="There is no folder"): gallery.found(folder/"nowhere")
