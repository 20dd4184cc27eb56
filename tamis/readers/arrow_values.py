"""Values of Arrow columns in JSON: as they are stored, which `native` undoes, or as a person reads them.

No value costs its row: a date that Python cannot hold, a time zone that nobody knows and bytes that are no
text become text, and are counted. Dates and times are printed by Arrow, which holds any year.
"""

import base64
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FAR = "beyond what Python and most tools hold, such as years after 9999"
UNDECODED = "not UTF-8: broken bytes are replaced by U+FFFD"
UNKNOWN_ZONE = "in an unknown time zone, read as UTC"
SAME_NAMES = "with several fields of one name, of which later ones get a number"
NOT_HELD = "of a type that Python cannot hold"
_YEAR = re.compile(r"^([+-]?)(\d+)(-\d\d-\d\d)")
_FAR_SECONDS = (-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999, of which every Python can hold the dates."""
_LONGEST_SECONDS = 86_400 * 999_999_999
_UTC = ("UTC", "Etc/UTC", "Z", "GMT", "+00:00")
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
MAGIC, PADDED = b"ARROW1", 8


@dataclass(frozen=True)
class Undecoded:
    """Bytes in a column of texts that are not UTF-8."""

    data: bytes

    def __str__(self) -> str:
        return self.data.decode("utf-8", "replace")


def is_json(kind: pa.DataType) -> bool:
    """Return whether JSON holds a value of a column of this type as it is."""
    if pa.types.is_dictionary(kind):
        return is_json(kind.value_type)
    return (
        is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a column holds bytes."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column holds lists, a map being none."""
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def unique_names(kind: pa.DataType | pa.Schema) -> list[str]:
    """Return the names of fields or columns, later ones of a name with a number: `a`, `a_2`, `a_3`."""
    given, names = [one.name for one in kind], []
    for name in given:
        called, number = name, 1
        while called in names or (number > 1 and called in given):
            number += 1
            called = f"{name}_{number}"
        names.append(called)
    return names


def json_values(column: pa.Array, odd: Counter[str] | None = None) -> list[Any]:
    """Return the values of a column as JSON holds them; `native` is the way back.

    Times are integers, decimals are printed by `str`, bytes are in base 64, maps lists of pairs. Values that
    are odd are counted in `odd` by what is odd about them.
    """
    return _Values(leaf=_stored, pairs=True, odd=Counter() if odd is None else odd).of(column)


def shown_values(column: pa.Array, odd: Counter[str] | None = None) -> list[Any]:
    """Return the values of a column as a person reads them in JSON: times, dates and spans in ISO 8601.

    Decimals are digits, bytes are in base 64, maps lists of objects with `key` and `value`. Texts that are
    not UTF-8 are `Undecoded`.
    """
    return _Values(leaf=_shown, pairs=False, odd=Counter() if odd is None else odd).of(column)


@dataclass(frozen=True, kw_only=True)
class _Values:
    """Form of written values: those that are not nested, maps (`pairs` or objects), and what is counted."""

    leaf: Callable[[pa.Array, Counter[str]], list[Any]]
    pairs: bool
    odd: Counter[str] = field(default_factory=Counter)

    def of(self, column: pa.Array) -> list[Any]:
        """Return the values of a column."""
        column = unencoded(column)
        kind = column.type
        if pa.types.is_struct(kind):
            return self._structs(column)
        if pa.types.is_map(kind):
            return self._maps(column)
        if pa.types.is_union(kind):
            shown = replace(self, leaf=_shown, pairs=False)  # there is no way back
            return [shown.of(pa.array([one.value], one.value.type))[0] for one in column]
        return self._lists(column) if is_list(kind) else self.leaf(column, self.odd)

    def _structs(self, column: pa.StructArray) -> list[Any]:
        names, present = unique_names(column.type), column.is_valid().to_pylist()
        if names != [one.name for one in column.type]:
            self.odd[SAME_NAMES] += sum(present)
        parts = zip(*map(self.of, column.flatten()), strict=True) if names else [()] * len(column)
        return [
            dict(zip(names, part, strict=True)) if there else None
            for there, part in zip(present, parts, strict=True)
        ]

    def _lists(self, column: pa.Array) -> list[Any]:
        values, lengths = iter(self.of(column.flatten())), column.value_lengths().to_pylist()
        return [None if length is None else [next(values) for _ in range(length)] for length in lengths]

    def _maps(self, column: pa.MapArray) -> list[Any]:
        pair = pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])
        lists = column.cast(pa.list_(pair))
        keys, items = map(self.of, lists.flatten().flatten())
        entries = (
            [key, item] if self.pairs else {"key": key, "value": item}
            for key, item in zip(keys, items, strict=True)
        )
        return [
            None if length is None else [next(entries) for _ in range(length)]
            for length in lists.value_lengths().to_pylist()
        ]


