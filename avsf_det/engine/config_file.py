"""Read configs: yaml files with ``_BASE_``, and KEY VALUE options. Reading runs no code.

Both become a list of :class:`Setting`, one for each key, so that an error names file and line.
"""

import ast
import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import yaml
from detectron2.config import CfgNode

from avsf_det.structures import ConfigError
from avsf_det.structures.addresses import beside, is_address, local_path

BASE = "_BASE_"
MAX_BYTES, MAX_NODES = 1_000_000, 20_000
# The only tag in the configs of Detectron2's model zoo (Base-RetinaNet.yaml), and its one argument.
_EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"
_ZOO_SIZES = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"
# Type of a key's default -> what a value must be.
_NEEDED = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: 'a list such as "[1, 2]"',
    tuple: "a tuple such as \"('a', 'b')\"",
}


@dataclass(frozen=True)
class Setting:
    """Value of one key."""

    key: str  # full key, "SOLVER.BASE_LR"
    value: object  # as it is written, not yet of the type of the key
    place: str  # where it is written: "file:line", or "command line"


class _Loader(yaml.SafeLoader):
    """Loader without tags that run code."""


def _construct_zoo_sizes(loader: yaml.SafeLoader, node: yaml.Node) -> list:
    if [getattr(item, "value", None) for item in node.value] != [_ZOO_SIZES]:
        return loader.construct_undefined(node)  # raises
    return [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in (32, 64, 128, 256, 512)]


_Loader.add_constructor(_EVAL_TAG, _construct_zoo_sizes)


def read_config_file(path: str, chain: tuple[str, ...] = ()) -> list[list[Setting]]:
    """Read a yaml file, local or of an address, and the files that it is based on.

    ``chain`` holds the files that lead to this one by ``_BASE_``.

    Returns:
        settings of each file, in the order in which they apply: the file itself is last.

    Raises:
        ConfigError: a file is missing, is no yaml with keys, has a tag that runs code, sets a key
            twice, or is based on itself.
    """
    identity = path if is_address(path) else os.path.realpath(path)
    if identity in chain:
        names = " -> ".join(os.path.basename(name) for name in (*chain, identity))
        raise ConfigError(f"{path}: {BASE} leads back to the file itself: {names}")
    settings = _read_settings(path)
    given = next((setting for setting in settings if setting.key == BASE), Setting(BASE, [], path))
    settings = [setting for setting in settings if setting is not given]
    for i, setting in enumerate(settings):  # those of a published folder are beside the config
        if setting.key == "MODEL.WEIGHTS" and isinstance(setting.value, str):
            settings[i] = replace(setting, value=beside(path, setting.value))
    bases, place, sources = given.value, given.place, []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f"{place}: {BASE} is {shorten(base)}; it needs the path of a yaml file"
            )
        if not is_address(base):
            base = os.path.join(os.path.dirname(path), os.path.expanduser(base))
            if not os.path.isfile(base):
                raise ConfigError(f"{place}: {BASE} {base} is no file")
        sources += read_config_file(base, (*chain, identity))
    return [*sources, settings]


