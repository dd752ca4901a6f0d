"""How a configuration key is declared: :func:`key`, and :class:`Keys`, the base of classes whose fields are keys.

A key is a field of a frozen pydantic model: an annotation (bool, int, float, str or a ``Literal`` of texts), a default, one
sentence that describes it, and bounds or a named check. Error lines, the reference page and the command ``fedgates config``
are made from that declaration.
"""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fedgates.config.checks import CHECKS
from fedgates.types import Value

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
"""Types of keys, in the words of error lines."""
_CHECK, _METHOD_DEFAULT = "x-check", "x-method-default"
"""Where a field's declaration, and its JSON Schema, has what pydantic has no place for."""


def key(
    default: Value,
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    check: str | None = None,
    method_default: Value | None = None,
) -> Any:  # noqa: ANN401  # as pydantic's Field, whose result is used as a value of the annotated type
    """Declare a key.

    Parameters
    ----------
    default : bool, int, float or str
        The value of a key that is not set.
    description : str
        What the key means, in one sentence.
    ge, gt, le, lt : float, optional
        Bounds of a number.
    check : str, optional
        Name of a check of a text, one of :data:`fedgates.config.checks.CHECKS`.
    method_default : bool, int, float or str, optional
        The value that selects the method's own default.

    Raises
    ------
    ValueError
        The description is empty, or there is no such check.
    """
    if not description.strip():
        raise ValueError("a key needs a description")
    if check is not None and check not in CHECKS:
        raise ValueError(f"check = {check!r}: expected one of {', '.join(CHECKS)}")
    extra: dict[str, Any] = {}
    if check is not None:
        extra[_CHECK] = check
    if method_default is not None:
        extra[_METHOD_DEFAULT] = method_default
    return Field(default, description=description, ge=ge, gt=gt, le=le, lt=lt, json_schema_extra=extra or None)


def kebab(name: str) -> str:
    """Return the key of a field: hyphens for underscores."""
    return name.replace("_", "-")


class Keys(BaseModel):
    """Base of classes whose fields are keys or tables of keys.

    Instances are frozen. Types are strict: an int is accepted for a float, a bool is not accepted for an int. Fields are
    snake_case in Python and kebab-case outside.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=kebab,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:  # noqa: ANN401  # pydantic's signature
        """Refuse a field that is not fully declared."""
        for name, field in cls.model_fields.items():
            if is_table(field):
                continue
            if kind_of(field) is None:
                expected = "bool, int, float, str, a Literal of texts, or a Table"
                raise TypeError(f"{cls.__name__}.{name} is annotated {field.annotation}, expected {expected}")
            if not field.description or field.is_required():
                raise TypeError(
                    f"{cls.__name__}.{name} has no default or no description: declare it with key(default, description)"
                )

    @field_validator("*")
    @classmethod
    def _check(cls, value: object, info: ValidationInfo) -> object:
        name = check_of(cls.model_fields[info.field_name or ""])
        if name is not None and not CHECKS[name].accepts(str(value)):
            raise PydanticCustomError("check", "{expected}", {"expected": CHECKS[name].expected(str(value))})
        return value


def is_table(field: FieldInfo) -> bool:
    """Whether a field is a table of keys."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Keys)


def kind_of(field: FieldInfo) -> type | None:
    """Return the type of a key's values, str for a ``Literal``; None if a key cannot have it."""
    if choices_of(field):
        return str
    return field.annotation if field.annotation in KINDS else None


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return the values that a ``Literal`` lists; none for any other annotation."""
    if get_origin(field.annotation) is not Literal:
        return ()
    values = get_args(field.annotation)
    return values if all(isinstance(value, str) for value in values) else ()


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """Return the bounds of a number: any of ge, gt, le and lt."""
    return {
        name: bound
        for name in ("ge", "gt", "le", "lt")
        for constraint in field.metadata
        if (bound := getattr(constraint, name, None)) is not None
    }


def check_of(field: FieldInfo) -> str | None:
    """Return the name of a text's check."""
    extra = field.json_schema_extra
    return str(extra[_CHECK]) if isinstance(extra, dict) and _CHECK in extra else None


def method_default_of(field: FieldInfo) -> Value | None:
    """Return the value that selects the method's own default; None if there is none."""
    extra = field.json_schema_extra
    value = extra.get(_METHOD_DEFAULT) if isinstance(extra, dict) else None
    return value if isinstance(value, bool | int | float | str) else None