def unencoded_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a column, which may be an encoding of them."""
    if isinstance(kind, pa.BaseExtensionType):
        return unencoded_type(kind.storage_type)
    is_encoded = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)
    return unencoded_type(kind.value_type) if is_encoded else kind


def unencoded(column: pa.Array) -> pa.Array:
    """Return a column without what is only a way to store it."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return pa.array([None if one is None else str(one) for one in column.to_pylist()], pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        storage = column.storage
        return unencoded(storage.cast(pa.bool_()) if isinstance(kind, pa.Bool8Type) else storage)
    if pa.types.is_dictionary(kind):
        return unencoded(column.dictionary.take(column.indices))
    return unencoded(pc.run_end_decode(column)) if pa.types.is_run_end_encoded(kind) else column


def _stored(column: pa.Array, odd: Counter[str]) -> list[Any]:
    kind = column.type
    if pa.types.is_interval(kind):
        return [None if value is None else list(value) for value in column.to_pylist()]
    if pa.types.is_temporal(kind):
        _count_odd(column, odd)
        return column.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
    return _plain(column, odd, lambda undecoded: str(undecoded))


def _shown(column: pa.Array, odd: Counter[str]) -> list[Any]:
    kind = column.type
    if pa.types.is_interval(kind):
        return [None if value is None else _iso_interval(value) for value in column.to_pylist()]
    if pa.types.is_temporal(kind):
        _count_odd(column, odd)
        return iso_texts(column)
    if pa.types.is_decimal(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    return _plain(column, odd, lambda undecoded: undecoded)


def _plain(column: pa.Array, odd: Counter[str], undecoded: Callable[[Undecoded], Any]) -> list[Any]:
    """Return values that Python holds, bytes in base 64."""
    if is_bytes(column.type):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        found = [decoded(value) for value in column.cast(pa.large_binary(), safe=False).to_pylist()]
        odd[UNDECODED] += sum(isinstance(value, Undecoded) for value in found)
        return [undecoded(value) if isinstance(value, Undecoded) else value for value in found]
    except (ValueError, TypeError, OverflowError, LookupError, NotImplementedError, pa.ArrowException):
        found = list(_one_by_one(column))
        odd[NOT_HELD] += sum(isinstance(value, pa.Scalar) for value in found)
        return [str(value) if isinstance(value, pa.Scalar) else value for value in found]


def _one_by_one(column: pa.Array) -> Iterator[Any]:
    """Yield the values of a column in Python, in Arrow where Python cannot hold them."""
    for scalar in column:
        try:
            yield scalar.as_py()
        except (ValueError, TypeError, OverflowError, LookupError, NotImplementedError, pa.ArrowException):
            yield scalar


def decoded(value: bytes | None) -> str | Undecoded | None:
    """Return the text of these bytes, or them where they are none."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return Undecoded(value or b"")


@cache
def is_known_zone(zone: str | None) -> bool:
    """Return whether a time zone is known; no zone is, and UTC where no zones are installed."""
    if zone in (None, *_UTC) or _is_known_to_arrow(str(zone)):
        return True
    try:
        ZoneInfo(str(zone))
    except (LookupError, ValueError, OSError):
        return False
    return True


@cache
def _is_known_to_arrow(zone: str) -> bool:
    try:
        pc.cast(pa.array([0], pa.timestamp("s", zone)), pa.string())
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _count_odd(column: pa.Array, odd: Counter[str]) -> None:
    kind = column.type
    if pa.types.is_timestamp(kind) and not is_known_zone(kind.tz):
        odd[UNKNOWN_ZONE] += len(column) - column.null_count
    least, most = _bounds(kind)
    stored = column.view(pa.int32() if kind.bit_width == 32 else pa.int64()).drop_null()
    values = stored.to_numpy(zero_copy_only=False)
    if count := int(((values < least) | (values > most)).sum()):
        odd[FAR] += count


@cache
def _bounds(kind: pa.DataType) -> tuple[int, int]:
    """Return the least and the largest stored integer of a time, date or span that Python can hold."""
    unit = _UNITS[kind.unit] if hasattr(kind, "unit") else 1_000
    if pa.types.is_date32(kind):
        low, high, unit = -719_162, 2_932_896, 1
    elif pa.types.is_time(kind):
        low, high = 0, 86_399
    elif pa.types.is_duration(kind):
        low, high = -_LONGEST_SECONDS, _LONGEST_SECONDS
    else:
        low, high = _FAR_SECONDS
    bounds = np.iinfo(np.int32 if kind.bit_width == 32 else np.int64)
    return max(low * unit, int(bounds.min)), min((high + 1) * unit - 1, int(bounds.max))


def iso_texts(column: pa.Array) -> list[str | None]:
    """Return dates, times and spans in ISO 8601: `2024-01-02T03:04:05+00:00`, `PT1.5S`, `+12921-08-18`."""
    kind = column.type
    if pa.types.is_duration(kind):
        spans = column.view(pa.int64()).to_pylist()
        return [None if value is None else _iso_span(value, kind.unit) for value in spans]
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    in_utc = zone is not None and (zone in _UTC or not _is_known_to_arrow(zone))
    if in_utc:
        column = column.view(pa.int64()).view(pa.timestamp(kind.unit))
    texts = pc.cast(column, pa.string())
    if pa.types.is_timestamp(kind):
        texts = pc.replace_substring(texts, pattern=" ", replacement="T", max_replacements=1)
        if zone is not None:
            pattern, offset = (r"$", "+00:00") if in_utc else (r"([+-]\d\d)(\d\d)$", r"\1:\2")
            texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=offset)
    texts = pc.replace_substring_regex(texts, pattern=r"\.0+($|[+-])", replacement=r"\1")
    stored = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    return [_iso_year(text, value) for text, value in zip(texts.to_pylist(), stored.to_pylist(), strict=True)]


def _iso_year(text: str | None, stored: int) -> str | None:
    """Return a date with a sign before a year of over four digits, or its number where Arrow has none."""
    if text is None or text[4:5] == "-" or text[2:3] == ":":
        return text
    if (match := _YEAR.match(text)) is None:
        return str(stored)
    sign, year, rest = match.groups()
    return f"{sign or '+'}{year}{rest}{text[match.end() :]}" if len(year) > 4 else text


def _iso_span(value: int, unit: str) -> str:
    whole, part = divmod(abs(value), _UNITS[unit])
    digits = f".{part:0{_DIGITS[unit]}d}".rstrip("0") if part else ""
    return f"{'-' if value < 0 else ''}PT{whole}{digits}S"


def _iso_interval(value: tuple[int, int, int]) -> str:
    months, days, nanoseconds = value
    return f"P{months}M{days}D{_iso_span(nanoseconds, 'ns').replace('-PT', 'T-').removeprefix('P')}"


def native(value: Any, kind: pa.DataType, *, held: bool = False) -> Any:
    """Return what Arrow makes a value of this type of, from how `json_values` holds it.

    `kind`: a `kept_type`. `held`: null in place of times and spans that Python cannot hold.
    """
    if value is None:
        return None
    if pa.types.is_dictionary(kind):
        return native(value, kind.value_type, held=held)
    if pa.types.is_decimal(kind):
        return Decimal(value)
    if is_bytes(kind):
        return base64.b64decode(value)
    if pa.types.is_struct(kind):
        return {one.name: native(value.get(one.name), one.type, held=held) for one in kind}
    if pa.types.is_map(kind):
        return [(native(key, kind.key_type), native(one, kind.item_type, held=held)) for key, one in value]
    if pa.types.is_interval(kind):
        return tuple(value)
    if is_list(kind):
        return [native(one, kind.value_type, held=held) for one in value]
    if held and pa.types.is_temporal(kind):
        least, most = _bounds(kind)
        return value if least <= value <= most else None
    return value


def kept_type(kind: pa.DataType) -> pa.DataType:
    """Return the type as which a column's kept values come back: without encodings and repeated names."""
    if isinstance(kind, pa.BaseExtensionType):
        own = {pa.UuidType: pa.string(), pa.Bool8Type: pa.bool_()}
        return own.get(type(kind)) or kept_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        inner = kept_type(kind.value_type)
        return kind if pa.types.is_dictionary(kind) and is_text(inner) else inner
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(kept_type(kind.key_type), kept_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct(
            one.with_name(name).with_type(kept_type(one.type))
            for name, one in zip(unique_names(kind), kind, strict=True)
        )
    if is_list(kind):
        inner = kind.value_field.with_type(kept_type(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
        return pa.large_list(inner) if large else pa.list_(inner)
    return kind


def open_arrow(
    source: pa.MemoryMappedFile, options: pa.ipc.IpcReadOptions | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and batches of a file.

    `datasets` writes streams. Polars writes in front of the first batch what no stream has, so the footer
    says where the batches are; where it was cut off, those before the cut are read as a stream.
    """
    has_footer = source.read(len(MAGIC)) == MAGIC
    if has_footer:
        with contextlib.suppress(pa.ArrowException, OSError):
            file = pa.ipc.open_file(source, options=options)
            return file.schema, map(file.get_batch, range(file.num_record_batches))
    source.seek(PADDED if has_footer else 0)
    stream = pa.ipc.open_stream(source, options=options)
    return stream.schema, iter(stream)
