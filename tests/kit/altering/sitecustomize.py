"""Loaded by an interpreter that has this directory on its path: renames words in modules of dependencies.

ALTERED is a JSON object: by module, which words are to be others, {"package.module": {"word": "other"}}. It is as if a
new release of the dependency had been installed.
"""

import importlib.abc
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


class Renaming(SourceFileLoader):
    """Compiles a module from its source, with its words replaced."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.get_filename(fullname)).decode()
        for word, other in ALTERED[fullname].items():
            source, found = re.subn(rf"\b{word}\b", other, source)
            assert found, f"there is no {word} in {fullname}"
        code: CodeType = compile(source, self.path, "exec")
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are to be altered."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ALTERED:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None, f"there is no {fullname}"
        assert spec.origin is not None
        spec.loader = Renaming(fullname, spec.origin)
        return spec


ALTERED: dict[str, dict[str, str]] = json.loads(os.environ["ALTERED"])
sys.meta_path.insert(0, Finder())
