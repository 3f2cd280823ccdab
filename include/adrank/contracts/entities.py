"""How an entity that is made of two ids is spelled: the same in SQL, online keys and training."""

from __future__ import annotations


def user_category(user_id: str | None, category: str | None) -> str | None:
    """``<user>|<category>``, with ``%`` and ``|`` of the user id escaped so that the first ``|`` parts them.

    None where either is unknown: there is no such entity then.
    """
    if user_id is None or category is None:
        return None
    return f"{user_id.replace('%', '%25').replace('|', '%7C')}|{category}"
