"""A claim is a statement that is measured where it is made, and that fails when it is not true."""

__all__ = ["ClaimFailed", "claim"]


class ClaimFailed(AssertionError):
    """What was measured contradicts the statement."""


def claim(statement: str, holds: bool, *, measured: object = None) -> None:
    """Print the statement and what was measured, or fail.

    Args:
        statement: one sentence with its threshold. It is compared when the notebook is run as a
            test, so nothing that varies from run to run belongs in it.
        holds: a comparison of measured values; a tensor or array of one element will do.
        measured: the figures behind it; printed, but not compared. A float is shown with three
            significant digits, anything else as it is.

    Raises:
        ClaimFailed: if ``holds`` is false.
        TypeError: if ``holds`` is not a truth value: a number or a string would always hold.
        ValueError: if the statement is empty or takes more than one line.

    Example:
        >>> claim("Two is less than three.", 2 < 3, measured=2 / 3)
        ✓ Two is less than three. (measured 0.667)
        >>> claim("Three is less than two.", 3 < 2)
        Traceback (most recent call last):
        ...
        normtutorial.claims.ClaimFailed: Three is less than two.
    """
    if not isinstance(statement, str) or not statement.strip() or "\n" in statement:
        raise ValueError(f"claim expects a statement of one line; got {statement!r}.")
    if hasattr(holds, "item"):  # a torch or numpy scalar
        holds = holds.item()
    if not isinstance(holds, bool):
        raise TypeError(
            f"claim expects a comparison, True or False; got {holds!r} of type "
            f"{type(holds).__name__} for {statement!r}."
        )
    if isinstance(measured, float):
        measured = f"{measured:.3g}"
    line = statement if measured is None else f"{statement} (measured {measured})"
    if not holds:
        raise ClaimFailed(line)
    print(f"✓ {line}")