def _read_settings(path: str) -> list[Setting]:
    text = _read_text(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        _check_size(root, path)
        if not isinstance(root, yaml.MappingNode) or root.tag != loader.DEFAULT_MAPPING_TAG:
            what = "is empty" if root is None else "has no KEY: VALUE lines"
            if root is not None:
                loader.construct_document(root)  # raises if its tag is refused
            raise ConfigError(f"{path}: {what}; give a yaml config")
        return [*_settings_of_node(loader, root, path, "")]
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{number}: has a character that no text has") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if "python/" in problem:
            tag = problem.split("python/")[-1].strip("'")
            problem = f"the tag !!python/{shorten(tag)[1:-1]} can run code, and is refused"
        raise ConfigError(f"{path}{line}: {problem[:200]}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply for a config") from None


def _read_text(path: str) -> str:
    try:
        local = local_path(path)
    except OSError as error:
        raise ConfigError(f"Config file '{path}' cannot be read ({error})") from error
    if not os.path.isfile(local):  # FIFOs and devices, which could block, included
        what = "is no regular file" if os.path.exists(local) else "does not exist"
        raise ConfigError(f"Config file '{path}' {what}")
    with open(local, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes, so it is no config")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is no text in UTF-8") from None


def _check_size(root: yaml.Node | None, path: str) -> None:
    """Refuse aliases that multiply or contain themselves."""
    nodes = [root] if root else []
    for node in nodes:  # which grows
        if isinstance(node, yaml.MappingNode):
            nodes += [x for pair in node.value for x in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        if len(nodes) > MAX_NODES:
            raise ConfigError(f"{path}: has more than {MAX_NODES} values; aliases (*) multiply")


def _settings_of_node(
    loader: _Loader, node: yaml.MappingNode, path: str, prefix: str
) -> Iterator[Setting]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        place = f"{path}:{key_node.start_mark.line + 1}"
        key = _construct(loader, key_node, path)
        if not isinstance(key, str):
            raise ConfigError(f"{place}: the key {shorten(key)} is no text")
        if key in seen:
            raise ConfigError(f"{place}: {prefix}{key} stands here twice; join the two")
        seen.add(key)
    loader.flatten_mapping(node)  # "<<: *anchor"; keys of the node itself come last
    for key_node, value in node.value:
        key = f"{prefix}{key_node.value}"
        if isinstance(value, yaml.MappingNode) and value.tag == loader.DEFAULT_MAPPING_TAG:
            yield from _settings_of_node(loader, value, path, f"{key}.")
        else:
            place = f"{path}:{key_node.start_mark.line + 1}"
            yield Setting(key, _construct(loader, value, path), place)


def _construct(loader: _Loader, node: yaml.Node, path: str) -> object:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, TypeError, OverflowError):  # "!!int x", "!!bool x", 2020-13-01
        line = node.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: {shorten(node.value)} is no value of its type") from None


def read_options(options: Sequence[object]) -> Iterator[Setting]:
    """Yield the settings of KEY VALUE, KEY=VALUE and KEY = VALUE options.

    Raises:
        ConfigError: a key has no value.
    """
    place = "command line"
    items = iter(options)
    for item in items:
        key, equals, value = str(item).partition("=")
        found = value if equals else next(items, None)
        if not equals and found == "=":
            found = next(items, None)
        if found is None:
            raise ConfigError(f"{place}: {shorten(key)} has no value; options are KEY VALUE pairs")
        yield Setting(key, found, place)


def apply_setting(cfg: CfgNode, setting: Setting) -> None:
    """Set a key of a config.

    A whole number is taken for a key of type float and the other way round if nothing is lost.

    Raises:
        ConfigError: the key does not exist, or the value is of another type.
    """
    *groups, name = setting.key.split(".")
    node = cfg
    for group in groups:
        node = node.get(group) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        raise ConfigError(f"{setting.place}: {_describe_unknown(cfg, setting.key)}")
    old = node[name]
    if isinstance(old, CfgNode):
        keys = ", ".join(f"{setting.key}.{key}" for key in [*old][:3])
        raise ConfigError(
            f"{setting.place}: {setting.key} is a group of keys, such as {keys}; set one of these"
        )
    try:
        node[name] = _convert(setting.value, old)
    except TypeError:
        said = f"is {shorten(setting.value)}; it needs {_NEEDED[type(old)]}"
        # "KEY KEY VALUE": the value of the first is missing.
        if isinstance(setting.value, str) and setting.value in all_keys(cfg):
            said = f"has no value; {setting.value} follows"
        raise ConfigError(f"{setting.place}: {setting.key} {said}") from None


def _convert(value: object, old: object) -> object:
    """Return a value in the type of the value that it replaces, or raise TypeError."""
    literal = value
    if isinstance(value, str):
        try:
            literal = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            literal = {"true": True, "false": False}.get(value, value)  # as in yaml
    if isinstance(old, str):
        if isinstance(literal, str):
            return literal
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        return str(value)
    if old is None or type(literal) is type(old):
        return literal
    if isinstance(old, list | tuple) and isinstance(literal, list | tuple):
        return type(old)(literal)
    if type(old) is float and type(literal) is int and abs(literal) < 2**53:
        return float(literal)
    if type(old) is int and isinstance(literal, float) and literal.is_integer():
        return int(literal)
    raise TypeError


def all_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    """Return the full names of all keys of a config."""
    keys = []
    for name, value in cfg.items():
        inner = isinstance(value, CfgNode)
        keys += all_keys(value, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return keys


def _describe_unknown(cfg: CfgNode, key: str) -> str:
    keys = all_keys(cfg)
    if key.startswith("-"):
        return f"unknown option {shorten(key)}"
    wanted = key.upper().replace("-", "_")
    # "max_iter" is near to the last part of SOLVER.MAX_ITER, "MODEL.WEIGTHS" to the whole.
    near = [k for k in keys if k.rpartition(".")[2] == wanted.rpartition(".")[2]]
    near = difflib.get_close_matches(wanted, near or keys, 1, 0.3 if near else 0.75)
    if not near:
        ends = {k.rpartition(".")[2]: k for k in keys}
        near = [ends[x] for x in difflib.get_close_matches(wanted.rpartition(".")[2], ends, 1)]
    hint = f"; the nearest is {near[0]}" if near else ""
    return f"there is no config key {shorten(key)}{hint}"


def shorten(value: object, length: int = 60) -> str:
    """Return a value's text on one line, cut in the middle if it is long."""
    text = " ".join((repr(value) if isinstance(value, str) else str(value)).split())
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"
