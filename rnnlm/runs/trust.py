"""Code that a run folder asks for: a cell of one's own is imported only where the user trusts it."""

from pathlib import Path

from rnnlm.config import Config
from rnnlm.errors import UserError


def check_trust(workdir: Path, config: Config, trust_code: bool) -> None:
    """Raise UserError where a run's cell is an import path, such as "package.module:Name", and code is not trusted."""
    module, colon, name = config.model.cell.partition(":")
    if colon and not trust_code:
        raise UserError(
            f"{workdir} holds a run whose cell is {name} of the module {module}, which would be imported and run: give "
            "--trust_code, or trust_code=True in Python, if you trust that module."
        )
