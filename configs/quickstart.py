"""First run: the source code of Python's own standard library, in three minutes on 2 CPU cores.

make run
"""

from configs import base
