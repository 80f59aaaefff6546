"""Imported by Python itself before any program, here for one: Seldon's wrapper.

It reads variables and parameters before it imports our class, and ends on a wrong one with a stack
trace. PYTHONPATH in .s2i/environment makes Python find this file.
"""

import os
import sys

if os.path.basename(sys.argv[0]) == "seldon-core-microservice":  # noqa: PTH119  pathlib is slow
    from seldon_node import preflight

    preflight.begin()
