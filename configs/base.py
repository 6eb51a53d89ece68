"""The config of defaults, which the other configs change.

    python configs/base.py          # print each key with its default, unit and reason

The keys are declared in rnnlm/config.py.
"""

from rnnlm import config

get_config = config.default_config

if __name__ == "__main__":
    print(config.describe_keys())
