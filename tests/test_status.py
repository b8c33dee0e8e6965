"What `status` says is what is: while notebooks run, after they failed, after everything was killed."
import os, pty, select, signal, subprocess, sys, time
from pathlib import Path
import pandas as pd
import pytest
from test_sweep import IDS, KILLED
from toys import notebook
from vlm4vla.launch.status import AGAIN, JOBS, status

ROOT = Path(__file__).resolve().parent.parent
TRAIN = """
import os, sys, time
from pathlib import Path
from vlm4vla.core import progress
from vlm4vla.catalog.experiments import experiments
from vlm4vla.results.tables import append
e, out = experiments[experiment], Path(out)
for i in progress(range(3), desc=e.run_id):
    if (out/"broken").exists() and i == 1: raise ValueError("no such luck")
    if (out/"fatal").exists() and i == 1: os._exit(7)
    time.sleep(.6)
    while (out/"slow").exists() and i == 1: time.sleep(.1)
folder = out/"checkpoints"/e.run_id; folder.mkdir(parents=True, exist_ok=True)
(folder/"model.safetensors").write_text("weights")
append("runs", [dict(run_id=e.run_id, kind="train", backbone=e.backbone, benchmark=e.benchmark, variant=e.variant, seed=e.seed,
                     step=3, checkpoint="", status="done", git_sha="", started="", seconds=0.)], out, replace=True)
"""
EVALUATE = "raise ValueError('not to be rolled out here')"

@pytest.fixture
def toy(tmp_path):
    folder, out = tmp_path/"nbs", tmp_path/"out"
    folder.mkdir(); out.mkdir()
    for name, body in (("train", TRAIN), ("evaluate", EVALUATE)):
        notebook(folder/f"{name}.ipynb", 'experiment:str = "" # which\nout:str = "" # where', body)
    return folder, out

def begin(out, folder):
    return subprocess.Popen([sys.executable, "-c", KILLED, str(out), str(folder), IDS[0]], cwd=ROOT, stderr=subprocess.DEVNULL)

def now(out, notebook="train"): return status(IDS[:1], out, pd.DataFrame(columns=JOBS)).set_index("notebook").loc[notebook]

def until(condition, limit=60):
    end = time.time() + limit
    while not condition(): assert time.time() < end; time.sleep(.1)

def test_running_then_killed_then_failed(toy):
    folder, out = toy
    assert now(out).state == "to do"
    (out/"slow").touch()
    p = begin(out, folder)
    until(lambda: now(out).step > 0)
    row = now(out)
    assert (row.state, row.total, now(out, "evaluate").state) == ("running", 3, "queued") and row.rate > 0 and row.left > 0
    p.send_signal(signal.SIGKILL); p.wait()
    until(lambda: now(out).state != "running")
    assert now(out)[["state", "error"]].tolist() == ["to do", "cut off"]
    (out/"slow").unlink()
    begin(out, folder).wait(60)
    assert now(out)[["state", "step"]].tolist() == ["done", 3]
    assert now(out, "evaluate")[["state", "cell", "error"]].tolist() == ["failed", 3, "ValueError: not to be rolled out here"]
    assert Path(now(out, "evaluate").executed).is_file()

@pytest.mark.parametrize("how,cell,word", [("broken", 3, "no such luck"), ("fatal", 0, "died")])
def test_what_failed_says_where(toy, how, cell, word):
    folder, out = toy
    (out/how).touch()
    begin(out, folder).wait(60)
    row = now(out)
    assert (row.state, row.cell) == ("failed", cell) and word in row.error.lower()
    assert now(out, "evaluate").state == "to do"

def test_a_terminal_is_drawn_again_until_it_is_interrupted(toy):
    folder, out = toy
    main, side = pty.openpty()
    p = subprocess.Popen(
        [sys.executable, "-c", "import sys; from vlm4vla.launch.status import show_status; sys.exit(show_status(sys.argv[2:], "
                               "sys.argv[1], watch=.2))", str(out), IDS[0]], cwd=ROOT, stdout=side, stderr=subprocess.PIPE,
                         # who runs tests in the background of a script has it ignored
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(side)
    text, end = b"", time.time() + 60
    while text.count(AGAIN.encode()) < 3 and time.time() < end:
        if select.select([main], [], [], 1)[0]: text += os.read(main, 4096)
    p.send_signal(signal.SIGINT)
    assert p.wait(20) == 0 and p.stderr.read() == b""
    os.close(main)
    assert text.count(AGAIN.encode()) >= 3 and b"to do" in text
