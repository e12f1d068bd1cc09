"""Reads pickles without running anything: no class or function that a pickle names is imported or called.

Input: the bytes of a pickle of unknown origin. Output: plain containers, numbers, strings and numpy arrays; where foreign objects are let
in, a `Record` stands for each of them.

Python's own Unpickler is not used: it calls what it is given, hashes nested tuples of any depth (which ends the process), and lets a
pickle set attributes of the functions that stand in for others. Arrays are built here from their bytes and a dtype text that must name
plain numbers or fixed-length strings.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPE = re.compile(r"[<>=|]?(\?|[biufcSU]\d{1,9})")
_NUMBERS = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_"
_DEEPEST = 100
_LARGEST = 50_000_000  # values, each counted as often as it occurs
_ATOMS = (str, int, float, complex, bytes, bool, type(None), np.generic)
_LEAVES = (*_ATOMS, np.ndarray, np.dtype, bytearray)
_MARK = object()


class RefusedError(Exception):
    """What a pickle holds that is not read."""


class Record:
    """Stands for a foreign object: what the pickle says of it, and nothing that acts.

    Attributes:
        name: module and name of its class, as "gym3.types.Discrete".
        arguments: what it would have been made of; None for the class itself.
        state: what would have been set on it.
        items: what would have been appended, or set as (key, value).
    """

    __slots__ = ("arguments", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None
        self.items: list[Any] = []

    def __repr__(self) -> str:
        shown = ascii(self.name)[1:-1][:80]  # a terminal would obey some characters
        return f"an object of {shown}" if self.arguments is not None else shown


class _Dtype:
    """Stands where numpy.dtype stood until the machine is done."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any) -> None:
        if isinstance(text, Record) and text.arguments is None and text.name.partition(".")[2] in _NUMBERS.split():
            self.dtype = np.dtype(text.name.partition(".")[2].rstrip("_"))
        elif isinstance(text, str) and _DTYPE.fullmatch(text):
            self.dtype = np.dtype(text)
        else:
            raise RefusedError(f"it has an array of dtype {str(text)[:60]!r}")

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise RefusedError("it has an array with a structured dtype")
        if state[1] in (">", "<", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands where an ndarray stood until its state comes."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: list[int] = []  # of the memo


class _Machine:
    """The stack, the memo, and a method for each kind of opcode."""

    def __init__(self, data: bytes, foreign: bool) -> None:
        self._data, self._foreign = data, foreign
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        # A pickle can name the same bytes again and again and have arrays made of them.
        self._room = 4 * len(data) + 65536

    def run(self) -> Any:
        """What the pickle holds."""
        for opcode, argument, _ in pickletools.genops(self._data):
            method = _METHODS.get(opcode.name)
            if method is None:
                raise RefusedError(f"it uses {opcode.name}")
            method(self, argument)
        return self._stack.pop()

    # ---- stack and memo ----

    def _since_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                found = self._stack[place + 1 :]
                del self._stack[place:]
                return found
        raise RefusedError("it has no mark where one is needed")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, _: Any) -> None:
        self._stack.pop()

    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _put(self, place: int) -> None:
        value = self._memo[place] = self._stack[-1]
        if isinstance(value, _Array):
            value.places.append(place)

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    # ---- containers ----

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count or _MARK in self._stack[-count:]:
            raise RefusedError("it has a tuple without items")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set_items(items)

    def _frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(map(_key, self._since_mark())))

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Record):
            target.items += items
        elif isinstance(target, set):
            target.update(map(_key, items))
        elif isinstance(target, list):
            target += items
        else:
            raise RefusedError(f"it appends to {type(target).__name__}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        pairs = list(zip(items[::2], items[1::2], strict=True))
        if isinstance(target, Record):
            target.items += pairs
        elif isinstance(target, dict):
            for key, value in pairs:
                target[_key(key)] = value
        else:
            raise RefusedError(f"it sets items of {type(target).__name__}")

    # ---- objects ----

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("it names something without a text")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in _KNOWN and not self._foreign:
            raise RefusedError(f"it names {Record(full)}")
        self._stack.append(Record(full))

    def _outside(self, what: str, arguments: tuple[Any, ...]) -> None:
        if not self._foreign:
            raise RefusedError(f"it uses {what}")
        self._stack.append(Record(what, arguments))

    def _make(self, named: Any, arguments: Any) -> None:
        """What `named(*arguments)` would be."""
        if not isinstance(arguments, tuple):
            raise RefusedError("it has a call without arguments")
        if isinstance(named, Record) and named.arguments is None and named.name in _MAKERS:
            self._stack.append(_MAKERS[named.name](self, *arguments))
        elif self._foreign:
            self._stack.append(Record(named.name if isinstance(named, Record) else repr(type(named)), arguments))
        else:
            raise RefusedError(f"it calls {named if isinstance(named, Record) else type(named).__name__}")

    def _reduce(self, _: Any) -> None:
        arguments, named = self._stack.pop(), self._stack.pop()
        self._make(named, arguments)

    def _new_with_names(self, _: Any) -> None:
        names, arguments, named = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._make(named, (*arguments, names) if isinstance(arguments, tuple) else arguments)

    def _instance(self, name: str) -> None:
        arguments = tuple(self._since_mark())
        self._name(*name.split(" ", 1))
        self._make(self._stack.pop(), arguments)

    def _object(self, _: Any) -> None:
        named, *arguments = self._since_mark()
        self._make(named, tuple(arguments))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Record) and target.arguments is not None:
            target.state = state
        elif isinstance(target, _Dtype):
            target.set_state(state)
        elif isinstance(target, _Array):
            if not isinstance(state, tuple) or len(state) != 5:
                raise RefusedError("it has a damaged array")
            _, shape, dtype, fortran, data = state
            array = self.array(data, dtype, shape, "F" if fortran else "C")
            self._stack[-1] = array
            self._memo.update(dict.fromkeys(target.places, array))
        elif not isinstance(target, OrderedDict):  # whose attributes are nothing to us
            raise RefusedError(f"it sets attributes of {type(target).__name__}")

    def array(self, data: Any, dtype: Any, shape: Any, order: str = "C") -> NDArray[Any]:
        """An array of these bytes."""
        if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
            raise RefusedError("it has an array without plain bytes")
        self._room -= len(data)
        if self._room < 0:
            raise RefusedError("its arrays ask for more memory than the file has")
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise RefusedError("it has an array of no size")
        return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _key(value: Any) -> Any:
    """A dict's key or a set's item. Hashing a nested tuple takes as long as its author likes, or ends the process."""
    if type(value) is str:
        return value
    flat = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(each, (*_ATOMS, Record)) for each in flat):
        raise RefusedError(f"it has a key of {type(value).__name__}")
    return value


