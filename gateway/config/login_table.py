"""Section [accounts]: which table and columns hold the product's logins, and what the presets fill in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, SecretStr, model_validator

from gateway.config.values import IDENTIFIER, Column, DatabaseUrl, Flag, OptionalColumn, Secret, Table

_ACTIVE = re.compile(rf"(?:(?:(?P<not>not:)|(?P<null>null:))?(?P<column>{IDENTIFIER}))?")
_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "django": {
        "table": "auth_user",
        "columns": {"id": "id", "login": "email", "password": "password", "active": "is_active"},
    },
    "laravel": {"table": "users", "columns": {"id": "id", "login": "email", "password": "password", "active": ""}},
    "devise": {"table": "users", "columns": {"id": "id", "login": "email", "password": "encrypted_password", "active": ""}},
    "wordpress": {"table": "wp_users", "columns": {"id": "ID", "login": "user_email", "password": "user_pass", "active": ""}},
}


@dataclass(frozen=True, slots=True)
class ActiveColumn:
    """Which column says that an account may sign in: when it is true, when it is "not" true, or when it is "null"."""

    column: str
    form: Literal["true", "not", "null"] = "true"

    def __str__(self) -> str:
        return self.column if self.form == "true" else f"{self.form}:{self.column}"


def _active(value: object) -> ActiveColumn | None:
    if isinstance(value, ActiveColumn):
        return value
    found = _ACTIVE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is not understood; write a column "is_active", "not:banned", "null:deleted_at" or ""')
    if not found["column"]:
        return None
    form: Literal["true", "not", "null"] = "not" if found["not"] else "null" if found["null"] else "true"
    return ActiveColumn(found["column"], form)


def _show_active(value: ActiveColumn | None) -> str:
    return str(value) if value else ""


class Columns(BaseModel):
    """The columns of the login table; an optional one that is not there is ""."""

    model_config = _FROZEN

    id: Column = "id"
    login: Column = "email"
    password: Column = "password_hash"  # noqa: S105
    active: Annotated[ActiveColumn | None, PlainValidator(_active), PlainSerializer(_show_active, when_used="json")] = (
        ActiveColumn("is_active")
    )
    max_message_size: OptionalColumn = ""
    daily_recipients: OptionalColumn = ""
    smtp_enabled: OptionalColumn = ""


class Accounts(BaseModel):
    """The product's login table: read, never written. A preset fills in what is not written out beside it."""

    model_config = _FROZEN

    url: DatabaseUrl = Field(default=SecretStr("sqlite:///var/accounts.db"), validate_default=True)
    preset: Literal["", "django", "laravel", "devise", "wordpress"] = ""
    table: Table = "users"
    case_sensitive: Flag = False
    pepper: Secret = SecretStr("")
    columns: Columns = Columns()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        preset = given.get("preset", "") if isinstance(given, dict) else ""
        if not isinstance(preset, str) or preset not in PRESETS or not preset:
            return given
        filled = {**PRESETS[preset], **given}
        if isinstance(given.get("columns"), dict):
            filled["columns"] = {**PRESETS[preset]["columns"], **given["columns"]}
        return filled
