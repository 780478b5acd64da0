"""What code uses of the module is followed to where it is defined."""

import chapters
import closure


def test_what_is_used_is_followed_to_where_it_is_defined(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    files = {
        "__init__.py": "from .a import f\nfrom .deep import g as h\n__version__ = '1'",
        "a.py": "def f():\n    from . import b\n    return b.x",
        "b.py": "import json\nimport torch\nx = 1",
        "c.py": "from normtutorial import h",
        "unused.py": "import normtutorial.b",
        "deep/__init__.py": "from .d import g\nfrom .e import k\ndef own(): ...",
        "deep/d.py": "from ..b import x\ng = x",
        "deep/e.py": "k = 1",
    }
    for name, text in files.items():
        path = tmp_path / "normtutorial" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def used(code):
        paths = closure.used(code)
        return {str(path.relative_to(tmp_path / "normtutorial")) for path in paths}

    assert used("import torch\nimport normal") == set()
    assert used("from normtutorial import f") == {"a.py", "b.py"}
    assert used("from normtutorial import __version__") == set()
    assert used("def later():\n    from normtutorial import c") == {"c.py", "deep/d.py", "b.py"}
    assert used("from normtutorial.deep import g") == {"deep/d.py", "b.py"}
    assert used("import normtutorial.b as x") == {"b.py"}
    assert used("import normtutorial.unused") >= {"unused.py", "a.py"}  # it binds the package
    everything = {"deep/__init__.py", "deep/d.py", "deep/e.py", "b.py"}
    assert used("from normtutorial.deep import own") == everything
    assert used("from normtutorial import deep") == everything
    assert used("import normtutorial") == {"a.py", "deep/d.py", "b.py"}
