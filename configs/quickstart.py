"""x"""

from configs import base
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return base.get_config()
