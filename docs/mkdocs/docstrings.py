"""Extension of griffe, which reads the docstrings for the site: Sphinx' roles become plain code."""

import re
from typing import Any

import griffe


class PlainRoles(griffe.Extension):
    """Shows ``:func:`name` `` as ``name``, and ``text::`` before an example as ``text:``."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of a module, class, function or attribute."""
        if obj.docstring:
            plain = re.sub(r':(?:attr|class|data|func|meth|mod):(?=`)', '', obj.docstring.value)
            obj.docstring.value = re.sub(r'::(?=\n\n)', ':', plain)
