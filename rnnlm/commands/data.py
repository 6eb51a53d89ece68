"""rnnlm data: list the corpora, or fetch, check and describe one of them."""

from absl import flags

from rnnlm.commands.overrides import parse
from rnnlm.errors import UserError


def main(argv: list[str]) -> int:
    """Print the corpora, or what is known of one."""
    values = flags.FlagValues()
    rest = parse("data", values, argv, positional=1)

    from rnnlm.data import corpora, published, splits, text

    if not rest:
        for name in corpora.NAMES:
            if name == "stdlib":
                print(f"{name:16} {'':>13}        here   the running interpreter's own source code")
                continue
            source = published.SOURCES[name]
            path = published.find_local(name)
            print(f"{name:16} {source.size:>13,} bytes  {f'here   {path}' if path else f'absent {source.url}'}")
        return 0
    corpus = corpora.by_name(rest[0])
    seen = text.vocabulary_of(corpus.path, "byte_seen")
    print(f"{corpus.name}\npath      {corpus.path}\nbytes     {corpus.size:,}\nsha256    {corpus.sha256}")
    print(f"symbols   256 (byte), {len(seen)} (byte_seen)")
    try:
        print(f"          {len(text.vocabulary_of(corpus.path, 'char'))} (char)")
    except UserError as error:
        print(f"          no char: {error}")
    specs = ["graves_96_4", "std_90_5_5"] if corpus.size == 100_000_000 else []
    for spec in [*specs, "0.9/0.05/0.05"]:
        offsets = splits.split_offsets(spec, corpus)
        print(f"{spec:14}" + "  ".join(f"{name} {begin:,}..{end:,}" for name, (begin, end) in offsets.items()))
    return 0
