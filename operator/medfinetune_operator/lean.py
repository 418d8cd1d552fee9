"""Imported before kopf. kopf imports the official client, where it is installed, only to recognise its models: 1,700 modules, 70 MB and seconds of start that
nothing here needs. None in `sys.modules` is how Python is told that a module cannot be imported.
"""

import sys

sys.modules.setdefault("kubernetes", None)  # type: ignore[arg-type]  # None is a documented entry, the stubs do not know it
