def __getattr__(name):
    "Names of the module that was called like this room, for one release."
    if name.startswith("__"): raise AttributeError(name)
    from ..renamed import _lookup
    return _lookup("paper.tables", name, __name__)
