"""Declaration of configuration keys: :func:`key`, and :class:`Keys`, the base class for groups of keys.

A key is a field of a frozen pydantic model: an annotation (bool, int, float, str or a ``Literal`` of strings), a default, a
one-sentence description, and bounds or a named check. Error messages, the reference page and the command ``fedgates config``
are generated from this declaration.
"""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from fedgates.config.checks import CHECKS
from fedgates.types import Value

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
"""Types of keys, as error messages name them."""
_CHECK, _METHOD_DEFAULT = "x-check", "x-method-default"
"""Entries of ``json_schema_extra`` for properties of a key that pydantic has no argument for."""


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
    example: Value | None = None,
) -> Any:  # noqa: ANN401  # like pydantic's Field, it is assigned to fields of any type
    """Declare a key.

    Parameters
    ----------
    default : bool, int, float or str
        Value of the key if it is not set.
    description : str
        Meaning of the key, in one sentence.
    ge, gt, le, lt : float, optional
        Bounds of a number.
    check : str, optional
        Name of a check for a string, one of :data:`fedgates.config.checks.CHECKS`.
    method_default : bool, int, float or str, optional
        Value that selects the method's own default.
    example : bool, int, float or str, optional
        Value that documentation shows, for a key whose default switches something off.

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
    examples = None if example is None else [example]
    return Field(
        default, description=description, ge=ge, gt=gt, le=le, lt=lt, examples=examples, json_schema_extra=extra or None
    )


def kebab(name: str) -> str:
    """Convert the name of a field to that of a key: underscores become hyphens."""
    return name.replace("_", "-")


class Keys(BaseModel):
    """Base class for groups of keys; its fields are keys or tables of keys.

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
        """Raise a TypeError if a field is not fully declared."""
        for name, field in cls.model_fields.items():
            if is_table(field):
                continue
            if kind_of(field) is None:
                expected = "bool, int, float, str, a Literal of strings, or a Table"
                raise TypeError(f"{cls.__name__}.{name} is annotated {field.annotation}, expected {expected}")
            if not field.description or field.is_required():
                raise TypeError(
                    f"{cls.__name__}.{name} has no default or no description: declare it with key(default, description)"
                )
            for example in field.examples or ():
                if errors_of(cls, kebab(name), example):
                    raise TypeError(f"{cls.__name__}.{name} has the example {example!r}, which it does not accept")

    @field_validator("*")
    @classmethod
    def _check(cls, value: object, info: ValidationInfo) -> object:
        name = check_of(cls.model_fields[info.field_name or ""])
        if name is not None and not CHECKS[name].accepts(str(value)):
            raise PydanticCustomError("check", "{expected}", {"expected": CHECKS[name].expected(str(value))})
        return value


def errors_of(keys: type[Keys], name: str, value: object) -> list[ErrorDetails]:
    """Return the validation errors of one key for a value, without those that depend on other keys."""
    try:
        keys.model_validate({name: value})
    except ValidationError as error:
        return [found for found in error.errors() if found["loc"] == (name,)]
    return []


def is_table(field: FieldInfo) -> bool:
    """Return whether a field is a table of keys."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Keys)


def kind_of(field: FieldInfo) -> type | None:
    """Return the type of a field's values (str for a ``Literal``), or None if a key cannot have this type."""
    if choices_of(field):
        return str
    return field.annotation if field.annotation in KINDS else None


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return the strings of a ``Literal``, or an empty tuple for any other annotation."""
    if get_origin(field.annotation) is not Literal:
        return ()
    values = get_args(field.annotation)
    return values if all(isinstance(value, str) for value in values) else ()


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """Return the bounds of a numeric field: any of ge, gt, le and lt."""
    return {
        name: bound
        for name in ("ge", "gt", "le", "lt")
        for constraint in field.metadata
        if (bound := getattr(constraint, name, None)) is not None
    }


def check_of(field: FieldInfo) -> str | None:
    """Return the name of a field's check, or None if it has none."""
    extra = field.json_schema_extra
    return str(extra[_CHECK]) if isinstance(extra, dict) and _CHECK in extra else None


def method_default_of(field: FieldInfo) -> Value | None:
    """Return the value that selects the method's own default, or None if there is none."""
    extra = field.json_schema_extra
    value = extra.get(_METHOD_DEFAULT) if isinstance(extra, dict) else None
    return value if isinstance(value, bool | int | float | str) else None
