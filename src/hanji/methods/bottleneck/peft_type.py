"""`PeftType.BOTTLENECK`: PEFT's list of methods is a closed enum, and this file alone opens it.

`register_peft_method` takes foreign methods, but only under a name that is a member of `PeftType`, and an
enum with members can be neither subclassed nor extended by the means that Python offers. So the member is
made here as Python's own `enum` makes one. `tests/methods/test_bottleneck_registration.py` fails where a new
PEFT takes any name (delete this file then), has a method of this name, or keeps its members in another way.
"""

from __future__ import annotations

from typing import Any

from peft import PeftType

NAME = "BOTTLENECK"


def bottleneck_type() -> Any:
    """The member of `PeftType`, added on the first call."""
    if NAME not in PeftType.__members__:
        member = str.__new__(PeftType, NAME)
        member._name_ = member._value_ = NAME
        member.__objclass__ = PeftType
        member._sort_order_ = len(PeftType)
        setattr(PeftType, NAME, member)
        PeftType._member_names_.append(NAME)
        PeftType._member_map_[NAME] = member
        PeftType._value2member_map_[NAME] = member
    return PeftType(NAME)
