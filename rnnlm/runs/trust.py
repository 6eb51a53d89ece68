"""Import a cell that a file names from someone else's module only where the user trusts it."""

from rnnlm.config import ModelConfig, is_foreign
from rnnlm.errors import UserError


def check_trust(source: object, config: ModelConfig, trust_code: bool) -> None:
    """Raise UserError where the cell of a saved config is an import path, "package.module:Name", that is not trusted.

    `source` names in the error what holds the config.
    """
    if is_foreign(config.cell) and not trust_code:
        module, _, name = config.cell.partition(":")
        raise UserError(
            f"{source} has the cell {name} of the module {module}, which would be imported and run: give --trust_code, "
            "or trust_code=True in Python, if you trust that module."
        )
