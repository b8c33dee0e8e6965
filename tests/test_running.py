"The site's notebooks: run when they or what they read have changed, remembered otherwise."
import json, shutil, sys
import pytest

@pytest.fixture
def running(root, tmp_path, monkeypatch):
    "The runner, over a small workbook of its own."
    monkeypatch.syspath_prepend(str(root/"docs"))
    import running
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(root/name, tmp_path)
    for name in ("vlm4vla", "results", "nbs", "figures"): (tmp_path/name).mkdir()
    monkeypatch.setattr(running, "ROOT", tmp_path)
    monkeypatch.setattr(running, "MEMORY", tmp_path/"build"/"outputs")
    return running

def write(path, *sources):
    cell = lambda i, s: dict(cell_type="code", id=f"c{i}", metadata={}, source=s, outputs=[], execution_count=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=[cell(*c) for c in enumerate(sources)], metadata={}, nbformat=4, nbformat_minor=5)))

def shown(path): return [["".join(o["data"]["text/plain"]) for o in c["outputs"]] for c in json.loads(path.read_text())["cells"]]

def ran(running, tmp_path, capsys):
    "How many pages a call runs."
    running.main(tmp_path/"nbs", 2, ["kept"])
    return int(capsys.readouterr().out.split()[0])

def test_a_page_is_run_when_it_has_changed_and_remembered_otherwise(running, tmp_path, capsys):
    a, b, kept = (tmp_path/"nbs"/f"{n}.ipynb" for n in ("a", "room/b", "kept/c"))
    count = "open('count', 'a').write('x'); open('count').read()"
    begin = lambda *more: (write(a, "x = 3", "x**2"), write(b, count, *more), write(kept, "1/0"))
    begin()
    assert ran(running, tmp_path, capsys) == 2 and shown(a) == [[], ["9"]] and shown(b) == [["'x'"]] and shown(kept) == [[]]
    begin()   # as a copy of the notebooks begins
    assert ran(running, tmp_path, capsys) == 0 and shown(a) == [[], ["9"]] and shown(b) == [["'x'"]]
    begin("#| eval: false\n1/0")
    assert ran(running, tmp_path, capsys) == 1 and shown(b) == [["'xx'"], []]
    (tmp_path/"vlm4vla"/"core.py").write_text("y = 1")
    begin()
    assert ran(running, tmp_path, capsys) == 2 and shown(b) == [["'xxx'"]]

def test_a_page_that_fails_is_named_and_not_remembered(running, tmp_path, capfd):
    for _ in range(2):
        write(tmp_path/"nbs"/"good.ipynb", "1")
        write(tmp_path/"nbs"/"bad.ipynb", "1/0", "2")
        with pytest.raises(SystemExit, match="These pages failed: bad.ipynb"): running.main(tmp_path/"nbs", 1)
        assert "ZeroDivisionError" in capfd.readouterr().err
    assert [p.stem for p in (tmp_path/"build"/"outputs").iterdir()] == ["good"]

def test_pages_do_not_see_one_another(running, tmp_path, capsys):
    write(tmp_path/"nbs"/"a.ipynb", "import sys; sys.said = 1; 1")
    write(tmp_path/"nbs"/"b.ipynb", "import sys; hasattr(sys, 'said')")
    running.main(tmp_path/"nbs", 1)
    assert shown(tmp_path/"nbs"/"b.ipynb") == [["False"]]
