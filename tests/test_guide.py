"The guide's cells, run as they stand."
import re
from pathlib import Path
import pytest
pytest.importorskip("torch")
from vlm4vla.catalog.backbones import backbones

GUIDE = Path(__file__).resolve().parent.parent/"docs"/"guide"

def test_a_backbone_is_added_in_one_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, names = set(backbones), {}
    try:
        for cell in re.findall(r"```python\n(.*?)```", (GUIDE/"backbone.md").read_text(), re.S): exec(cell, names)
        assert set(backbones) - before == {"mine", "my-qwen"} and (tmp_path/"try"/"model.safetensors").is_file()
        assert [r["step"] for r in names["log"] if r["name"] == "loss"] == [0, 2]
    finally:
        for n in set(backbones) - before: del backbones[n]