def _dtype(_: _Machine, text: Any = None, *more: Any) -> _Dtype:
    return _Dtype(text)


def _no_array(_: _Machine, *arguments: Any) -> Any:
    raise RefusedError("it calls numpy.ndarray itself")


def _scalar(machine: _Machine, dtype: Any, data: Any = b"") -> Any:
    return machine.array(data, dtype, (1,))[0]


def _latin1(machine: _Machine, text: Any, encoding: Any = "latin1") -> bytes:
    # Protocol 2 spells bytes as _codecs.encode(text, "latin1"); no other codec is needed, so no other is let in.
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise RefusedError(f"_codecs.encode with encoding {encoding!r}")
    machine._room -= len(text)
    if machine._room < 0:
        raise RefusedError("its texts ask for more memory than the file has")
    return text.encode("latin1")


def _no_bytes(_: _Machine) -> bytes:
    # Protocols 0 to 2 spell b"" as bytes(); bytes(n) could ask for any amount of memory, so it takes no argument here.
    return b""


def _set(_: _Machine, items: Any = ()) -> set[Any]:
    return set(map(_key, items))


def _ordered(_: _Machine, items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in items)


def _complex(_: _Machine, real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "builtins.set": _set,
    "builtins.frozenset": lambda machine, items=(): frozenset(_set(machine, items)),
    "builtins.complex": _complex,
    "builtins.bytes": _no_bytes,
    "_codecs.encode": _latin1,
    "numpy.dtype": _dtype,
    "numpy.ndarray": _no_array,
    **{f"numpy.{core}.multiarray._reconstruct": lambda machine, *_: _Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{
        f"numpy.{core}.numeric._frombuffer": lambda machine, *given: machine.array(*given) for core in ("core", "_core")
    },
}
_KNOWN = frozenset(_MAKERS) | {f"numpy.{name}" for name in _NUMBERS.split()}
_PUSHED = """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES
    BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"""
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(_PUSHED.split(), _Machine._push),
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_SET": lambda machine, _: machine._push(set()),
    "MARK": lambda machine, _: machine._push(_MARK),
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "DUP": _Machine._duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    "MEMOIZE": _Machine._memoize,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "LIST": _Machine._list,
    "DICT": _Machine._dict,
    "FROZENSET": _Machine._frozenset,
    "APPEND": lambda machine, _: machine._append([machine._stack.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine._append(machine._since_mark())),
    "SETITEM": lambda machine, _: machine._set_items([machine._stack.pop(-2), machine._stack.pop()]),
    "SETITEMS": lambda machine, _: machine._set_items(machine._since_mark()),
    "GLOBAL": lambda machine, name: machine._name(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._name(machine._stack.pop(-2), machine._stack.pop()),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine._reduce),
    "NEWOBJ_EX": _Machine._new_with_names,
    "INST": _Machine._instance,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
    "PERSID": lambda machine, name: machine._outside("a persistent id", (name,)),
    "BINPERSID": lambda machine, _: machine._outside("a persistent id", (machine._stack.pop(),)),
    **dict.fromkeys(
        ("EXT1", "EXT2", "EXT4"), lambda machine, code: machine._outside(f"extension code {code}", (code,))
    ),
}


class _Check:
    """Goes through what a pickle holds: how deep, how much, and that nothing of the machine is left in it."""

    def __init__(self, foreign: bool) -> None:
        self._foreign = foreign
        self._sizes: dict[int, float] = {}

    def size(self, value: Any, depth: int = 0) -> float:
        """How many values there are, each counted as often as it occurs."""
        if isinstance(value, _LEAVES):
            return 1
        if id(value) in self._sizes:
            found = self._sizes[id(value)]
            if math.isnan(found):
                raise RefusedError("it contains itself")
            return found
        if depth > _DEEPEST:
            raise RefusedError(f"it is nested more than {_DEEPEST} deep")
        self._sizes[id(value)] = math.nan
        total = 1.0
        for each in self._parts(value):
            total += 1 if isinstance(each, _LEAVES) else self.size(each, depth + 1)
        if total > _LARGEST:
            raise RefusedError(f"it holds more than {_LARGEST:,} values")
        self._sizes[id(value)] = total
        return total

    def _parts(self, value: Any) -> tuple[Any, ...] | list[Any]:
        if isinstance(value, dict):
            return [*value, *value.values()]
        if isinstance(value, (list, tuple, set, frozenset)):
            return [*value]
        if isinstance(value, Record) and self._foreign:
            return (value.arguments, value.state, value.items)
        if isinstance(value, _Array):
            raise RefusedError("it has a damaged array")
        raise RefusedError(f"it holds {value if isinstance(value, Record) else type(value).__name__}")


def run(data: bytes, *, foreign: bool) -> Any:
    """What a pickle holds.

    Args:
        data: the whole pickle.
        foreign: let foreign objects in, as records; without it they are refused.

    Raises:
        RefusedError: something that is not read.
        Exception: of any other kind, for a damaged pickle.
    """
    value = _Machine(data, foreign).run()
    if isinstance(value, _Dtype):
        value = value.dtype
    _Check(foreign).size(value)
    return value
