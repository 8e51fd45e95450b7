#!/usr/bin/env python3
"""Proves the arrows between the rooms of docs/ARCHITECTURE.md over the #includes in src/ and include/.

A room may include itself, the rooms its arrows lead to, and what those may include, except where narrowed.
The tests of a room may include any room. Beside the #includes, the DEPS of easel_room() are checked.
`--self-test` shows that broken arrows are found.
"""
import argparse
import pathlib
import re
import sys
import tempfile

# The table of docs/ARCHITECTURE.md.
ARROWS = {
    "base": [],
    "tensor": ["base"],
    "io": ["tensor"],
    "device": ["tensor"],
    "op_schemas": ["tensor"],
    "ops": ["op_schemas", "device"],
    "graph": ["op_schemas"],
    "onnx": ["graph", "io"],
    "exec": ["graph", "ops", "device", "io"],
    "text": ["base"],
    "nn": ["graph"],
    "models": ["nn"],
    "sampling": ["tensor"],
    "pipelines": ["models", "exec", "io", "text", "sampling"],
    "workflow": ["pipelines"],
    "server": ["workflow"],
    "cli": ["server", "onnx"],
}
# A pipeline owns sessions and never touches a kernel.
NARROWED = {"pipelines": {"ops"}}
# The public headers, <easel/NAME.h>, by the room they belong to; version.h is for everyone.
PUBLIC = {"cancel": "base", "error": "base", "half": "base", "version": "base",
          "dtype": "tensor", "shape": "tensor", "tensor": "tensor", "pipeline": "pipelines", "lora": "pipelines",
          "ip_adapter": "pipelines", "picture_inputs": "pipelines", "profile": "exec", "upscaler": "pipelines",
          "convert": "pipelines"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<(easel/[^>]+)>)', re.M)
ROOM_CALL = re.compile(r"easel_room\(\s*(\w+)(.*?)\)", re.S)
SOURCE = {".h", ".cpp", ".inl", ".inc", ".cu", ".cl"}


def reachable(room):
    seen, todo = {room}, [room]
    while todo:
        for below in ARROWS[todo.pop()]:
            if below not in seen:
                seen.add(below)
                todo.append(below)
    return seen - NARROWED.get(room, set())


def room_of(path):
    """The room of "ops/linear/linear.h"; None where there is no such room."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] != "ops":
        return parts[0] if parts[0] in ARROWS and len(parts) > 1 else None
    stem = parts[-1].rsplit(".", 1)[0]
    schema = parts[1:] in (("attrs.h",), ("schema.h",), ("schema.cpp",), ("ops.inc",)) or (
        len(parts) == 3 and stem == parts[1] and parts[-1].endswith((".h", ".cpp")))
    return "op_schemas" if schema else "ops"


def is_test(path):
    return re.search(r"(_test\.(cpp|h)|/test\.cpp|/test_[a-z_]+\.(cpp|h))$", str(path)) is not None


def check_includes(root):
    errors = []
    files = [p for folder in ("src", "include") for p in sorted((root / folder).rglob("*")) if p.suffix in SOURCE]
    for path in files:
        name = path.relative_to(root).as_posix()
        public = name.startswith("include/")
        if public:
            room = PUBLIC.get(path.stem)
        else:
            room = room_of(name.removeprefix("src/"))
        if room is None:
            errors.append(f"{name}: belongs to no room of the table")
            continue
        if is_test(name):
            continue
        allowed = reachable(room)
        for quoted, angled in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if angled:
                target = PUBLIC.get(pathlib.PurePosixPath(angled).stem)
            elif public:
                errors.append(f'{name}: public headers include only <easel/...> and the standard library, found "{quoted}"')
                continue
            else:
                # The generated lists of kernels and tests stand outside src/.
                target = "ops" if quoted in ("ops/all_kernels.inc", "ops/all_tests.inc") else room_of(quoted)
            shown = angled or quoted
            if target is None:
                errors.append(f'{name}: "{shown}" names no room; quote includes read "room/file.h"')
            elif target not in allowed:
                errors.append(f'{name}: {room} may not include {target} ("{shown}")')
    return errors, len(files)


def check_targets(root):
    errors = []
    for path in sorted((root / "src").rglob("CMakeLists.txt")):
        for room, arguments in ROOM_CALL.findall(path.read_text(encoding="utf-8")):
            words = arguments.split()
            if "DEPS" not in words or room not in ARROWS:
                continue
            for word in words[words.index("DEPS") + 1:]:
                if word.isupper():
                    break
                if word in ARROWS and word not in reachable(room):
                    errors.append(f"{path.relative_to(root)}: {room} may not depend on {word}")
    return errors


def check(root):
    errors, count = check_includes(root)
    return errors + check_targets(root), count


def self_test():
    good = {
        "src/nn/layers.h": '#include "graph/graph.h"\n#include <easel/tensor.h>\n',
        "src/graph/graph.h": '#include "ops/attrs.h"\n#include "ops/linear/linear.h"\n',
        "src/ops/linear/reference.cpp": '#include "ops/kernel.h"\n#include "device/context.h"\n',
        "src/nn/nn_test.cpp": '#include "exec/session.h"\n',
        "src/nn/CMakeLists.txt": "easel_room(nn SOURCES layers.cpp DEPS graph)\n",
        "include/easel/tensor.h": "#include <easel/shape.h>\n",
    }
    bad = {
        "src/models/unet.cpp": '#include "device/context.h"\n',
        "src/nn/var.cpp": '#include "exec/session.h"\n',
        "src/graph/passes/x.cpp": '#include "ops/kernel.h"\n',
        "src/ops/linear/linear.cpp": '#include "device/memory.h"\n',
        "src/text/bpe.h": "#include <easel/tensor.h>\n",
        "src/io/png.h": '#  include "graph/graph.h"\n',
        "src/exec/x.cpp": "#include <easel/pipeline.h>\n",
        "src/pipelines/x.cpp": '#include "ops/kernel.h"\n',
        "src/base/x.h": '#include "sibling.h"\n',
        "src/attic/x.h": "\n",
        "src/models/CMakeLists.txt": "easel_room(models\n  SOURCES a.cpp\n  DEPS nn exec\n  LINK x)\n",
        "include/easel/shape.h": '#include "base/fail.h"\n',
    }
    failures = []
    for name, text in bad.items():
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, content in {**good, name: text}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content, encoding="utf-8")
            found = check(root)[0]
            if len(found) != 1 or not found[0].startswith(name):
                failures.append(f"{name}: expected exactly one complaint about it, found {found}")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, content in good.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
        failures += check(root)[0]
    print("\n".join(failures) or f"self-test: {len(bad)} broken arrows found, none where there are none")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    errors, count = check(options.root)
    print("\n".join(errors) or f"layers: {count} files hold to the arrows")
    return 1 if errors or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
