"""Bodies that are read to the letter: what is not known or not supported is refused by its name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Unsupported = Mapping[str, Sequence[Any]]


class Strict(BaseModel):
    """Refuses unknown parameters, other types, and parameters that are known but not supported."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    unsupported: ClassVar[Unsupported] = {}
    """Names, and the values beside null that change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        # The first alone, where pydantic would tell all.
        for name in data:
            if name not in known and name not in cls.unsupported:
                raise PydanticCustomError("unknown_parameter", "{name} is not a parameter here", {"name": name})
        for name, neutral in cls.unsupported.items():
            if data.get(name) is not None and data[name] not in neutral:
                raise PydanticCustomError("unsupported_parameter", "{name} is not supported", {"name": name})
        return {name: value for name, value in data.items() if name not in cls.unsupported}
