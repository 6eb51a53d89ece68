"""rnnlm data: list the corpora, describe one of them or one's own files, and clean the cache."""

import sys

from absl import flags

from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError


def main(argv: list[str]) -> int:
    """Print the corpora, or what is known of one, or what cleaning the cache has freed."""
    values = flags.FlagValues()
    flags.DEFINE_bool("clean", False, "remove from the cache what can be made again", flag_values=values)
    flags.DEFINE_bool("binary", False, "take files as they are, as data.binary does", flag_values=values)
    # A shell may have replaced a glob by its files.
    rest = parse("data", values, argv, positional=sys.maxsize, usage="[NAME | PATH ...]")
    if values.clean and rest:
        raise UserError(f"--clean cleans the whole cache: leave out {rest[0]!r}.")
    if values.binary and not rest:
        raise UserError("--binary says how files are opened: name them, as in rnnlm data PATH --binary.")
    if values.clean:
        show_cleaning()
    elif rest:
        show_text(",".join(rest), values.binary)
    else:
        show_corpora()
    return 0


def show_corpora() -> None:
    """Print each corpus and where it is, the folders that were searched, and what the cache holds."""
    from rnnlm.data import cache, describe, published
    from rnnlm.files import cache_dir

    for row in describe.list_corpora():
        if row["name"] == "stdlib":
            print(f"{'stdlib':16} {'':>13}        here   the running interpreter's own source code")
        else:
            place = f"here   {row['path']}" if row["path"] else f"absent {row['url']}"
            print(f"{row['name']:16} {row['bytes']:>13,} bytes  {place}")
    print("\npublished texts were looked for in" + ("" if published.given_dir() else " ($RNNLM_DATA_DIR is not set)"))
    for folder in published.search_dirs():
        print(f"  {folder}{'' if folder.is_dir() else '  (not there)'}")
    total = sum(row["bytes"] for row in cache.describe_cache())
    print(f"\nthe cache {cache_dir()} has {total:,} bytes; rnnlm data --clean removes what can be made again")


def show_text(name: str, binary: bool) -> None:
    """Print what is known of a corpus or of one's own files."""
    from rnnlm.data import describe

    row = describe.describe_text(name, binary)
    print(f"{row['name']}\npath      {row['path']}")
    if row["files"] > 1 or row["unpacked"]:
        unpacked = f", {row['unpacked']:,} of them compressed" if row["unpacked"] else ""
        print(f"files     {row['files']:,} of {row['source_bytes']:,} bytes{unpacked}")
    print(f"bytes     {row['bytes']:,}\nsha256    {row['sha256']}")
    counts = row["symbols"]
    print(f"symbols   {counts['byte']} (byte), {counts['byte_seen']} (byte_seen)")
    print(f"          no char: {row['no_char']}" if counts["char"] is None else f"          {counts['char']} (char)")
    for spec, offsets in row["splits"].items():
        print(f"{spec:14}" + "  ".join(f"{split} {begin:,}..{end:,}" for split, (begin, end) in offsets.items()))


def show_cleaning() -> None:
    """Clean the cache, and print what each of its folders had and how much was freed."""
    from rnnlm.data import cache
    from rnnlm.files import cache_dir

    rows = cache.clean_cache()
    print(f"the cache {cache_dir()}")
    for row in rows:
        fate = "kept" if row["name"] in cache.KEPT else "removed"
        print(f"  {row['name']:9} {row['bytes']:>13,} bytes {row['files']:>6,} files  {row['about']}: {fate}")
    freed = sum(row["freed"] for row in rows)
    print(f"freed {freed:,} bytes; texts are made again of their files, where these still are")
